"""The shape of the package cannot drift: who imports whom, what is public, how long a file may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import breaker

PACKAGE = Path(breaker.__file__).parent
LAYERS = [
    "checks errors outcome table",
    "backoff leases windows",
    "tally",
    "shares",
    "trip",
    "process",
    "outbox",
    "events",
    "calls",
    "ledger settings permit",
    "health stay",
    "states",
    "machine",
    "model",
    "guarded",
    "circuit",
    "listeners registry diagram",
    "testing",
    "cli pytest_plugin",
    "__main__",
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer.split()}
CORE = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports_at_run_time(path: Path) -> Iterator[str]:
    """Modules that `path` imports when it is imported itself: not in functions, not for type checkers."""
    pending: list[ast.stmt] = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative imports hide the layer"
            if node.module == "breaker":
                yield from (f"breaker.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            pending.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def test_every_module_of_the_core_has_a_layer() -> None:
    assert sorted(LEVEL) == CORE


@pytest.mark.parametrize("module", CORE)
def test_a_module_imports_only_from_layers_above_it(module: str) -> None:
    for name in imports_at_run_time(PACKAGE / f"{module}.py"):
        if name.startswith("breaker."):
            used = name.split(".")[1]
            if used in breaker.__all__:
                assert module in {"cli", "pytest_plugin"}, f"{module} imports the package that imports it"
                continue
            assert LEVEL[used] < LEVEL[module], f"{module} imports {used}, which is not above it"


@pytest.mark.parametrize("module", [module for module in CORE if module != "pytest_plugin"])
def test_the_core_sees_the_standard_library_and_transitions_alone(module: str) -> None:
    for name in imports_at_run_time(PACKAGE / f"{module}.py"):
        assert name.split(".")[0] in {*sys.stdlib_module_names, "breaker", "transitions"}, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(path.stem for path in (PACKAGE / "integrations").glob("[!_]*.py")))
def test_an_integration_is_imported_by_nobody_in_the_core(module: str) -> None:
    for path in PACKAGE.glob("*.py"):
        assert f"breaker.integrations.{module}" not in set(imports_at_run_time(path)), path.name


def test_importing_breaker_imports_no_event_loop_and_no_third_party_but_transitions() -> None:
    code = "import sys, breaker; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert "asyncio" not in loaded
    installed = {
        "trio",
        "httpx",
        "httpx2",
        "requests",
        "aiohttp",
        "prometheus_client",
        "opentelemetry",
        "graphviz_pure",
    }
    assert loaded & installed == set()


def test_the_public_names_are_those_of_the_design() -> None:
    names = """
    CircuitBreaker State Outcome Permit Registry BreakerError CircuitOpenError ConsecutiveFailures FailureRate
    SlowCallRate CountWindow TimeWindow Backoff RampUp StateChanged CallSucceeded CallFailed CallIgnored
    CallRejected TripReport Statistics LoggingListener
    """
    assert sorted(breaker.__all__) == sorted(names.split())
    assert all(getattr(breaker, name).__doc__ for name in breaker.__all__)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_what_it_is_and_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 320


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
