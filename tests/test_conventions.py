"""Products as other tools count them: against what those tools printed, and against the tools that are installed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path

import pytest
import torch
import update_conventions
from convention_networks import BUNDLED, NETWORKS
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import cnnprof
from cnnprof.commands.summarize import Convention
from cnnprof.compare import compare
from cnnprof.errors import Source
from cnnprof.profiling.conventions import CONVENTIONS
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.render import View, write
from cnnprof.render import conventions as words
from cnnprof.spec import library

with update_conventions.FACTS.open(newline="") as _file:
    FACTS = list(csv.DictReader(_file))

OTHERS = [name for name in CONVENTIONS if name != "products"]


def counted(name: str, convention: str) -> cnnprof.Profile:
    if name in NETWORKS:
        make, shape = NETWORKS[name]
        return cnnprof.profile(make(), shape, convention=convention)
    return cnnprof.profile(cnnprof.load(name), (1, 32, 32) if name == "lenet5" else (3, 224, 224), convention=convention)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['network']}-{fact['convention']}")
def test_counts_are_those_that_the_tool_printed(fact: dict[str, str]) -> None:
    found = counted(fact["network"], fact["convention"])
    assert found.products == int(fact["count"])
    assert found.complete
    assert found.products == sum(layer.products for layer in found.layers)


def test_the_four_numbers_of_resnet50() -> None:
    """What the tools disagree about, in millions."""
    asked = {name: round(counted("resnet50", name).products / 1e6) for name in ("products", "fvcore", "ptflops", "thop")}
    assert asked == {"products": 4089, "fvcore": 4112, "ptflops": 4132, "thop": 4134}


@pytest.mark.parametrize(("convention", "package"), [("fvcore", "fvcore"), ("thop", "thop"), ("ptflops", "ptflops")])
def test_the_tool_still_counts_so(convention: str, package: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package)  # thop needs a module that Python 3.12 dropped
    for name in (*NETWORKS, "lenet5"):
        assert update_conventions.asked(name, convention) == counted(name, convention).products, name


def test_flops_are_twice_the_products() -> None:
    for name in ("lenet5", "alexnet", "resnet18"):
        assert counted(name, "flops").products == 2 * counted(name, "products").products


class Local(nn.Module):
    """Biases that are added in other ways than by the operator that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.bilinear = nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x.transpose(1, 2), self.linear.weight, self.linear.bias)  # not contiguous: matmul and add
        out: Tensor = self.bilinear(x + 1, x) + torch.add(x, x)[..., :2]
        return out


def test_biases_in_closed_form() -> None:
    found = cnnprof.profile(Local(), (6, 4), convention="mac+bias")
    ours = cnnprof.profile(Local(), (6, 4)).products
    assert found.products == ours + 4 * 3 + 4 * 2
    spec = cnnprof.load("locally_connected")
    shape = tuple(int(size) for size in library.entries()["locally_connected"].input.split("x"))
    biases = sum(parameter.numel() for name, parameter in spec.named_parameters() if name.endswith("bias"))
    difference = cnnprof.profile(spec, shape, convention="mac+bias").products - cnnprof.profile(spec, shape).products
    assert difference == biases  # one per output element of each layer


def test_a_batch_multiplies_every_count() -> None:
    net = cnnprof.load("resnet18")
    for convention in OTHERS:
        one, many = (cnnprof.profile(net, (3, 64, 64), batch=n, convention=convention).products for n in (1, 5))
        assert many == 5 * one


def test_rows_and_parameters_are_those_of_products() -> None:
    plain = cnnprof.profile(cnnprof.load("efficientnet_b0"), (3, 224, 224))
    for convention in OTHERS:
        found = counted("efficientnet_b0", convention)
        assert [(layer.path, layer.kind, layer.output_shapes, layer.params, layer.output_bytes) for layer in found.layers] == [
            (layer.path, layer.kind, layer.output_shapes, layer.params, layer.output_bytes) for layer in plain.layers
        ]
        assert found.cost.params == plain.params


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(query=x, key=x, value=x)[0]
        return out


