"""What a number in a setting may be, said once.

Every check returns the value it was given, so that a constructor reads as a list of assignments, and
raises `ValueError` (of a bool or a non-number too: it is the value that is wrong) quoting that value.
"""

from __future__ import annotations

import sys
from typing import Any


def _refuse(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{name} must be {wanted}, got {value!r}")


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # unlike isfinite, also asked of an int that no float can hold


def count(name: str, value: Any) -> int:
    """A whole number, 1 or more."""
    if type(value) is not int or value < 1:
        raise _refuse(name, value, "a whole number of at least 1")
    return value


def seconds(name: str, value: Any) -> float:
    """A finite number of seconds, 0 or more."""
    if not _is_number(value) or value < 0:
        raise _refuse(name, value, "a finite number of seconds, 0 or more")
    return float(value)


def positive_seconds(name: str, value: Any) -> float:
    """A finite number of seconds, more than 0."""
    if not _is_number(value) or value <= 0:
        raise _refuse(name, value, "a finite number of seconds above 0")
    return float(value)


def share(name: str, value: Any) -> float:
    """A share of calls: above 0, at most 1."""
    if not _is_number(value) or not 0 < value <= 1:
        raise _refuse(name, value, "a share above 0 and at most 1")
    return float(value)


def within(name: str, value: Any, least: float, most: float, wanted: str) -> float:
    """A number from `least` to `most`, both allowed; `wanted` says so."""
    if not _is_number(value) or not least <= value <= most:
        raise _refuse(name, value, wanted)
    return float(value)
