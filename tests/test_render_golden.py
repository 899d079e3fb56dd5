"""The printed output, character by character, and whether what is printed adds up."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from render_profiles import PROFILES
from render_streams import Printed, Stream, number, printed, read_table, spread

from cnnprof.render import FORMATS, STYLES, View

FOLDER = "render"
WIDTHS = (60, 80, 120, 200, None)
SUFFIX = {"table": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}

VIEWS: dict[str, dict[str, Any]] = {
    "products": {},
    "products-formulas": {"formulas": True},
    "products-depth1": {"depth": 1},
    "products-top3": {"sort": "products", "top": 3},
    "products-columns": {"columns": ("path", "kind", "output", "trainable_params", "output_bytes", "buffer_bytes")},
    "torchsummary": {"style": "torchsummary"},
    "torchsummary-top3": {"style": "torchsummary", "sort": "params", "top": 3},
    "tree": {"style": "tree"},
    "tree-depth2": {"style": "tree", "depth": 2},
    "tree-top3-formulas": {"style": "tree", "sort": "products", "top": 3, "formulas": True},
}
_TABLES = {
    "lenet": ("products", "products-formulas", "products-top3", "torchsummary", "tree"),
    "nested": tuple(VIEWS),
    "unknown": ("products", "products-formulas", "products-depth1", "torchsummary", "tree"),
    "huge": ("products-formulas", "torchsummary", "tree"),
    "names": ("products", "torchsummary", "tree"),
    "single": ("products", "torchsummary", "tree"),
}
_OTHERS = {
    "lenet": ("products", "products-formulas"),
    "nested": ("products-depth1", "products-top3", "torchsummary", "tree-depth2"),
    "unknown": ("products-formulas",),
    "names": ("products",),
}

TABLES = [(profile, view, width) for profile, views in _TABLES.items() for view in views for width in WIDTHS]
OTHERS = [(profile, view, name) for profile, views in _OTHERS.items() for view in views for name in FORMATS if name != "table"]


def table_at(profile: str, view: str, width: int | None, monkeypatch: pytest.MonkeyPatch, colours: bool = False) -> str:
    """The table on a terminal of that width; in a pipe without one."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm" if colours else "dumb")
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    return printed(PROFILES[profile](), View(**VIEWS[view]), stream=Stream(terminal=width is not None))


def table_name(profile: str, view: str, width: int | None) -> str:
    return f"{FOLDER}/{profile}-{view}-{width or 'pipe'}.txt"


def other_name(profile: str, view: str, format: str) -> str:
    return f"{FOLDER}/{profile}-{view}.{SUFFIX[format]}"


