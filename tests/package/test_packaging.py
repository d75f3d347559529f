"""What users install: the wheel, in an environment that has neither the source nor any extra.

These build and install with pip, so they need its package index: `-m "not packaging"` leaves them out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
INTEGRATIONS = ("aiohttp", "httpx", "httpx2", "opentelemetry", "prometheus", "requests")
BINARIES = "Scripts" if os.name == "nt" else "bin"
CLOSED_PORT = "http://127.0.0.1:9/charge"


def run(*command: object, cwd: Path) -> str:
    """What the command prints. Fails with all that it said when it does not succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, ROOT, cwd=target)
    [built] = target.glob("simple_breaker-*.whl")
    return built


class Environment:
    """A fresh virtual environment, used from a directory that is not the source."""

    def __init__(self, place: Path, *requirements: object) -> None:
        self.place = place
        venv.create(place, with_pip=True)
        self.python("-m", "pip", "install", "--quiet", *requirements)

    def python(self, *arguments: object) -> str:
        return run(self.place / BINARIES / "python", "-I", *arguments, cwd=self.place)


@pytest.fixture(scope="module", params=["transitions==0.9.3", "transitions"], ids=["oldest", "newest"])
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"), wheel, request.param)


def test_the_wheel_holds_the_package_its_types_and_its_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"breaker"}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "breaker").rglob("*.py")}
    assert sources <= set(names)
    assert "breaker/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_oldest_transitions_that_is_tested_is_the_one_that_is_required(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    requirements = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
    assert [line for line in requirements if "extra ==" not in line] == ["transitions>=0.9.3"]


def test_the_quick_start_runs_from_the_installed_wheel(environment: Environment) -> None:
    readme = (ROOT / "README.md").read_text()
    quick_start = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "urlopen" in block)
    code = re.sub(r"https://[\w./]+", CLOSED_PORT, quick_start)
    assert CLOSED_PORT in code
    printed = environment.python("-c", f"{code}\nimport breaker; print(payments.failure_count, breaker.__file__)")
    count, file = printed.splitlines()[-1].split(" ", 1)
    assert count == "1"
    assert Path(file).is_relative_to(environment.place)


def test_the_installed_command_draws_the_machine(environment: Environment) -> None:
    drawn = run(environment.place / BINARIES / "breaker", "diagram", cwd=environment.place)
    assert "HALF_OPEN" in drawn


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_without_its_library_names_the_extra_to_install(environment: Environment, name: str) -> None:
    code = f"""
try:
    import breaker.integrations.{name}
except ImportError as error:
    print(error)
"""
    assert f"simple-breaker[{name}]" in environment.python("-c", code)


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_a_middleware_needs_no_extra(environment: Environment, name: str) -> None:
    environment.python("-c", f"from breaker.integrations.{name} import CircuitBreakerMiddleware")


def test_every_integration_with_a_library_of_its_own_is_listed_here() -> None:
    modules = {path.stem for path in (ROOT / "breaker" / "integrations").glob("[!_]*.py")}
    needing = {name for name in modules if "missing(__name__" in (ROOT / f"breaker/integrations/{name}.py").read_text()}
    assert needing == set(INTEGRATIONS)


def test_importing_the_package_imports_transitions_and_a_little_of_the_standard_library(
    environment: Environment,
) -> None:
    code = """
import sys
import transitions
before = set(sys.modules)
import breaker
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
print(*sorted(sys.modules))
"""
    added, everything = (set(line.split()) for line in environment.python("-c", code).splitlines())
    assert added - set(sys.stdlib_module_names) == {"breaker"}
    assert everything.isdisjoint({"asyncio", "socket", "ssl", "http", "urllib.request", "concurrent.futures", "pytest"})
    assert not any(name.startswith("breaker.integrations") for name in everything)
