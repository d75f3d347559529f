"""The README cannot drift: its code runs, its table is the table, its defaults are the defaults."""

import inspect
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from breaker import CircuitBreaker
from breaker.observe import bus
from breaker.table import TABLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S) for line in block.splitlines()]


class Fine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Fine) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_code_runs_as_it_stands(number: int, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
    monkeypatch.setattr(bus, "_everywhere", bus._everywhere)  # undone afterwards, whoever subscribed
    code = compile(BLOCKS[number].replace("https://api.example.com", server), f"README.md block {number}", "exec")
    exec(code, {"__name__": f"readme_{number}"})


def test_the_first_block_makes_the_call(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[0].replace("https://api.example.com", server), {"__name__": "readme"})
    assert capsys.readouterr().out == "200\n"


def test_wrapping_a_call_takes_ten_lines() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 10


def test_the_two_commands_are_one_line_each_and_ci_runs_the_second_word_for_word() -> None:
    demo, tests = COMMANDS[:2]
    assert demo.endswith("simple-breaker.py")
    assert tests.endswith("pytest --cov")
    assert f'"{tests}"' in (ROOT / ".ci/run").read_text()


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/rules.md"], ids=lambda page: page.name)
def test_the_table_of_states_is_the_table_of_the_code(page: Path) -> None:
    def words(name: str | None) -> str:
        return (name or "").replace("_", " ")

    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.read_text().splitlines()]
    start = rows.index(("state", "trigger", "guard", "next")) + 2
    expected = [(move.source or "any", words(move.trigger), words(move.guard), str(move.dest)) for move in TABLE]
    assert rows[start : start + len(TABLE)] == expected


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? *\|", README, re.MULTILINE))
    parameters = inspect.signature(CircuitBreaker).parameters
    assert [name for name in told if name in parameters] == list(parameters)
    for name, parameter in parameters.items():
        if name == "failure_threshold":
            assert (told[name], CircuitBreaker("x").failure_threshold) == ("5", 5)
        elif parameter.default is not parameter.empty:
            written = eval(told[name], {"State": __import__("breaker").State, "time": __import__("time")})
            assert written == parameter.default, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_package_that_a_page_names_is_there(page: Path) -> None:
    rooms = "machine|states|policies|calls|observe|integrations"
    for named in re.findall(rf"`((?:{rooms})/\w+\.py)`", page.read_text()):
        assert (ROOT / "breaker" / named).exists(), named


def test_the_rules_are_numbered_as_the_code_cites_them() -> None:
    numbers = re.findall(r"^(\d+)\. ", (ROOT / "docs/rules.md").read_text(), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    cited = {
        number for path in (ROOT / "tests").rglob("*.py") for number in re.findall(r"[Rr]ule (\d+)", path.read_text())
    }
    assert cited <= set(numbers)


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-") for line in README.splitlines() if line[:3] == "## "
    }
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in headings, target


def test_the_comparison_is_what_the_script_wrote() -> None:
    results = (ROOT / "tests/benchmarks/results.md").read_text().partition("-->\n")[2].strip()
    assert f"<!-- results.md, as compare.py wrote it -->\n\n{results}\n\n<!-- end of results.md -->" in README
