"""Equal blocks in a row are one row with `x3`, and the sums stay what they are."""

from __future__ import annotations

import re

import pytest
from render_streams import printed, read_table

import cnnprof
from cnnprof.errors import Source
from cnnprof.nets.builder import build
from cnnprof.render import View
from cnnprof.spec import parser


def profile(text: str) -> cnnprof.Profile:
    net = build(parser.parse(Source("net.yaml", text)), "net")
    return cnnprof.profile(net.module, net.input_shape, name="net")


STACK = """
input: 4x8x8
blocks:
  unit(w, k=3): [Conv2d: {out_channels: w, kernel_size: k, padding: k//2}, ReLU]
layers:
  - unit: 4
    name: stage
    repeat: 3
  - unit: {w: 4, k: 5}
    name: last
  - ReLU
  - ReLU
"""


def names(view: View) -> list[str]:
    lines = printed(profile(STACK), view).splitlines()
    first, last = (number for number, line in enumerate(lines) if line.startswith("──"))
    return [re.split(r" {2,}", line)[0] for line in lines[first + 1 : last]]


def test_equal_blocks_fold_and_equal_layers_do_not() -> None:
    assert names(View()) == ["stage.0 x3: unit(w=4, k=3)", "Conv2d(4, 4, kernel_size=5, padding=2)", "ReLU", "ReLU", "ReLU"]
    assert names(View(expand=True)).count("ReLU") == 6
    assert "x3" not in "".join(names(View(sort="params", top=2)))
    assert names(View(depth=1)) == ["stage: Sequential", "last: unit(w=4, k=5)", "ReLU", "ReLU"]


@pytest.mark.parametrize("style", ["products", "tree"])
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b3", "resnet18"])
def test_the_total_never_changes(name: str, style: str) -> None:
    shape = (3, 96, 96)
    found = cnnprof.profile(cnnprof.load(name), shape)
    folded, expanded = (read_table(printed(found, View(style=style, expand=expand))) for expand in (False, True))
    assert folded.total == expanded.total
    assert len(folded.rows) < len(expanded.rows)
    for column in (1, 2):
        sums = [
            sum(int(row[column].replace(",", "")) for row in table.rows if row[column] and not row[column].startswith("("))
            for table in (folded, expanded)
        ]
        assert sums == [(found.params, found.products)[column - 1]] * 2
