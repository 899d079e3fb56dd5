"""Numbers, shapes, sizes and names as text."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprof.profiling.profile import Shape
from cnnprof.render import quantities, text
from cnnprof.render.glyphs import ASCII, UNICODE

_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
_BYTES |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15, "EB": 10**18}


@pytest.mark.parametrize(
    ("number", "complete", "shown"),
    [(0, True, "0"), (999, True, "999"), (1333200, True, "1,333,200"), (0, False, ">= 0"), (1234, False, ">= 1,234")],
)
def test_count(number: int, complete: bool, shown: str) -> None:
    assert quantities.count(number, complete) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (120, "120 B"),
        (999, "999 B"),
        (1000, "1,000 B (1.0 kB)"),
        (1024, "1.0 KiB (1.0 kB)"),
        (422024, "412.1 KiB (422.0 kB)"),
        (5643432, "5.4 MiB (5.6 MB)"),  # the lecture's `cnn`
        (4 * 1515392110, "5.65 GiB (6.06 GB)"),  # the lecture's `mlp`
        (6 * 10**12, "5.46 TiB (6.00 TB)"),
        (2**20 - 1, "1.0 MiB (1.0 MB)"),
        (10**6 - 1, "976.6 KiB (1.0 MB)"),
        (2**70, "1,024.00 EiB (1,180.59 EB)"),
    ],
)
def test_size(number: int, shown: str) -> None:
    assert quantities.size(number) == shown


@given(st.integers(1000, 2**69))
def test_a_size_is_right_to_its_last_digit_in_both_units(number: int) -> None:
    found = re.findall(r"([\d,.]+) (\w+)", quantities.size(number))
    assert len(found) == 2
    for value, unit in found:
        digits = len(value.partition(".")[2])
        # A float has 53 bits: a hair more than half a unit of the last digit is still rounding.
        assert abs(Fraction(value.replace(",", "")) - Fraction(number, _BYTES[unit])) <= Fraction(51, 100) / 10**digits
        assert Fraction(value.replace(",", "")) < 1024 or unit in ("EiB", "EB")


@pytest.mark.parametrize(
    ("several", "shown"),
    [(((64, 55, 55),), "64x55x55"), (((192,), (3,)), "192, 3"), (((),), "scalar"), ((), "-")],
)
def test_shapes(several: tuple[Shape, ...], shown: str) -> None:
    assert quantities.shapes(several) == shown


@given(st.text())
def test_plain_text_is_one_line_that_moves_no_cursor(name: str) -> None:
    shown = quantities.plain(name)
    assert all(unicodedata.category(character)[0] not in "CZ" or character == " " for character in shown)


def test_plain_text_keeps_what_can_be_read() -> None:
    assert quantities.plain("Größe 卷积 x²") == "Größe 卷积 x²"
    assert quantities.plain("a\r\n  b\x1b[2J\u202e") == "a b?[2J?"


@pytest.mark.parametrize(
    ("name", "columns"),
    [("", 0), ("Conv2d", 6), ("卷积", 4), ("Cafe\u0301", 4), ("32·24²…", 7), ("│    └─x", 8), ("👍", 2)],
)
def test_width(name: str, columns: int) -> None:
    assert text.width(name) == columns


@pytest.mark.parametrize(
    ("name", "columns", "keeps_end", "shown"),
    [
        ("Conv2d(1, 2)", 12, False, "Conv2d(1, 2)"),
        ("Conv2d(1, 23)", 12, False, "Conv2d(1, 2…"),
        ("stage1.0.main.0", 12, True, "…e1.0.main.0"),
        ("卷积卷积", 6, False, "卷积…"),
        ("卷积卷积", 6, True, "…卷积"),
    ],
)
def test_shortened(name: str, columns: int, keeps_end: bool, shown: str) -> None:
    assert text.shortened(name, columns, "…", keeps_end) == shown


@given(st.text(st.characters(exclude_categories=("C", "M"))), st.integers(3, 40), st.booleans())
def test_a_shortened_text_fits(name: str, columns: int, keeps_end: bool) -> None:
    shown = text.shortened(name, columns, "...", keeps_end)
    assert text.width(shown) <= columns
    assert shown == name or "..." in shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, ""), (1, "█" * 10), (0.5, "█" * 5), (1e-9, "▏"), (0.0125, "▏"), (0.11, "█▏"), (0.95, "█" * 9 + "▌")],
)
def test_bar(share: float, shown: str) -> None:
    assert UNICODE.bar(share, 10) == shown


def test_bar_in_ascii() -> None:
    assert [ASCII.bar(share, 10) for share in (0, 0.001, 0.5, 1)] == ["", "#", "#####", "#" * 10]
