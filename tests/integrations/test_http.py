"""What all HTTP integrations share: Retry-After, origins, the problem document, and the missing extra."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
import time
from email.utils import formatdate
from typing import Any

import pytest

from breaker import CircuitOpenError, State
from breaker.integrations.http import BadStatus, origin, problem, retry_after_seconds


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("007", 7.0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert retry_after_seconds(value) == seconds


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"])
def test_retry_after_as_a_date_in_each_of_the_three_forms(form: str) -> None:
    seconds = retry_after_seconds(time.strftime(form, time.gmtime(time.time() + 100)))
    assert seconds is not None
    assert 97 < seconds <= 100


def test_a_date_that_has_passed_asks_for_no_time() -> None:
    assert retry_after_seconds(formatdate(0, usegmt=True)) == 0.0


@pytest.mark.parametrize("value", ["999999", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_server_is_heeded_for_more_than_a_day(value: str) -> None:
    assert retry_after_seconds(value) == 86400.0


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "-1", "+5", "1.5", "1e3", "5_0", "٣", "²", "nan", "Fri, 99 Foo 2020 99:99:99 GMT", "1,2"],
)
def test_a_retry_after_that_is_not_sound_says_nothing(value: str | None) -> None:
    assert retry_after_seconds(value) is None


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("HTTP", "Example.COM", 80), "http://example.com"),
        (("https", "example.com", 443), "https://example.com"),
        (("https", "example.com", None), "https://example.com"),
        (("http", "example.com", 443), "http://example.com:443"),
        (("http", "::1", 8080), "http://[::1]:8080"),
    ],
)
def test_an_origin_is_the_same_however_it_is_spelled(parts: Any, text: str) -> None:
    assert origin(*parts) == text


def test_a_bad_status_says_which_and_pickles() -> None:
    failure = pickle.loads(pickle.dumps(BadStatus(503, 7.0)))
    assert (str(failure), failure.status, failure.retry_after) == ("HTTP 503", 503, 7.0)


@pytest.mark.parametrize(("wait", "header"), [(0.2, "1"), (7.0, "7"), (7.01, "8"), (0.0, "0"), (None, None)])
def test_the_problem_says_when_to_come_back_and_nothing_of_the_inside(wait: float | None, header: str | None) -> None:
    body, status, headers = problem(CircuitOpenError("secret-name", State.OPEN, wait, None))
    assert (status, headers.get("Retry-After")) == (503, header)
    assert json.loads(body) == {"type": "about:blank", "title": "Service Unavailable", "status": 503}
    assert headers["Content-Type"] == "application/problem+json"
    assert "secret" not in body.decode() + str(headers)


@pytest.mark.parametrize("library", ["httpx", "httpx2", "requests", "aiohttp"])
def test_without_its_library_an_integration_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"breaker.integrations.{library}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"{name} needs {library}: pip install 'simple-breaker\[{library}\]'"):
        importlib.import_module(name)