@pytest.mark.parametrize(("profile", "view", "width"), TABLES)
def test_table(
    profile: str,
    view: str,
    width: int | None,
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden(table_name(profile, view, width), table_at(profile, view, width, monkeypatch))


@pytest.mark.parametrize(("profile", "view", "format"), OTHERS)
def test_other_format(profile: str, view: str, format: str, golden: Callable[[str, str], None]) -> None:
    golden(other_name(profile, view, format), printed(PROFILES[profile](), View(**VIEWS[view]), format))


def test_no_golden_file_is_left_over() -> None:
    expected = {table_name(*case) for case in TABLES} | {other_name(*case) for case in OTHERS}
    folder = Path(__file__).parent / "golden"
    assert {path.relative_to(folder).as_posix() for path in (folder / FOLDER).iterdir()} == expected


def added_up(rows: list[list[str]], column: int) -> int:
    """The sum of a column; numbers in parentheses are subtotals, nothing is an empty cell."""
    return sum(number(row[column]) for row in rows if row[column] and not row[column].startswith("("))


@pytest.mark.parametrize(("profile", "view", "width"), TABLES)
def test_columns_of_a_printed_table_add_up_to_its_total(profile: str, view: str, width: int | None) -> None:
    text = (Path(__file__).parent / "golden" / table_name(profile, view, width)).read_text("utf-8")
    table = read_table(text)
    numbers = [place for place, heading in enumerate(table.headings[1:]) if "#" in heading or "bytes" in heading]
    assert numbers
    for place in numbers:
        printed_total = number(table.total[place]) if table.total else _total_params(table)
        assert added_up(table.rows, place) == printed_total


def _total_params(table: Printed) -> int:
    """The total of torchsummary's one column of numbers."""
    return next(number(line.partition(":")[2]) for line in table.after if line.startswith("Total params:"))


@pytest.mark.parametrize(("profile", "view", "width"), TABLES)
def test_lines_below_agree_with_the_total_row(profile: str, view: str, width: int | None) -> None:
    text = (Path(__file__).parent / "golden" / table_name(profile, view, width)).read_text("utf-8")
    table = read_table(text)
    if table.total is None or "columns" in view:
        return
    below = dict(match for line in table.after for match in re.findall(r"^(parameters|products) +((?:>= )?[\d,]+) ", line))
    assert below == dict(zip(("parameters", "products"), table.total[-2:], strict=True))


@pytest.mark.parametrize(("profile", "view", "format"), OTHERS)
def test_columns_of_other_formats_add_up(profile: str, view: str, format: str) -> None:
    text = (Path(__file__).parent / "golden" / other_name(profile, view, format)).read_text("utf-8")
    known = PROFILES[profile]().cost
    if format == "json":
        read = json.loads(text)
        for key in (
            "params",
            "trainable_params",
            "products",
            "output_bytes",
            "param_bytes",
            "buffer_bytes",
            "model_bytes",
        ):
            assert sum(row[key] for row in read["layers"]) == read["totals"][key] == getattr(known, key)
        return
    if format == "csv":
        *records, total = csv.DictReader(io.StringIO(text))
        assert total["path"] == "TOTAL"
        for key in ("params", "trainable_params", "products", "output_bytes", "buffer_bytes"):
            assert sum(int(row[key]) for row in records) == int(total[key]) == getattr(known, key)
        return
    *rows, last = _markdown(text) if format == "markdown" else _latex(text)
    assert last[0] == "TOTAL"
    totals = [known.params] if view == "torchsummary" else [known.params, known.products]
    for column, expected in zip(range(2, 4), totals, strict=False):
        assert added_up(rows, column) == number(last[column]) == expected


def _markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("*").replace("\\>", ">") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _latex(text: str) -> list[list[str]]:
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    lines = [line.removesuffix(" \\\\") for line in body.splitlines() if line != "\\midrule"]
    return [[cell.strip().replace(r"$\geq$", ">=") for cell in re.split(r"(?<!\\)&", line)] for line in lines]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("width", [1, 20, 40, 50, 55, 60, 61, 62, 63, 64, 65, 70, 79, 80, 99, 120, 200, 500])
def test_no_digit_is_lost_at_any_width(profile: str, style: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    view = next(name for name in VIEWS if name == style)
    piped = read_table(table_at(profile, view, None, monkeypatch))
    shown = read_table(table_at(profile, view, width, monkeypatch))
    assert shown.rows == piped.rows
    assert shown.total == piped.total


@pytest.mark.parametrize(("profile", "view", "width"), TABLES)
def test_a_line_is_no_longer_than_the_terminal_unless_digits_need_it(
    profile: str, view: str, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if width is None:
        return
    text = table_at(profile, view, width, monkeypatch)
    narrowest = max(len(spread(line)) for line in table_at(profile, view, 1, monkeypatch).splitlines() if "  " in line)
    table_fits = width >= narrowest
    too_long = [line for line in text.splitlines() if len(spread(line)) > width]
    assert not (too_long and table_fits), too_long


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "golden" / FOLDER).glob("*.txt")), ids=lambda p: p.name)
def test_no_spaces_at_the_ends_of_lines(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
