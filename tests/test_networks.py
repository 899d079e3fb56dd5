"""Networks as people write them, against torch's counter and a run on numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from facts import LECTURES
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from written_networks import NETWORKS, LeNet

import cnnprof

BATCH = 2
TESTS = Path(__file__).parent


def given(name: str, device: str) -> dict[str, Tensor]:
    shapes = NETWORKS[name][1]
    return {key: torch.zeros((BATCH, *shape), dtype=dtype, device=device) for key, (shape, dtype) in shapes.items()}


def built(name: str, device: str) -> nn.Module:
    with torch.device(device):
        return NETWORKS[name][0]()


@pytest.mark.parametrize("name", NETWORKS)
def test_products_and_parameters_are_torchs(name: str) -> None:
    module = built(name, "meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(**given(name, "meta"))
    found = cnnprof.profile(module, given(name, "meta"))
    assert found.products > 0
    assert 2 * found.products == counter.get_total_flops()
    assert found.complete
    assert found.params == sum(parameter.numel() for parameter in set(module.parameters()))


@pytest.mark.parametrize("name", NETWORKS)
def test_one_on_the_cpu_has_the_same_rows(name: str) -> None:
    on_cpu = cnnprof.profile(built(name, "cpu").train(), given(name, "cpu"))
    on_meta = cnnprof.profile(built(name, "meta").eval(), given(name, "meta"))
    assert on_cpu.root == on_meta.root


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_add_up(name: str) -> None:
    found = cnnprof.profile(built(name, "meta"), given(name, "meta"))
    for figure in ("params", "trainable_params", "products", "output_bytes", "param_bytes", "buffer_bytes"):
        assert sum(getattr(layer.cost, figure) for layer in found.layers) == getattr(found.cost, figure)
    module = built(name, "cpu")
    assert found.model_bytes == sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors(module)}.values())


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@pytest.mark.parametrize("name", NETWORKS)
def test_output_shapes_are_those_of_a_run_on_numbers(name: str) -> None:
    module = built(name, "cpu").eval()
    with torch.no_grad():
        output = module(**given(name, "cpu"))
    found = cnnprof.profile(module, given(name, "cpu"))
    expected = [tuple(leaf.shape[1:]) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    assert list(found.root.output_shapes) == expected


def test_the_lectures_table_from_functions() -> None:
    """Ten rows in the lecture's order, each call as the lecture writes it but for `nn.` and spaces."""
    facts = LECTURES["lenet"]
    found = cnnprof.profile(LeNet(), (1, 28, 28))
    rows = [
        [f"{layer.kind}({layer.arguments})".replace(" ", ""), list(layer.output_shape), layer.params, layer.products]
        for layer in found.layers
    ]
    assert rows == [[call.removeprefix("nn.").replace(" ", ""), *figures] for call, *figures in facts["rows"]]
    assert (found.params, found.products) == (facts["params"], facts["products"])


def test_the_lectures_table_as_printed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cnnprof", "summarize", "written_networks:LeNet", "--input", LECTURES["lenet"]["input"]],
        cwd=TESTS,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = run.stdout.splitlines()
    places = []
    for call, shape, params, products in LECTURES["lenet"]["rows"]:
        name = re.escape(call.removeprefix("nn.")).replace(",", r",\ ?").replace(r"\ \ ?", r"\ ?")
        figures = rf"{'x'.join(map(str, shape))} .*\b{params:,} +{products:,}"
        (place,) = [i for i, line in enumerate(lines) if i not in places and re.search(f"{name} +{figures}", line)][:1]
        places.append(place)
    assert places == sorted(places)
