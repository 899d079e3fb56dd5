"""Expressions against Python itself, and what they refuse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprof.errors import Source, SpecError
from cnnprof.spec import expressions
from cnnprof.spec.expressions import Value, evaluate, round8
from cnnprof.spec.reader import Mapping, Scalar, read


def scalar(text: str) -> Scalar:
    root = read(Source("x.yaml", f"key: {text}"))
    assert isinstance(root, Mapping)
    node = root.get("key")
    assert isinstance(node, Scalar)
    return node


def value(text: str, **scope: Value) -> Value:
    return evaluate(expressions.parse(scalar(text)), scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4*w", 256),
        ("w//2 + 1", 33),
        ("w % 5", 4),
        ("w / 10", 6.4),
        ("-w + +w", 0),
        ("s > 1 or w != 64", True),
        ("1 < s <= 2 and not flag", True),
        ("w if flag else s", 2),
        ("'max(w, 3*s, 100)'", 100),
        ("'min(w, s)'", 2),
        ("ceil(2.1*s)", 5),
        ("floor(2.9)", 2),
        ("round(70.6)", 71),
        ("true", True),
        ("flag or true", True),
        ("depth", (2, 3)),
        ("block", "basic"),
        ("null", None),
        ("1e-3", 0.001),
    ],
)
def test_values(text: str, expected: Value) -> None:
    assert value(text, w=64, s=2, flag=False, depth=(2, 3), block="basic") == expected


NUMBERS = st.integers(min_value=-50, max_value=50)
TREES = st.recursive(
    NUMBERS.map(str) | st.sampled_from(["w", "s"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", "and", "or"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        st.tuples(inner, inner).map(lambda parts: f"max({parts[0]}, {parts[1]})"),
    ),
    max_leaves=8,
)


@given(TREES, NUMBERS, NUMBERS)
def test_python_computes_the_same(text: str, w: int, s: int) -> None:
    try:
        expected = eval(text, {"max": max}, {"w": w, "s": s})
    except ZeroDivisionError:
        with pytest.raises(SpecError, match="division by zero"):
            value(f'"{text}"', w=w, s=s)
        return
    if len(text) <= expressions.MAX_LENGTH:
        assert value(f'"{text}"', w=w, s=s) == expected


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("1 + w.real", "w.real"),
        ("w[0]", "w[0]"),
        ("2 * w**2", "w**2"),
        ("1 + open(3)", "open"),
        ("1 + unknown*2", "unknown"),
        ("3 // (s - s)", "3 // (s - s)"),
        ("w << 2", "w << 2"),
        ("w is s", "w is s"),
        ("\"f'{w}'\"", "f'{w}'"),
        ('"max(*w)"', "max(*w)"),
        ('"max(w, key=s)"', "max(w, key=s)"),
        ("block + 1", "block"),
        ('"w + (s := 2)"', "s := 2"),
    ],
)
def test_an_error_points_at_the_piece(text: str, piece: str) -> None:
    with pytest.raises(SpecError) as caught:
        value(text, w=64, s=2, block="basic")
    span = caught.value.span
    assert span is not None
    assert f"key: {text}"[span.column - 1 :][: span.width] == piece


@given(st.floats(min_value=1, max_value=1e5))
def test_round8_is_the_nearest_multiple_of_8_but_never_10_percent_less(number: float) -> None:
    rounded = round8(number)
    assert rounded % 8 == 0
    assert rounded >= 8
    assert rounded >= 0.9 * number
    if number >= 8:
        assert abs(rounded - number) <= 8
        if abs(rounded - number) > 4:  # not the nearest: the nearest is too far below
            assert math.floor(number / 8) * 8 < 0.9 * number


@pytest.mark.parametrize(
    ("number", "rounded"), [(32 * 1.4, 48), (16 * 1.1, 16), (24 * 1.2, 32), (10, 16), (11.9, 16), (40 * 1.6, 64)]
)
def test_round8_of_efficientnet(number: float, rounded: int) -> None:
    assert round8(number) == rounded
