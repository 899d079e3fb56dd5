"""A saved profile is a file that anyone may have changed: it is read and drawn, or refused with its name and what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from torch import nn

import cnnprof
from cnnprof.compare import compare
from cnnprof.errors import Source, SpecError, full
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.render import FORMATS, View, write
from cnnprof.render.comparison import write as write_comparison

NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(8, 2))
PROFILE = cnnprof.profile(NET, (1, 4, 4), optimizer="adam", name="net")
SAVED = json.loads(PROFILE.to_json())
WRONG: tuple[object, ...] = (None, True, -1, 1.5, float("inf"), 10**400, "x", "\ud800", "1/0", [], {}, [1], [[1]], {"a": 1})


def read(data: Any) -> cnnprof.Profile:
    return read_profile(Source("net.json", data if isinstance(data, str) else json.dumps(data)))


def places(value: Any, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where values stand, from the outside in."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places(below, *above, key)


def changed(place: tuple[str | int, ...], value: Any) -> Any:
    data = copy.deepcopy(SAVED)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return data


def drawn(profile: cnnprof.Profile) -> None:
    for name in FORMATS:
        text = StringIO()
        write(profile, View(), text, name)
        text.getvalue().encode()
    write(profile, View(style="tree", sort="output", formulas=True), StringIO())
    for by in ("total", "kind", "layer"):
        write_comparison(compare([PROFILE, profile], by), StringIO(), "table", "products", True)


def test_it_is_read_back_whole() -> None:
    assert read(SAVED) == PROFILE


def refusal(data: Any) -> str:
    """Why it is not read; empty where it is, and can be drawn."""
    try:
        profile = read(data)
    except SpecError as error:
        return full(error)
    drawn(profile)
    return ""


def test_whatever_is_changed_is_drawn_or_refused() -> None:
    for place in places(SAVED):
        if place[0] in ("schema_version", "definitions"):
            continue
        for wrong in WRONG:
            told = refusal(changed(place, wrong))
            assert not told or "net.json is a damaged profile: " in told, place
            told.encode()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("layers", 0, "params"), float("inf"), "layers[0].params: Infinity is no whole number from 0 on"),
        (("layers", 0, "params"), 10**400, "layers[0].params: so large a number is no whole number from 0 on"),
        (("layers", 0, "stride"), ["1/0"], 'layers[0].stride[0]: "1/0" is no whole number'),
        (("layers", 0, "path"), ["a"], "layers[0].path: a list is no text"),
        (("layers", 0, "kind"), 3, "layers[0].kind: 3 is no text"),
        (("layers", 0, "kind"), "\ud800", 'layers[0].kind: "\\ud800" has half of a character'),
        (("layers",), [], "layers: there are none"),
        (("containers", 0, "rows"), 9, "containers: they have more rows than there are layers"),
        (("containers", 1, "first"), 3, "containers: they have more rows than there are layers"),
        (("containers", 0, "rows"), 1, "containers: they are not inside one another"),
        (("inference_peak", "bytes"), None, "inference_peak.bytes: null is no whole number"),
        (("inference_peak", "bytes"), 1.5, "inference_peak.bytes: 1.5 is no whole number"),
        (("caveats",), [3], "caveats[0]: 3 is no text"),
        (("batch",), 0, "batch: 0 is no whole number from 1 on"),
        (("convention",), ["flops"], "convention: a list is none of products, flops"),
        (("totals",), 3, "totals: 3 is no object"),
    ],
)
def test_what_is_wrong_is_named(place: tuple[str | int, ...], value: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(changed(place, value))
    assert f"net.json is a damaged profile: {message}" in full(caught.value)


def test_what_is_no_json_is_told() -> None:
    digits = json.dumps(changed(("batch",), 1234567)).replace("1234567", "1" * 5000)
    for text, message in {
        digits: "a number has more digits than Python reads",
        '{"batch": 1, "batch": 2}': '"batch" stands twice',
        "[" * 100_000: "nested too deeply",
        "{": "Expecting property name",
    }.items():
        with pytest.raises(SpecError, match=message):
            read(text)
