"""JSON that anyone may have written. Each value is checked where it is read, so that what follows can rely on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cnnprof.errors import Source

_T = TypeVar("_T")

LARGEST = 2**127
"""No figure of a network is larger, and every sum of such can be drawn: torch counts elements with 63 bits."""


class DamagedError(Exception):
    """What is wrong with a JSON text, and where: at a line of it, or at a value, named by the keys that lead to it."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.keys: list[str] = []
        """Innermost first; `[2]` for an item of a list."""

    def __str__(self) -> str:
        return f"{'.'.join(reversed(self.keys)).replace('.[', '[')}: {self.message}" if self.keys else self.message


def loads(source: Source) -> Any:
    """The value of a JSON text. Raises DamagedError where it is none, and where a key stands twice in an object."""
    try:
        return json.loads(source.text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise DamagedError(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise DamagedError("nested too deeply") from None
    except ValueError:
        raise DamagedError("a number has more digits than Python reads") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise DamagedError(f"{json.dumps(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return found


def whole(value: Any, least: int = 0, most: int = LARGEST) -> int:
    if type(value) is not int or not least <= value <= most:
        within = f" from {least} {'on' if most == LARGEST else f'to {most}'}" if least > -LARGEST else ""
        raise DamagedError(f"{_shown(value)} is no whole number{within}")
    return value


def text(value: Any) -> str:
    """A text that can be written: JSON can name halves of characters, which are none."""
    if not isinstance(value, str):
        raise DamagedError(f"{_shown(value)} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DamagedError(f"{_shown(value)} has half of a character") from None
    return value


def one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in known:
            raise DamagedError(f"{_shown(value)} is none of {', '.join(known)}")
        return text(value)

    return check


def optional(check: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], _T]) -> Callable[[Any], tuple[_T, ...]]:
    def checked(value: Any) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise DamagedError(f"{_shown(value)} is no list")
        return tuple([at(f"[{place}]", check, item) for place, item in enumerate(value)])

    return checked


def table_of(check: Callable[[Any], _T]) -> Callable[[Any], dict[str, _T]]:
    def checked(value: Any) -> dict[str, _T]:
        if not isinstance(value, dict):
            raise DamagedError(f"{_shown(value)} is no object")
        return {text(key): at(key, check, item) for key, item in value.items()}

    return checked


def anything(value: Any) -> Any:
    """What is looked at later, or never."""
    return value


def field(table: dict[str, Any], key: str, check: Callable[[Any], _T], *absent: _T) -> _T:
    """The value under that key; `absent`, where that is given and there is none."""
    if key not in table:
        if absent:
            return absent[0]
        raise DamagedError(f'there is no "{key}"')
    return at(key, check, table[key])


def at(key: str, check: Callable[[Any], _T], value: Any) -> _T:
    """The value as the check has it. What is wrong with it is said with that key."""
    try:
        return check(value)
    except DamagedError as error:
        error.keys.append(key)
        raise


_SHOWN = 40


def _shown(value: Any) -> str:
    """The beginning of the value as it stands in the file; of what has others in it, what it is."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "so large a number"
    shown = json.dumps(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