@pytest.mark.parametrize(
    ("module", "convention", "named"),
    [
        (ByName(), "ptflops", "MultiheadAttention"),  # it stops with an exception
        (nn.Sequential(nn.LPPool2d(2, 2)), "ptflops", "lp_pool2d"),
        (nn.Sequential(nn.Softmax()), "thop", "Softmax without dim"),  # it stops with an exception
    ],
)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_what_a_convention_cannot_express_is_a_lower_bound(module: nn.Module, convention: str, named: str) -> None:
    shape = (5, 8) if isinstance(module, ByName) else (4, 8, 8)
    found = cnnprof.profile(module, shape, convention=convention)
    assert not found.complete
    assert any(named in text for text in found.cost.unknown)
    file = StringIO()
    write(found, View(), file)
    assert ">= " in file.getvalue()
    assert f"as {convention} counts it" in " ".join(file.getvalue().split())
    assert cnnprof.profile(module, shape).complete


def test_an_unknown_convention_is_told() -> None:
    with pytest.raises(cnnprof.CnnprofError, match='did you mean "fvcore"'):
        cnnprof.profile(nn.Linear(2, 2), (2,), convention="fvcor")


def test_every_convention_has_words_and_an_option() -> None:
    assert list(CONVENTIONS) == list(words.CONVENTIONS) == [member.value for member in Convention]


@pytest.mark.parametrize("convention", OTHERS)
@pytest.mark.parametrize("style", ["products", "torchsummary", "tree"])
def test_tables_say_whose_count_it_is(convention: str, style: str) -> None:
    file = StringIO()
    found = counted("lenet5", convention)
    write(found, View(style=style, columns=("layer", "products")), file)
    title, *_ = file.getvalue().splitlines()
    said = words.CONVENTIONS[convention]
    assert f"convention {convention}" in title
    assert said.heading in file.getvalue()
    assert f"{said.definition.label}" in file.getvalue()
    assert "# products" not in file.getvalue()
    assert f"{found.products:,}" in file.getvalue()


def test_machine_formats_say_so_too() -> None:
    found = counted("lenet5", "thop")
    text = StringIO()
    write(found, View(), text, "json")
    read = json.loads(text.getvalue())
    assert read["convention"] == "thop"
    assert "thop 0.1.1" in read["definitions"]["products"]
    assert read_profile(Source("net.json", text.getvalue())).convention == "thop"
    with pytest.raises(cnnprof.CnnprofError, match="different conventions"):
        compare([read_profile(Source("net.json", text.getvalue())), counted("lenet5", "products")])
    with pytest.raises(cnnprof.CnnprofError, match="convention"):
        read_profile(Source("net.json", text.getvalue().replace('"convention": "thop"', '"convention": "nobody"')))
    file = StringIO()
    write(found, View(), file, "csv")
    heading, *_ = file.getvalue().splitlines()
    assert "thop" in heading.split(",")
    assert "products" not in heading.split(",")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "cnnprof", *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environ
    )


def test_the_command_takes_a_convention(tmp_path: Path) -> None:
    shown = run("summarize", "resnet50", "--depth", "1", "--convention", "thop")
    assert shown.returncode == 0
    assert "4,133,742,592" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert run("summarize", "lenet", "--convention", "mine").returncode == 2
    assert run("summarize", "lenet", "--convention", "flops", "-o", "net.json", cwd=tmp_path).returncode == 0
    again = run("summarize", "net.json", cwd=tmp_path)
    assert "# FLOPs" in again.stdout
    assert "2,666,400" in again.stdout
    assert run("summarize", "net.json", "--convention", "thop", cwd=tmp_path).returncode == 2


def test_products_alone_load_no_conventions() -> None:
    code = "import sys, cnnprof; cnnprof.profile(cnnprof.load('lenet'), (1, 28, 28)); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cnnprof.profiling.rows" in loaded
    assert "cnnprof.profiling.conventions" not in loaded
    assert "cnnprof.profiling.witness" not in loaded


def test_facts_cover_all_networks() -> None:
    assert {fact["network"] for fact in FACTS} == {*BUNDLED, *NETWORKS}
