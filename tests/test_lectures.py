"""Every figure that the lectures print, in the lecture's own form."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys

import pytest
from bundled import built
from facts import LECTURES

import cnnprof


def profile(name: str, *, settings: tuple[str, ...] = (), size: str | None = None) -> cnnprof.Profile:
    shape = tuple(map(int, size.split("x"))) if size else None
    net = built(name, settings, shape)
    return cnnprof.profile(net.module, net.input_shape)


def printed(*arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "cnnprof", "summarize", *arguments],
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return run.stdout


@pytest.mark.parametrize("name", ["mlp", "cnn", "lenet"])
def test_every_row(name: str) -> None:
    """`cnn` has no printed products, `mlp` neither: null in the facts."""
    facts = LECTURES[name]
    found = profile(name)
    assert found.input_shapes == (tuple(map(int, facts["input"].split("x"))),)
    rows = [(list(layer.output_shape), layer.cost.params) for layer in found.layers]
    assert rows == [(shape, params) for _, shape, params, _ in facts["rows"]]
    for layer, (_, _, _, products) in zip(found.layers, facts["rows"], strict=True):
        assert products is None or layer.cost.products == products
    assert found.params == facts["params"]
    assert found.products == facts.get("products", found.products)


def test_the_products_table_with_its_arithmetic() -> None:
    text = printed("lenet", "--formulas")
    lines = text.splitlines()
    calls = [
        "Conv2d(1, 32, kernel_size=5)",
        "MaxPool2d(kernel_size=3)",
        "ReLU",
        "Conv2d(32, 64, kernel_size=5)",
        "MaxPool2d(kernel_size=2)",
        "ReLU",
        "Flatten",
        "Linear(256, 200)",
        "ReLU",
        "Linear(200, 10)",
    ]
    rows = lines[lines.index(next(line for line in lines if line.startswith("──"))) + 1 :][: len(calls)]
    for line, call, (_, shape, params, products) in zip(rows, calls, LECTURES["lenet"]["rows"], strict=True):
        assert re.match(rf"{re.escape(call)} +{'x'.join(map(str, shape))} ", line)
        assert line.split().count(f"{params:,}") >= 1
        assert line.endswith(f"{products:,}")
    assert "32·(1·5²+1) = 832" in text
    assert "32·24²·1·5² = 460,800" in text
    assert "64·(32·5²+1) = 51,264" in text  # the lecture's formula has 4² by mistake, see errata
    assert "64·4²·32·5² = 819,200" in text
    assert "200·(256+1) = 51,400" in text


def test_the_torchsummary_table() -> None:
    text = printed("lenet5", "--style", "torchsummary")
    for name, shape, params, _ in LECTURES["lenet5"]["rows"]:
        assert re.search(rf"^ *{name} +\[{', '.join(map(str, [-1, *shape]))}\] +{params:,}$", text, re.MULTILINE), name
    assert "Total params: 61,706" in text


def test_the_tree() -> None:
    facts = LECTURES["alexnet_lecture"]
    text = printed("alexnet", "--input", facts["input"], "--set", f"classes={facts['classes']}", "--style", "tree")
    for name, shape, params, _ in facts["rows"]:
        number = r"\([\d,]+\)" if params is None else f"{params:,}"
        assert re.search(rf"─{name} +{'x'.join(map(str, shape))} +{number} ", text), name
    assert re.search(rf"^TOTAL +{facts['params']:,} ", text, re.MULTILINE)


def test_model_sizes() -> None:
    text = printed("mlp", "cnn")
    assert "1,515,392,110" in text
    assert "5.65 GiB (6.06 GB)" in text
    assert "1,410,858" in text
    assert "5.4 MiB (5.6 MB)" in text  # 5,643,432 bytes; the lecture's 0.016 GB is an erratum
    assert profile("cnn").model_bytes == 1_410_858 * 4


def test_vgg() -> None:
    for variant, name in LECTURES["vgg"]["configurations"].items():
        printed_millions = LECTURES["vgg"]["params_millions"][variant]
        assert round(profile(name).params / 1e6) == printed_millions


def test_resnet_multiply_adds_of_the_paper() -> None:
    """The paper cuts some of its figures (3.66 to 3.6, 3.86 to 3.8) and rounds others (7.57 to 7.6, 11.28 to 11.3)."""
    for depth, printed_flops in LECTURES["resnet"]["flops"].items():
        name = f"resnet{depth}" + ("_v1" if depth >= 50 else "")
        tenths = profile(name).products / 1e8
        assert round(float(printed_flops) / 1e8) in (math.floor(tenths), round(tenths)), name


def test_resnet152_of_the_lecture() -> None:
    found = profile("resnet152", size="2x224x224", settings=("classes=10",))
    assert found.params == LECTURES["resnet"]["lecture_params"]


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_two_3x3_against_one_5x5(channels: int) -> None:
    size = 20
    settings = (f"channels={channels}", f"size={size}")
    one, two = profile("conv5x5", settings=settings), profile("conv3x3_twice", settings=settings)
    area = size * size
    assert (one.params, two.params) == (25 * channels**2, 18 * channels**2)
    assert (one.products, two.products) == (25 * channels**2 * area, 18 * channels**2 * area)
    assert (one.output_bytes, two.output_bytes) == (4 * area * channels, 2 * 4 * area * channels)


def test_connectivity() -> None:
    facts = LECTURES["connectivity"]
    for name in ("fully_connected", "locally_connected", "convolutional"):
        assert profile(name).params == facts[name]["params"]
    assert profile("fully_connected").layers[-1].output_shape == (facts["fully_connected"]["hidden_units"],)
    assert profile("locally_connected").layers[-1].output_shape == (1, 1000, 1000)
