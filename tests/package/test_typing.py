"""The wrapped signature, and its sync or async nature, survive: mypy --strict and pyright agree on it."""

import subprocess
import sys
from pathlib import Path

import pytest

SURFACES = Path(__file__).parent / "typing" / "surfaces.py"
CHECKERS = {"mypy": ["mypy", "--strict", "--no-incremental"], "pyright": ["pyright", "--pythonpath", sys.executable]}
MISTAKES = [
    "breaker.call(plain, 1)",
    "decorated('tea')",
    "decorated('tea', count='two')",
    "protected(item=1)",
    "Client().method(1)",
    "breaker(42)",
]


def check(checker: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *CHECKERS[checker], str(file)]
    return subprocess.run(command, capture_output=True, text=True, cwd=SURFACES.parent.parent.parent, check=False)


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_surface_keeps_the_types_of_what_it_wraps(checker: str) -> None:
    result = check(checker, SURFACES)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_seen(checker: str, tmp_path: Path) -> None:
    file = tmp_path / "mistakes.py"
    text = SURFACES.read_text()
    file.write_text(text + "\n".join(MISTAKES) + "\n")
    result = check(checker, file)
    for line in range(len(text.splitlines()) + 1, len(text.splitlines()) + len(MISTAKES) + 1):
        assert f":{line}:" in result.stdout, (MISTAKES[line - len(text.splitlines()) - 1], result.stdout)
