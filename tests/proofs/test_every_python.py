"""The suites of threads and races, on every other CPython that is installed here.

They install with pip, so they need its package index: `-m "not packaging"` leaves them out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
SUITES = ["tests/proofs/test_threads.py", "tests/proofs/test_races.py", "tests/states"]
NEEDS = ["transitions", "pytest>=8.3", "pytest-run-parallel>=0.10", "pytest-timeout>=2.3", "pytest-xdist>=3.6"]
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()


def pythons() -> dict[str, str]:
    """By version, the interpreters of other versions than this one, 3.11 or newer, free-threaded ones too."""
    found: dict[str, str] = {}
    for name in (f"python3.{minor}{build}" for minor in range(11, 30) for build in ("", "t")):
        for path in (shutil.which(name), *PYENV.glob(f"versions/*/bin/{name}")):
            if path is not None and (version := version_of(str(path))) not in ("", sys.version):
                found.setdefault(version, str(path))
    return found


def version_of(python: str) -> str:
    """The whole version of an interpreter; empty for what is none, as a stand-in for one that is not installed."""
    done = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize("version", pythons() or [None])
@pytest.mark.timeout(300)
def test_threads_and_races_on_another_python(version: str | None, tmp_path: Path) -> None:
    if version is None:
        pytest.skip("no other CPython of 3.11 or newer is installed here")
    subprocess.run([pythons()[version], "-m", "venv", tmp_path], check=True)
    run = tmp_path / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([run, "-m", "pip", "install", "--quiet", *NEEDS], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [run, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *SUITES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
