"""Machine formats, Markdown, LaTeX, and the forms that styles promise."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from time import process_time

import pytest
from render_profiles import PROFILES, container, leaf, lenet, names, nested, network, single, unknown
from render_streams import Stream, printed

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import Layer, Profile
from cnnprof.render import FORMATS, STYLES, SUFFIXES, View
from cnnprof.render.as_json import to_dict
from cnnprof.render.columns import COLUMNS, find
from cnnprof.render.definitions import DEFINITIONS

_COST_KEYS = {"params", "products", "output_bytes", "complete"}


@pytest.mark.parametrize("profile", PROFILES)
def test_json_has_the_promised_keys(profile: str) -> None:
    read = json.loads(printed(PROFILES[profile](), format="json"))
    assert read.keys() >= {"schema_version", "network", "input", "batch", "dtype", "definitions", "totals", "layers"}
    assert read["totals"].keys() >= _COST_KEYS | {"trainable_params", "buffer_bytes", "model_bytes"}
    for row in read["layers"]:
        assert row.keys() >= _COST_KEYS | {"path", "kind", "arguments", "depth", "input_shape", "output_shape"}
    assert {"params", "products", "output_bytes"} <= read["definitions"].keys()


def test_json_is_the_dictionary() -> None:
    view = View(depth=1, sort="products", top=2)
    assert json.loads(printed(nested(), view, "json")) == to_dict(nested(), view)


def test_json_of_the_lecture() -> None:
    read = to_dict(lenet())
    assert (read["network"], read["input"], read["batch"], read["dtype"]) == ("lenet", [1, 28, 28], 1, "float32")
    assert (read["totals"]["params"], read["totals"]["products"]) == (105506, 1333200)
    assert [(row["output_shape"], row["params"], row["products"]) for row in read["layers"]] == [
        ([32, 24, 24], 832, 460800),
        ([32, 8, 8], 0, 0),
        ([32, 8, 8], 0, 0),
        ([64, 4, 4], 51264, 819200),
        ([64, 2, 2], 0, 0),
        ([64, 2, 2], 0, 0),
        ([256], 0, 0),
        ([200], 51400, 51200),
        ([200], 0, 0),
        ([10], 2010, 2000),
    ]


def test_json_shapes_of_none_one_and_several_tensors() -> None:
    shapes = {row["path"]: row["output_shape"] for row in to_dict(unknown())["layers"]}
    assert shapes["proj"] == [[192], [3]]
    assert shapes["head"] == [10]
    assert shapes["loss"] == []
    assert shapes["spare"] is None


def test_json_says_what_is_only_a_lower_bound() -> None:
    read = to_dict(unknown())
    assert read["totals"]["complete"] is False
    assert read["totals"]["unknown"] == ["aten::_fft_r2c", "aten::_fft_c2c", "mylib::mix"]
    assert [row["path"] for row in read["layers"] if not row["complete"]] == ["spectrum", "proj"]


def test_json_marks_the_row_of_the_others() -> None:
    *rows, others = to_dict(lenet(), View(sort="products", top=2))["layers"]
    assert [row["others"] for row in rows] == [0, 0]
    assert (others["others"], others["path"], others["products"]) == (8, None, 51200 + 2000)


def test_json_survives_any_name_on_any_stream() -> None:
    bad = replace(single(), network='"\\\ud800\x00\n卷')
    for encoding in ("utf-8", "ascii", "cp1252"):
        assert json.loads(printed(bad, format="json", stream=Stream(encoding)))["network"] == '"\\\ud800\x00\n卷'


def test_csv_has_raw_integers_and_the_total_last() -> None:
    read = list(csv.reader(io.StringIO(printed(lenet(), format="csv"))))
    assert read[0][:6] == ["path", "kind", "arguments", "depth", "input_shape", "output_shape"]
    assert read[1][:6] == ["conv1", "Conv2d", "1, 32, kernel_size=5", "1", "1x28x28", "32x24x24"]
    assert read[1][6:] == ["832", "832", "460800", "73728", "0", "true"]
    assert read[-1] == ["TOTAL", *[""] * 5, "105506", "105506", "1333200", "97896", "0", "true"]
    assert {len(row) for row in read} == {12}


def test_csv_of_chosen_columns() -> None:
    assert printed(unknown(), View(columns=("path", "products", "complete", "output")), "csv").splitlines() == [
        "path,products,complete,output_shape",
        "spectrum,0,false,3x8x8",
        'proj,36864,false,"192, 3"',
        "flatten,0,true,192",
        "spare,0,true,",
        "head,1920,true,10",
        "loss,0,true,scalar",
        "TOTAL,38784,false,",
    ]


def test_csv_of_odd_names_reads_back() -> None:
    for encoding in ("utf-8", "ascii"):
        read = list(csv.DictReader(io.StringIO(printed(names(), format="csv", stream=Stream(encoding)))))
        assert len(read) == 7
        assert read[4]["arguments"] == "x=<y>, z=50%, {k} $5 #1 & \\ ^ ~ [q]"


def test_markdown_of_odd_names_stays_a_table() -> None:
    for encoding in ("utf-8", "ascii"):
        text = printed(names(), format="markdown", stream=Stream(encoding))
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert len(table) == 9
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {5}


def test_markdown_in_ascii_makes_no_emphasis_of_products() -> None:
    text = printed(lenet(), View(formulas=True), "markdown", Stream("ascii"))
    assert r"32\*24^2\*1\*5^2 = 460,800" in text


def test_latex_of_odd_names_has_its_commands_alone() -> None:
    text = printed(names(), format="latex")
    body = text.partition("\\midrule\n")[2].partition("\\end{tabular}")[0]
    assert set(re.findall(r"\\([a-z]+)", body)) == {
        "times",
        "textbackslash",
        "textasciicircum",
        "textasciitilde",
        "textless",
        "textgreater",
        "midrule",
        "bottomrule",
    }
    assert re.findall(r"(?<!\\)[%#_~^]", body) == []
    unescaped = re.sub(r"\\[{}&%$#_]", "", body)
    assert unescaped.count("{") == unescaped.count("}")
    rows = [line for line in unescaped.splitlines() if line.endswith(r"\\")]
    assert [row.count("&") for row in rows] == [3] * 7


def test_latex_takes_no_star_for_an_option_of_the_line_before() -> None:
    rows = printed(network("net", leaf("mul", "*", into=(3,), out=(3,))), format="latex").splitlines()
    assert any(row.startswith("{*} & ") for row in rows)
    assert not any(row.startswith(("*", "[")) for row in rows)


def test_latex_formula() -> None:
    text = printed(lenet(), View(formulas=True), "latex", Stream("ascii"))
    assert r"32$\cdot$(1$\cdot$5\textsuperscript{2}+1) = 832" in text
    assert r"32$\times$24$\times$24" in text


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("format_name", ["table", "markdown", "latex"])
def test_a_text_for_people_says_what_its_numbers_mean(style: str, format_name: str) -> None:
    text = " ".join(printed(unknown(), View(style=style), format_name).split())
    for key in ("params", "products", "output_bytes", "model_bytes"):
        said = DEFINITIONS[key].short if format_name == "table" else DEFINITIONS[key].full
        assert said in text
    escaped = text.replace("\\", "")
    assert "in no table: aten::_fft_r2c, aten::_fft_c2c, mylib::mix" in escaped
    assert "not called: spare" in escaped


def test_definitions_fit_beside_the_widest_total() -> None:
    """In 80 columns a line is one line; with the longer names of training those of training are."""
    widest = len("1,023.9 MiB (1,073.6 MB)")
    usual = {"params", "trainable_params", "products", "model_bytes", "buffer_bytes", "output_bytes", "inference_peak_bytes"}
    training = {"retained_bytes", "saved_bytes", "training_peak_bytes"}
    for keys, shown in ((usual, usual), (training | usual, training)):
        labels = max(len(DEFINITIONS[key].label) for key in keys)
        assert max(labels + 2 + widest + 2 + len(DEFINITIONS[key].short) for key in shown) <= 80


def test_torchsummary_has_the_form_of_torchsummary() -> None:
    """The row format is that of sksq96/pytorch-summary: fields of 20, 25 and 15 characters, all to the right."""
    lines = printed(lenet(), View(style="torchsummary")).splitlines()
    row = "{:>20}  {:>25} {:>15}".format
    assert lines[1:6] == [
        "-" * 64,
        row("Layer (type)", "Output Shape", "Param #"),
        "=" * 64,
        row("Conv2d-1", "[-1, 32, 24, 24]", "832"),
        row("MaxPool2d-2", "[-1, 32, 8, 8]", "0"),
    ]
    assert lines[13:18] == [
        row("Linear-9", "[-1, 10]", "2,010"),
        "=" * 64,
        "Total params: 105,506",
        "Trainable params: 105,506",
        "Non-trainable params: 0",
    ]


def test_torchsummary_names_no_size_that_is_not_defined() -> None:
    text = printed(lenet(), View(style="torchsummary"))
    assert "MB" not in text
    assert "Estimated" not in text
    assert f"Params size (MiB): {105506 * 4 / 2**20:.2f}" in text


def test_tree_has_the_names_of_the_lecture() -> None:
    conv = leaf("features.0", "Conv2d", into=(1, 227, 227), out=(64, 56, 56))
    relu = leaf("features.1", "ReLU", into=(64, 56, 56), out=(64, 56, 56))
    pool = leaf("avgpool", "AdaptiveAvgPool2d", into=(64, 56, 56), out=(64, 6, 6))
    linear = leaf("classifier.1", "Linear", into=(2304,), out=(10,))
    profile = network(
        "alexnet", container("features", "Sequential", conv, relu), pool, container("classifier", "Sequential", linear)
    )
    text = printed(profile, View(style="tree", columns=("layer",)))
    assert text.splitlines()[4:12] == [
        "Alexnet",
        "├─Sequential: 1-1",
        "│    ├─Conv2d: 2-1",
        "│    └─ReLU: 2-2",
        "├─AdaptiveAvgPool2d: 1-2",
        "└─Sequential: 1-3",
        "     └─Linear: 2-3",
        "─" * 24,
    ]


def test_every_column_can_be_shown_in_every_format() -> None:
    view = View(columns=tuple(COLUMNS))
    for format_name in FORMATS:
        assert printed(replace(unknown(), retained=True), view, format_name)


@pytest.mark.parametrize("view", [View(columns=("layer", "retained_bytes")), View(sort="retained_bytes")])
def test_what_nobody_measured_is_not_shown_as_zero(view: View) -> None:
    for format_name in FORMATS:
        with pytest.raises(UsageError, match="retained_bytes of mixer is not known: it takes a training pass: --training"):
            printed(unknown(), view, format_name)


def test_columns_are_found_by_their_machine_names_too() -> None:
    assert find("output_shape") is find("output")
    assert find(" params ") is COLUMNS["params"]


def test_no_bars_without_the_column_they_belong_to() -> None:
    wide = Stream(terminal=True)
    assert "█" not in printed(lenet(), View(columns=("layer", "params")), stream=wide)


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match=r'there is no format "jsn"; did you mean "json"\?'):
        printed(lenet(), format="jsn")


def test_every_suffix_is_a_format() -> None:
    assert set(SUFFIXES.values()) == set(FORMATS)


def test_machine_formats_import_neither_torch_nor_rich() -> None:
    code = (
        "import io, sys; sys.path.insert(0, 'tests'); from render_profiles import lenet;"
        "from cnnprof.render import View, write;"
        "[write(lenet(), View(), io.StringIO(), name) for name in ('json', 'csv')];"
        "write(lenet(), View(style='tree'), io.StringIO());"
        "print([name for name in ('torch', 'rich', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def big(layers: int) -> Profile:
    """A network of that many layers in containers of four."""

    def conv(path: str, out: int) -> Layer:
        return leaf(path, "Conv2d", f"3, {out}", into=(3, 8, 8), out=(out, 8, 8), params=((out, 3, 3, 3),))

    blocks = [container(f"s.{n}", "block", *(conv(f"s.{n}.{k}", n + k + 1) for k in range(4))) for n in range(layers // 4)]
    return network("big", *blocks)


@pytest.mark.parametrize("style", STYLES)
def test_printing_time_grows_with_the_rows_and_no_faster(style: str) -> None:
    """Processor time, since tests share the machine; 8 times the rows squared would be 64 times the time."""
    seconds = []
    for layers in (1000, 8000):
        profile = big(layers)
        runs = []
        for _ in range(4):
            start = process_time()
            printed(profile, View(style=style, sort="params"))
            runs.append(process_time() - start)
        seconds.append(min(runs))
    small, large = seconds
    assert large < 30 * small
