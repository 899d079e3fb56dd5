"""Networks side by side: ratios, and exactly the layers that differ."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from bundled import built
from render_streams import Stream
from torch import nn

import cnnprof
from cnnprof.compare import Change, compare
from cnnprof.errors import UsageError
from cnnprof.render.comparison import change, ratio, write


def profile(name: str) -> cnnprof.Profile:
    net = built(name)
    return cnnprof.profile(net.module, net.input_shape, name=name)


def text(*names: str, by: str = "total", format: str = "table", every: bool = False, metric: str = "products") -> str:
    file = StringIO()
    write(compare([profile(name) for name in names], by), file, format, metric, every)
    return file.getvalue()


def test_mlp_against_cnn() -> None:
    table = text("mlp", "cnn")
    line = next(line for line in table.splitlines() if line.startswith("parameters"))
    assert line.split() == ["parameters", "1,515,392,110", "*", "1,410,858", "1,074", "x", "less"]
    assert "5.65 GiB (6.06 GB)" in table
    assert "5.4 MiB (5.6 MB)" in table


def test_vgg_by_layer_names_the_convolutions_that_were_added() -> None:
    made = compare([profile("vgg11"), profile("vgg16"), profile("vgg19")], "layer")
    differing = [row for row in made.rows if row.change is not Change.SAME]
    # VGG-16 has 5 convolutions more than VGG-11, VGG-19 another 3, each with its ReLU; nothing else differs.
    assert {row.change for row in differing} == {Change.NEW}
    convolutions = [row for row in differing if row.name.startswith("Conv2d")]
    assert len(convolutions) == 8
    assert sum(row.names[1] is not None for row in convolutions) == 5
    assert len(differing) == 16
    assert [row.path for row in convolutions if row.names[1] is None] == ["stage3.6", "stage4.6", "stage5.6"]
    assert sum(row.change is Change.SAME for row in made.rows) == 30


def test_resnet50_and_v1_differ_where_the_stride_is() -> None:
    made = compare([profile("resnet50"), profile("resnet50_v1")], "layer")
    differing = {row.path: row for row in made.rows if row.change is not Change.SAME}
    stages = ("stage2", "stage3", "stage4")
    # The 1x1 with the stride, the BatchNorm on its smaller map (the in-place ReLU writes nothing), and the 3x3 without it.
    expected = {f"{stage}.0.0.main.{place}" for stage in stages for place in ("0.0", "0.1", "2.0")}
    assert set(differing) == expected
    products = [cost.products for cost in differing["stage2.0.0.main.0.0"].costs]
    assert products == [256 * 128 * 56 * 56, 256 * 128 * 28 * 28]
    assert "stride=2" in differing["stage2.0.0.main.0.0"].names[1]  # type: ignore[operator]


def test_families_that_do_not_align_are_compared_by_kind() -> None:
    table = text("alexnet", "resnet18", by="layer")
    assert "too few layers to align" in table
    assert "Conv2d" in table
    made = compare([profile("alexnet"), profile("resnet18")], "layer")
    by_kind = {row.path: [cost.products for cost in row.costs] for row in made.rows}
    assert by_kind["Conv2d"] == [655_566_528, 1_813_561_344]
    assert made.by == "kind"


def test_rows_of_every_kind_of_comparison_add_up() -> None:
    profiles = [profile("vgg11"), profile("vgg19"), profile("vgg13")]
    for by in ("kind", "layer"):
        made = compare(profiles, by)
        for place, one in enumerate(profiles):
            for figure in ("params", "products", "output_bytes"):
                assert sum(getattr(row.costs[place], figure) for row in made.rows) == getattr(one.cost, figure)


def test_two_versions_of_one_network() -> None:
    before = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    after = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    made = compare([cnnprof.profile(net, (3, 16, 16)) for net in (before, after)], "layer")
    assert [(row.path, row.change) for row in made.rows] == [
        ("0", Change.CHANGED),
        ("1", Change.CHANGED),
        ("2", Change.CHANGED),
        ("3", Change.NEW),
    ]  # the maps behind the larger kernel are smaller


@pytest.mark.parametrize(
    ("value", "first", "expected"),
    [(1, 1, "1 x"), (2, 1, "2.00 x"), (1_410_858, 1_515_392_110, "1,074 x less"), (15, 100, "6.67 x less"), (0, 5, "-")],
)
def test_ratios(value: int, first: int, expected: str) -> None:
    assert ratio(value, first) == expected


def test_changes() -> None:
    assert [change(9, 8), change(8, 8), change(6, 8), change(3, 0)] == ["+12.5 %", "=", "-25.0 %", "from 0"]


def test_machine_formats() -> None:
    read = json.loads(text("lenet", "lenet5", by="kind", format="json"))
    assert read["totals"]["params"] == [105_506, 61_706]
    rows = list(csv.reader(StringIO(text("lenet", "lenet5", format="csv"))))
    assert rows[:2] == [["metric", "lenet", "lenet5"], ["params", "105506", "61706"]]
    rows = list(csv.reader(StringIO(text("lenet", "lenet5", by="kind", format="csv"))))
    assert rows[:2] == [["metric", "path", "layer", "lenet", "lenet5", "change"], ["params", "", "", "105506", "61706", ""]]
    assert ["products", "Conv2d", "", "1280000", "357600", "changed"] in rows
    rows = list(csv.reader(StringIO(text("lenet", "lenet5", by="layer", format="csv", metric="params"))))
    assert ["params", "", "Flatten", "0", "0", "="] in [[row[0], "", *row[2:]] for row in rows]
    assert {len(row) for row in rows} == {6}
    markdown = text("lenet", "lenet5", by="layer", format="markdown", every=True)
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") - line.count("\\|") for line in tables[:7]}) == 1


def test_latex() -> None:
    latex = text("lenet", "lenet5", by="layer", format="latex", every=True)
    lines = latex.splitlines()
    assert lines.count(r"\begin{tabular}{lrr}") == lines.count(r"\begin{tabular}{lrrr}") == 1
    assert r"parameters & 105,506 & * 61,706  1.71 x less \\" in lines
    rows = [line for line in lines if line.endswith(r" \\")]
    assert {line.count("&") for line in rows} == {2, 3}
    assert all(line.startswith(("%", "\\")) or line.endswith(r"\\") or not line for line in lines)


def test_columns_that_do_not_fit_stand_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """No digit is lost, no line is wider than the terminal, and each part has its names beside it."""
    monkeypatch.setenv("COLUMNS", "80")
    names = ["vgg11", "vgg16", "vgg19", "vgg13"]
    profiles = [profile(name) for name in names]
    for by in ("total", "layer"):
        stream, whole = Stream(), StringIO()
        write(compare(profiles, by), stream)
        write(compare(profiles, by), whole)
        narrow = stream.getvalue().splitlines()
        assert max(map(len, narrow)) <= 80
        parts = [line.split()[1:] for line in narrow if line.startswith("parameters ")]
        (wide,) = [line.split()[1:] for line in whole.getvalue().splitlines() if line.startswith("parameters ")]
        assert [cell for part in parts for cell in part] == wide
        headings = [
            name for line in narrow if not line.startswith(("input", "[", "change:")) for name in line.split() if name in names
        ]
        assert headings == names * (2 if by == "layer" else 1)


@pytest.mark.parametrize("format_name", ["table", "markdown", "latex"])
def test_every_format_for_people_says_what_was_compared_and_left_out(format_name: str) -> None:
    said = text("resnet18", "resnet34", "resnet50", by="kind", format=format_name)
    for sentence in (
        "input 3x224x224, batch 1, float32",
        "2 of 8 rows are equal",
        "the kind differs",
        "to the last",
        "the smallest",
    ):
        assert sentence in said
    equal = text("lenet", "lenet", by="layer", format=format_name)
    assert "all 10 rows are equal" in equal
    assert "change" not in equal
    differing = StringIO()
    write(compare([cnnprof.profile(nn.ReLU(), (size,), name=str(size)) for size in (1, 2)]), differing, format_name)
    assert "1, batch 1, float32" in differing.getvalue()
    assert "2, batch 1, float32" in differing.getvalue()


def test_the_same_network_twice_has_two_names() -> None:
    def heading(*profiles: cnnprof.Profile) -> list[str]:
        file = StringIO()
        write(compare(profiles), file, "csv")
        return next(csv.reader(StringIO(file.getvalue())))[1:]

    small, large = (cnnprof.profile(nn.Conv2d(1, 1, 3), (1, size, size), name="net") for size in (8, 16))
    other = cnnprof.profile(nn.Linear(2, 2), (2,), name="other")
    assert heading(small, large, other) == ["net@1x8x8", "net@1x16x16", "other"]
    assert heading(small, small, other) == ["net (1)", "net (2)", "other"]
    assert heading(small, large, small) == ["net@1x8x8 (1)", "net@1x16x16", "net@1x8x8 (2)"]


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        text("lenet", "lenet5", metric="prodcts")
    with pytest.raises(UsageError, match="no format"):
        text("lenet", "lenet5", format="html")


def test_memory_and_receptive_field_side_by_side() -> None:
    """Kernels of three see 3 pixels, then 5. The second convolution needs the first's output, the loop holds the last."""
    nets = {"one": nn.Sequential(nn.Conv2d(1, 2, 3)), "two": nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))}
    profiles = [cnnprof.profile(net, (1, 8, 8), name=name, retained=True) for name, net in nets.items()]
    made = {total.key: total for total in compare(profiles).totals}
    assert made["retained_bytes"].values == (2 * 36 * 4, 2 * 36 * 4 + 2 * 16 * 4)
    assert made["retained_bytes"].winner == 0
    assert made["inference_peak_bytes"].values == ((64 + 72) * 4, (64 + 72 + 32) * 4)
    assert made["receptive_field"].values == ((3, 3), (5, 5))
    assert made["receptive_field"].winner is None
    for format_name, fields in (("table", "3 5"), ("json", "[ [ 3, 3 ], [ 5, 5 ] ]"), ("markdown", "| 3 | 5 |"), ("csv", "3,5")):
        file = StringIO()
        write(compare(profiles), file, format_name)
        assert fields in " ".join(file.getvalue().split())


def test_what_is_not_known_wins_nothing_and_says_so() -> None:
    known = cnnprof.profile(nn.Linear(4, 4), (4,), name="known", retained=True)
    unknown = cnnprof.profile(nn.Linear(4, 2), (4,), name="unknown")
    made = compare([known, unknown])
    retained = next(total for total in made.totals if total.key == "retained_bytes")
    assert retained.values == (16, None)
    assert retained.winner is None
    file = StringIO()
    write(made, file)
    assert "unknown: retained for training is not known: a saved profile without --training" in file.getvalue()
