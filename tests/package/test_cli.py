"""The command: each format, and one clear line with status 2 for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from breaker import cli, diagram

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "error"}
    environment.pop("PYTHONUNBUFFERED", None)  # what is buffered when writing fails is half of the matter
    command = [sys.executable, "-m", "breaker", *arguments]
    return subprocess.run(command, **{"capture_output": True, "env": environment, "timeout": 60, **options})  # type: ignore[call-overload,no-any-return]  # options are subprocess's own


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command says about a mistake."""
    status: object
    try:
        status = cli.main(arguments)
    except SystemExit as exit:
        status = exit.code
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith("breaker") and said.err.endswith("\n")
    return said.err


@pytest.mark.parametrize("format", diagram.FORMATS)
@pytest.mark.parametrize("ramping", [False, True])
def test_the_command_prints_each_format(format: str, ramping: bool) -> None:
    done = run("diagram", "--format", format, *(["--ramp"] if ramping else []))
    assert (done.returncode, done.stderr) == (0, b"")
    expected = diagram.draw_machine(format, ramping=ramping)
    expected = expected if isinstance(expected, bytes) else expected.replace("\n", os.linesep).encode()
    assert done.stdout == expected


def test_mermaid_is_what_the_command_prints_if_not_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagram"]) == 0
    assert capsys.readouterr().out == diagram.draw_machine("mermaid")


@pytest.mark.parametrize("format", diagram.FORMATS)
def test_output_goes_to_the_file_byte_for_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    file = tmp_path / "picture"
    assert cli.main(["diagram", "--format", format, "-o", str(file)]) == 0
    expected = diagram.draw_machine(format)
    assert file.read_bytes() == (expected if isinstance(expected, bytes) else expected.encode())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ending", "format"), [(".mmd", "mermaid"), (".gv", "dot"), (".dot", "dot"), (".SVG", "svg"), (".png", "png")]
)
def test_the_files_ending_decides_the_format_if_nothing_else_does(tmp_path: Path, ending: str, format: str) -> None:
    file = tmp_path / f"picture{ending}"
    assert cli.main(["diagram", "-o", str(file)]) == 0
    expected = diagram.draw_machine(format)
    assert file.read_bytes() == (expected if isinstance(expected, bytes) else expected.encode())
    assert cli.main(["diagram", "--format", "dot", "-o", str(file)]) == 0
    assert file.read_text().startswith("digraph ")


def test_all_writes_every_documented_picture(tmp_path: Path) -> None:
    assert cli.main(["diagram", "--all", str(tmp_path)]) == 0
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert written == {**{name: text.encode() for name, text in cli.texts()}, **dict(cli.images())}


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["diagram", "--help"])
    assert exit.value.code == 0
    assert "--ramp" in capsys.readouterr().out


# -- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "command"),
        (["paint"], "'paint'"),
        (["diagram", "--format", "gif"], "'gif'"),
        (["diagram", "--format", ""], "unknown diagram format ''"),
        (["diagram", "--format"], "--format"),
        (["diagram", "--colour"], "--colour"),
        (["diagram", "two\nlines"], "two lines"),
        (["diagram", "--all", ".", "--ramp"], "--all"),
        (["diagram", "--all", ".", "--format", "svg"], "--all"),
        (["diagram", "--all", "no/such/directory"], "no/such/directory"),
        (["diagram", "-o", "no/such/directory/picture.svg"], "no/such/directory/picture.svg"),
        (["diagram", "-o", "."], "'.'"),
        (["diagram", "-o", ""], "cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments).replace("\\\\", "/").replace(os.sep, "/")


def test_a_mistake_shows_no_traceback_in_a_process_of_its_own() -> None:
    done = run("diagram", "--format", "gif")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [b"breaker: unknown diagram format 'gif': choose one of mermaid, dot, svg, png"]


def test_a_failed_drawing_leaves_the_old_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "picture.svg"
    file.write_text("precious")
    refused(capsys, "diagram", "--format", "gif", "-o", str(file))
    assert file.read_text() == "precious"


@pytest.mark.parametrize("format", ["svg", "png"])
def test_a_missing_extra_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(metadata, "files", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert "pip install 'simple-breaker[diagrams]'" in refused(capsys, "diagram", "--format", format)


def test_a_png_is_not_written_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "-o FILE" in refused(capsys, "diagram", "--format", "png")
    assert cli.main(["diagram", "--format", "svg"]) == 0
    assert cli.main(["diagram", "--format", "png", "-o", str(tmp_path / "picture.png")]) == 0


@posix
def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("diagram", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("format", ["dot", "png"])
def test_a_full_disk_is_one_line(format: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run("diagram", "--format", format, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith(b"breaker: cannot write 'standard output': ")
    assert done.stderr.count(b"\n") == 1


def test_a_closed_standard_output_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        status = cli.main(["diagram"])
    assert status == 2
    assert capsys.readouterr().err == "breaker: standard output is closed: give -o FILE\n"


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"simple-breaker {metadata.version('simple-breaker')}\n"
