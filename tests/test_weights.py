"""Weights fit: what torchvision saves for a network can be loaded into ours, and ours trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import cnnprof
from cnnprof.spec import library

LINES = (Path(__file__).parent / "facts" / "torchvision_shapes.txt").read_text().splitlines()[1:]
FITS = 4 * 2**30
"""Bytes that a training step may take here: parameters, their copies and gradients."""


@pytest.mark.parametrize("line", LINES, ids=[line.split()[0] for line in LINES])
def test_the_state_has_torchvisions_shapes_in_its_order(line: str) -> None:
    name, *runs = line.split()
    expected: list[tuple[int, ...]] = []
    for run in runs:
        shape, _, times = run.partition("*")
        expected += [() if shape == "-" else tuple(map(int, shape.split("x")))] * int(times or 1)
    assert [tuple(tensor.shape) for tensor in cnnprof.load(name).state_dict().values()] == expected


TRAINED = [entry for entry in library.entries().values() if 12 * entry.params < FITS]


def test_all_but_the_largest_are_trained() -> None:
    assert set(library.entries()) - {entry.name for entry in TRAINED} == {"mlp", "fully_connected"}


@pytest.mark.parametrize("entry", TRAINED, ids=[entry.name for entry in TRAINED])
def test_a_step_changes_every_parameter(entry: library.Entry) -> None:
    torch.manual_seed(0)
    net = cnnprof.load(entry.name, device="cpu")
    adapts = entry.path.stem in ("resnet", "efficientnet", "vgg", "googlenet")
    shape = (3, 32, 32) if adapts else tuple(map(int, entry.input.split("x")))  # an adaptive pool takes any size
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=1e3)  # so that float32 shows the smallest gradient
    net(torch.randn(2 if adapts else 1, *shape)).square().mean().backward()
    optimizer.step()
    unchanged = [i for i, (p, old) in enumerate(zip(net.parameters(), before, strict=True)) if torch.equal(p, old)]
    assert unchanged == []
