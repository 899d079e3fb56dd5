"""What is printed for real networks, in every style and format, and whether it adds up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bundled import built
from render_streams import Stream, number, printed, read_table

import cnnprof
from cnnprof.render import View

WIDTHS = (60, 80, 120, 200, None)
VIEWS: dict[tuple[str, str], dict[str, Any]] = {
    ("lenet", "formulas"): {"formulas": True},
    ("lenet5", "torchsummary"): {"style": "torchsummary"},
    ("alexnet", "products"): {},
    ("alexnet", "tree"): {"style": "tree"},
    ("resnet50", "depth1"): {"depth": 1},
    ("resnet50", "products"): {},
    ("resnet50", "top5"): {"sort": "products", "top": 5},
    ("resnet18", "tree-depth3"): {"style": "tree", "depth": 3},
    ("googlenet_bn", "torchsummary"): {"style": "torchsummary"},
    ("efficientnet_b0", "formulas-depth2"): {"formulas": True, "depth": 2},
    ("mlp", "products"): {},
}
FORMATS = {"json": "json", "csv": "csv", "markdown": "md", "latex": "tex"}
CASES = [(name, view, width) for name, view in VIEWS for width in WIDTHS]


@cache
def profile(name: str) -> cnnprof.Profile:
    net = built(name)
    return cnnprof.profile(net.module, net.input_shape, name=name)


def golden_name(name: str, view: str, width: int | None) -> str:
    return f"networks/{name}-{view}-{width or 'pipe'}.txt"


@pytest.mark.parametrize(("name", "view", "width"), CASES)
def test_table(
    name: str, view: str, width: int | None, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    golden(
        golden_name(name, view, width), printed(profile(name), View(**VIEWS[name, view]), stream=Stream(terminal=width is not None))
    )


@pytest.mark.parametrize("format", FORMATS)
def test_other_format(format: str, golden: Callable[[str, str], None]) -> None:
    golden(f"networks/resnet18-depth1.{FORMATS[format]}", printed(profile("resnet18"), View(depth=1), format))


@pytest.mark.parametrize(("name", "view", "width"), CASES)
def test_the_columns_add_up(name: str, view: str, width: int | None) -> None:
    table = read_table((Path(__file__).parent / "golden" / golden_name(name, view, width)).read_text("utf-8"))
    params = next(place for place, heading in enumerate(table.headings[1:]) if heading.lower().strip("# ").startswith("param"))
    rows = [row[params] for row in table.rows if row[params] and not row[params].startswith("(")]
    # The whole by torch's own count, not by what is printed.
    expected = sum(parameter.numel() for parameter in cnnprof.load(name).parameters())
    assert sum(number(cell) for cell in rows) == expected
    if table.total:
        assert number(table.total[params]) == expected


@pytest.mark.parametrize(("name", "view", "width"), CASES)
def test_no_digit_is_lost(name: str, view: str, width: int | None) -> None:
    folder = Path(__file__).parent / "golden"
    wide = read_table((folder / golden_name(name, view, None)).read_text("utf-8"))
    narrow = read_table((folder / golden_name(name, view, width)).read_text("utf-8"))
    assert narrow.rows == wide.rows
