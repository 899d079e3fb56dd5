"""Measured facts of AlexNet, VGG-16 and ResNet-50 as torchvision writes them, to the byte: torch 2.13, batches of 8 images of
3x224x224, SGD with momentum. The numbers were measured with a mode of their own around real loops, not with this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from memory_networks import VGG, AlexNet, ResNet
from torch import nn

import cnnprof
from cnnprof.profiling import measured
from cnnprof.profiling.memory import Training
from cnnprof.profiling.profile import Layer, leaves
from cnnprof.profiling.training import TrainingRun, retained_by_layer, train

BATCH = 8
IMAGE = (3, 224, 224)
MAKERS: dict[str, Callable[[], nn.Module]] = {"AlexNet": AlexNet, "VGG-16": VGG, "ResNet-50": ResNet}


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return MAKERS[name]()


@cache
def run_of(name: str, keep_output: bool = True) -> TrainingRun:
    return train(on_meta(name), IMAGE, batch=BATCH, optimizer="momentum", keep_output=keep_output)


def of(name: str, keep_output: bool = True) -> Training:
    return run_of(name, keep_output).training


FACTS: dict[str, tuple[bool, Callable[[Training], int], tuple[int, int, int]]] = {
    "params + buffers + inputs": (
        True,
        lambda t: t.live_after_forward.parameters + t.live_after_forward.buffers + t.live_after_forward.input,
        (249_220_320, 558_247_136, 107_257_992),
    ),
    "saved": (True, lambda t: t.saved_bytes, (25_144_580, 582_057_220, 682_703_620)),
    "live after forward": (True, lambda t: t.live_after_forward.total, (274_396_904, 1_140_336_360, 789_993_616)),
    "forward + backward peak, first iteration": (
        False,
        lambda t: t.first_backward_peak_bytes,
        (516_412_040, 1_665_586_312, 840_166_960),
    ),
    "peak of the first iteration, optimizer step included": (
        False,
        lambda t: t.first_peak_bytes,
        (738_027_040, 1_665_586_312, 840_166_960),
    ),
    "peak in steady state": (True, lambda t: t.peak_bytes, (760_847_400, 2_219_048_488, 942_427_088)),
}
"""Whether the loop had variables for output and loss, the figure, and what was measured for each network."""


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("name", MAKERS)
def test_training(name: str, fact: str) -> None:
    keep_output, figure, measured_bytes = FACTS[fact]
    assert figure(of(name, keep_output)) == measured_bytes[list(MAKERS).index(name)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_variable_for_the_output_costs_the_output(name: str) -> None:
    """8 · 1000 float32 more live until the next one takes its place."""
    for figure in ("live after forward", "forward + backward peak, first iteration", "peak in steady state"):
        assert FACTS[figure][1](of(name)) - FACTS[figure][1](of(name, False)) == BATCH * 1000 * 4


ALLOCATED = {"AlexNet": 761_426_472, "VGG-16": 2_241_332_776, "ResNet-50": 948_849_616}
"""What torch's allocator for the CPU really handed out at its peak, by `torch.profiler`, in the steady state."""


@pytest.mark.parametrize("name", MAKERS)
def test_the_allocator_of_the_cpu(name: str) -> None:
    workspace = ALLOCATED[name] - of(name).peak_bytes
    assert 0 < workspace <= 0.010 * ALLOCATED[name], "the rest is workspace inside kernels"


def rows(root: Layer) -> Iterator[tuple[str, int]]:
    return ((row.path, row.cost.retained_bytes) for row in leaves(root))


def test_rows_of_alexnet() -> None:
    kept = dict(rows(run_of("AlexNet").root))
    assert kept == dict(rows(retained_by_layer(on_meta("AlexNet"), IMAGE, batch=BATCH)))
    assert kept["features.0"] == 6_195_200 == BATCH * 64 * 55 * 55 * 4, "a convolution retains its output"
    assert kept["features.1"] == 0, "an in-place ReLU works in it"
    assert kept["features.2"] == 1_492_992 + 2_985_984, "a max-pool retains its output, and indices of twice the size"
    for path, width in {"classifier.0": 9216, "classifier.3": 4096}.items():
        # It works on a tensor of its own, and multiplies by a mask of as many floats, which the backward pass needs.
        assert kept[path] == 2 * BATCH * width * 4, "a dropout retains its float mask beside its output"
    assert sum(kept.values()) == of("AlexNet").live_after_forward.activations - of("AlexNet").loss_bytes


def test_vgg_16_keeps_two_maps_at_once() -> None:
    found = cnnprof.profile(on_meta("VGG-16"), IMAGE).inference_peak
    assert found is not None
    assert found.bytes - 3 * 224 * 224 * 4 == 2 * 64 * 224 * 224 * 4 == 24.5 * 2**20


def test_resnet_50_at_inference() -> None:
    """9.95 MiB without the input: the output of the max-pool and three maps of 256x56x56 in the first block.

    9.96 MiB, 2 · 256 · 4 bytes more, is what one gets with torch's own meta kernel of BatchNorm, which makes room for statistics
    in `eval()` mode too. The kernel of the CPU does not: it is run here. `test_memory_truth` shows both.
    """
    found = cnnprof.profile(on_meta("ResNet-50"), IMAGE).inference_peak
    assert found is not None
    assert found.bytes - 3 * 224 * 224 * 4 == 10_436_608 == (64 + 3 * 256) * 56 * 56 * 4
    assert found == measured.inference_peak(ResNet(), IMAGE)
    assert f"{10_436_608 / 2**20:.2f} {(10_436_608 + 2 * 256 * 4) / 2**20:.2f}" == "9.95 9.96"


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("name", MAKERS)
def test_what_an_optimizer_keeps(name: str, optimizer: str) -> None:
    """Momentum one number for each parameter, Adam two and a count of its steps; plain SGD nothing."""
    net = on_meta(name)
    sizes = [parameter.nbytes for parameter in net.parameters()]
    state = {"sgd": 0, "momentum": sum(sizes), "adam": 2 * sum(sizes) + 4 * len(sizes)}
    found = train(net, IMAGE, batch=BATCH, optimizer=optimizer).training
    assert found.at_peak.optimizer_state == state["adam" if optimizer == "adamw" else optimizer]
    assert found.at_peak.parameters == sum(sizes)
