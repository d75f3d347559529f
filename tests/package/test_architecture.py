"""The shape of the package cannot drift: who imports whom, what is public, how long a file may be."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import breaker

PACKAGE = Path(breaker.__file__).parent
FLOORS = (
    "checks outcome table",
    "permit policies observe",
    "settings errors events",
    "machine",
    "states calls",
    "diagram",
    "circuit",
    "registry testing",
    "__init__",
    "integrations cli pytest_plugin",
    "__main__",
)
"""From the ground up. A room or module imports only from floors below its own, and from its own room."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in FILES if "integrations" not in path.parts and path.stem != "pytest_plugin"]


def module_of(path: Path) -> str:
    """`breaker.states.open` for its file; a package's `__init__` goes by the package's name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def statements(tree: ast.AST, *, everywhere: bool) -> Iterator[ast.stmt]:
    """The imports of a file: every one, or those that run when it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, everywhere=everywhere)


def imports(path: Path, *, everywhere: bool = True) -> Iterator[str]:
    """Names of the modules that `path` imports; for type checkers and within functions, too."""
    for node in statements(ast.parse(path.read_text()), everywhere=everywhere):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert isinstance(node, ast.ImportFrom)
            assert node.level == 0, "relative imports hide the room"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def imports_of_ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name in MODULES}


def test_no_file_imports_itself_by_any_detour() -> None:
    graph = {module: imports_of_ours(path) for module, path in MODULES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, and names the circle


def test_no_room_imports_itself_by_any_detour() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        graph.setdefault(room_of(module), set()).update(map(room_of, imports_of_ours(path)))
    own = {room: rooms - {room} for room, rooms in graph.items()}
    assert list(graphlib.TopologicalSorter(own).static_order())


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_from_its_own_room_and_from_floors_below(module: str) -> None:
    room = room_of(module)
    for name in imports_of_ours(MODULES[module]):
        below = room_of(name)
        assert below == room or FLOOR[below] < FLOOR[room], f"{module} imports {name}, which is not below it"


def test_every_import_counts_wherever_it_stands(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.py"
    hidden.write_text(
        "if TYPE_CHECKING:\n    from breaker.circuit import CircuitBreaker\n"
        "def later():\n    from breaker import registry\n    import breaker.cli\n"
    )
    assert imports_of_ours(hidden) == {"breaker.circuit", "breaker.registry", "breaker.cli"}


def test_there_is_one_level_of_rooms() -> None:
    assert all(len(path.relative_to(PACKAGE).parts) <= 2 for path in FILES)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_sees_the_standard_library_and_transitions_alone(path: Path) -> None:
    for name in imports(path):
        assert name.split(".")[0] in {*sys.stdlib_module_names, "breaker", "transitions"}, f"{path} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_integration_is_imported_by_nobody_in_the_core(path: Path) -> None:
    assert not any(name.startswith("breaker.integrations") for name in imports(path))


PUBLIC = {"breaker", "breaker.events", "breaker.testing", "breaker.integrations"}
DOORS = {"breaker.observe.instances"}
"""What integrations use besides: there is no public way yet to ask for every breaker of the process."""


@pytest.mark.parametrize("path", sorted((PACKAGE / "integrations").glob("*.py")), ids=lambda path: path.name)
def test_an_integration_uses_public_names_alone(path: Path) -> None:
    for name in imports_of_ours(path):
        assert name in PUBLIC | DOORS or room_of(name) == "integrations", f"{path.name} imports {name}"


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
    CallRejected TripReport Statistics LoggingListener subscribe_all
    """
    assert sorted(breaker.__all__) == sorted(names.split())
    assert all(getattr(breaker, name).__doc__ for name in breaker.__all__)


def test_the_version_is_the_distributions_and_is_read_only_when_asked_for() -> None:
    code = "import sys, breaker; print('importlib.metadata' in sys.modules, breaker.__version__)"
    before, version = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert before == "False"
    assert f'version = "{version}"' in (PACKAGE.parent / "pyproject.toml").read_text()
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = breaker.nonesuch


def test_the_public_class_shows_what_users_call_and_nothing_of_the_machine() -> None:
    names = """
    acquire call call_async close diagram disable failure_count failure_threshold force_open history
    last_failure_time last_trip metrics_only name protect recovery_timeout reset retry_after state statistics
    subscribe
    """
    assert [name for name in dir(breaker.CircuitBreaker) if not name.startswith("_")] == names.split()


def function_in(source: Path, name: str, within: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """The function `name` of the class or function `within`."""
    tree: ast.AST = ast.parse(source.read_text())
    for each in (within, name):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        tree = next(node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == each)
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    return tree


class Common(ast.NodeTransformer):
    """What `call` and `call_async` share with their wrappers: without what only a call by hand has to see to.

    That is the check of `fn`, which the decorator has made before, and the choice of a path by the kind of `fn`.
    """

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name({"self": "breaker", "slow_after": "None"}.get(node.id, node.id))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Name("None") if node.value is None else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if ast.unparse(node.target) in ("pending", "with_permit"):
            return None
        assert node.value is not None
        return self.visit(ast.Assign([node.target], node.value))

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if ast.unparse(node.targets[0]) == "pending" else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "not callable(fn)" in ast.unparse(node.test) else self.generic_visit(node)


SAME = {"await pending": "await fn(*args, **kwargs)", "return with_permit(": "return call_with_permit("}


def common(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The body in one spelling for methods and wrappers."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    text = ast.unparse(ast.fix_missing_locations(Common().visit(ast.Module(body, []))))
    for theirs, ours in SAME.items():
        text = text.replace(theirs, ours)
    return text


@pytest.mark.parametrize(("method", "maker"), [("call", "_function"), ("call_async", "_coroutine")])
def test_a_method_and_its_wrapper_make_a_call_by_the_same_lines(method: str, maker: str) -> None:
    by_hand = common(function_in(PACKAGE / "circuit.py", method, "CircuitBreaker"))
    assert "count_success" in by_hand and "_settle_plain_error" in by_hand
    assert by_hand == common(function_in(PACKAGE / "calls" / "wrappers.py", "wrapper", maker))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_what_it_is_and_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 320


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_is_under_25_lines_long(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert statements_span(node) < 25, f"{node.name} has {statements_span(node)}"


def statements_span(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of its body, the docstring and nested functions apart."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    nested = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
    return lines - sum((node.end_lineno or 0) - node.lineno + 1 for node in nested)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
