"""The figures of a pass on meta against those of the same pass on real tensors on the CPU, operator by operator, to the byte.

Every layer of the vocabulary with random arguments and sizes, and networks; where the two are known to differ, that the result
says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest
import torch
from agreement import share
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from memory_networks import VGG, ResNet
from torch import Tensor, nn
from written_networks import NETWORKS

import cnnprof
from cnnprof.nets.trials import SIZE, example, run, values_of
from cnnprof.profiling import measured
from cnnprof.profiling.deviations import ATTENTION, RECURRENT, STATISTICS
from cnnprof.profiling.loop import TrainingError
from cnnprof.profiling.memory import Peak, Training
from cnnprof.profiling.training import train
from cnnprof.spec.vocabulary import LayerType, vocabulary

LAYERS = vocabulary()

FIRST: dict[int, Callable[[int], nn.Module]] = {
    1: lambda channels: nn.Linear(channels, channels),
    2: lambda channels: nn.Conv1d(channels, channels, 1),
    3: lambda channels: nn.Conv2d(channels, channels, 1),
    4: lambda channels: nn.Conv3d(channels, channels, 1),
}
"""By the number of axes of the input: something before a layer that can be trained, so that the layer has a backward pass."""


def class_of(layer: LayerType) -> type[nn.Module]:
    found: type[nn.Module] = getattr(import_module(layer.module), layer.name)
    return found


def runs(cls: type[nn.Module], arguments: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Whether it makes something of two samples. What makes tensors without an element is refused on meta."""
    output = run(cls, arguments, torch.zeros(2, *shape))
    return output is not None and output.numel() > 0


@st.composite
def layers(draw: st.DrawFn, name: str) -> tuple[nn.Module, tuple[int, ...], int]:
    """A network with that layer, the shape of its input, and a batch size."""
    layer = LAYERS[name]
    cls = class_of(layer)
    rank = draw(st.sampled_from(layer.ranks or (1, 2, 3, 4)))
    base = example(cls, layer.parameters, layer.told, rank)
    assume(base is not None)
    assert base is not None
    shape = (draw(st.sampled_from([SIZE, SIZE, 2 * SIZE])), *(draw(st.integers(SIZE, 7)) for _ in range(rank - 1)))
    arguments = told(layer, base, shape)
    if not runs(cls, arguments, shape):
        shape, arguments = (SIZE,) * rank, base
    for parameter in layer.parameters:
        if draw(st.integers(0, 2)) == 0:
            other = {**arguments, parameter.name: draw(st.sampled_from(list(values_of(parameter))))}
            if runs(cls, other, shape):
                arguments = other
    made = [FIRST[rank](shape[0]), cls(**arguments)]
    if draw(st.booleans()):
        made += [nn.Flatten(), nn.LazyLinear(3)]
    net = nn.Sequential(*made)
    try:
        net.eval()(torch.zeros(2, *shape))  # makes the weights of the last one, which keeps the layer's output
    except (RuntimeError, ValueError):
        assume(False)
    return net, shape, draw(st.integers(1, 3))


def told(layer: LayerType, arguments: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """The arguments, with those that the input tells."""
    known: dict[str, Any] = {"channels": shape[0], "size": shape[1:]}
    return arguments | {name: known[what] for name, what in layer.told.items()}


def outcome(net: nn.Module, inputs: Any, batch: int, optimizer: str, device: str) -> Training | None:
    """The figures; None where it cannot be trained."""
    torch.manual_seed(1)
    try:
        return train(net, inputs, batch=batch, optimizer=optimizer, device=device).training
    except TrainingError:
        return None


def differences(meta: Training | None, cpu: Training | None) -> dict[str, tuple[object, object]]:
    """The figures that differ. The whole is compared: also the module and the operator at the peak, and its place in the trace."""
    if meta is None or cpu is None:
        return {} if meta is cpu else {"trained": (meta is not None, cpu is not None)}
    return {
        field.name: (getattr(meta, field.name), getattr(cpu, field.name))
        for field in fields(Training)
        if getattr(meta, field.name) != getattr(cpu, field.name)
    }


def resized(net: nn.Module, shape: tuple[int, ...], batch: int) -> bool:
    """Whether the second layer of a network, which makes fewer numbers than it gets, runs in torch's own kernel for that."""
    layer = net.get_submodule("1")
    assert isinstance(layer, nn.ConvTranspose3d)
    x = net.get_submodule("0")(torch.zeros(batch, *shape))
    window = layer.stride, layer.padding, layer.dilation, True, layer.output_padding, layer.groups
    kernels = []
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            kernels.append(torch._C._select_conv_backend(x, layer.weight, layer.bias, *window))
    own: Any = torch._C
    # For groups it runs once for each, and what it returned is put together.
    return own._ConvBackend.SlowTranspose3d in kernels and layer.groups == 1 and layer(x).numel() < x.numel()


EXCEPTIONS: dict[str, tuple[Callable[[nn.Module, tuple[int, ...], int], bool], str]] = {
    "ConvTranspose3d": (
        resized,
        "torch's own kernel for the CPU, which runs for one sample, makes its output as large as the input and keeps that room",
    ),
}
"""Layers whose figures differ: when, and the reason. Neither recurrent layers nor attention are in the vocabulary."""


def inferred(net: nn.Module, shape: tuple[int, ...], batch: int) -> tuple[object, object]:
    """The inference peaks without and with data; None where it cannot run, as BatchNorm without statistics on one sample."""
    try:
        found: object = cnnprof.profile(net, shape, batch=batch).inference_peak
    except cnnprof.ProfileError:
        found = None
    try:
        real: object = measured.inference_peak(net, shape, batch=batch)
    except (RuntimeError, ValueError):
        real = None
    return found, real


def valid(net: nn.Module) -> bool:
    """Whether it has a convolution of the kind that `test_no_padding_by_name` is about."""
    return any(isinstance(part, nn.Conv2d | nn.Conv3d) and part.padding == "valid" for part in net.modules())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers(name: str) -> None:
    trained = 0
    differs = EXCEPTIONS[name][0] if name in EXCEPTIONS else lambda *made: False

    @settings(share(400), suppress_health_check=list(HealthCheck))
    @given(layers(name), st.sampled_from(["sgd", "adam"]))
    def check(made: tuple[nn.Module, tuple[int, ...], int], optimizer: str) -> None:
        nonlocal trained
        net, shape, batch = made
        meta, cpu = (outcome(net, shape, batch, optimizer, device) for device in ("meta", "cpu"))
        if differs(*made):
            return
        assert not differences(meta, cpu)
        assert meta is None or not meta.deviations
        trained += meta is not None
        if not valid(net):
            found, real = inferred(net, shape, batch)
            assert found == real

    check()
    assert trained >= 3, "nearly all examples can be trained"


@pytest.mark.parametrize("conv", [nn.Conv2d, nn.Conv3d])
def test_no_padding_by_name(conv: type[nn.Conv2d | nn.Conv3d]) -> None:
    shape = (4, 5, 5, 5)[: 3 + (conv is nn.Conv3d)]
    named, plain = (cnnprof.profile(conv(4, 2, 3, padding=padding), shape) for padding in ("valid", 0))
    assert named.inference_peak == plain.inference_peak


def test_exceptions_are_real() -> None:
    assert not [name for name in LAYERS if issubclass(class_of(LAYERS[name]), nn.RNNBase | nn.MultiheadAttention)]
    net = nn.Sequential(nn.Conv3d(4, 4, 1), nn.ConvTranspose3d(4, 2, 2))
    assert resized(net, (4, 4, 4, 4), 1)
    found, real = inferred(net, (4, 4, 4, 4), 1)
    assert isinstance(found, Peak)
    assert isinstance(real, Peak)
    # 2 maps of 5x5x5 in the room of 4 of 4x4x4.
    assert real.bytes - found.bytes == 4 * (4 * 4**3 - 2 * 5**3)


BUNDLED: dict[str, tuple[int, ...]] = {
    "lenet": (1, 28, 28),
    "lenet5": (1, 32, 32),
    "cnn": (3, 48, 48),
    "resnet18": (3, 33, 40),
    "resnet50": (3, 32, 32),
    "googlenet_bn": (3, 32, 32),
    "efficientnet_b0": (3, 32, 32),
    "conv5x5": (64, 9, 9),
    "conv3x3_twice": (64, 9, 9),
    "convolutional": (1, 120, 120),
    "locally_connected": (1, 40, 40),
}
SMALL_VGG = (8, 0, 16, 16, 0)


class Fcn(nn.Module):
    """Convolutions alone, in torchvision's style: its output is a map, and the loss the mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.heads = nn.ModuleDict({"out": nn.Conv2d(8, 4, 1), "aux": nn.Conv2d(8, 4, 1)})

    def forward(self, x: Tensor) -> dict[str, Any]:
        size = x.shape[-2:]
        x = self.stem(x)
        return {name: nn.functional.interpolate(head(x), size=size, mode="bilinear") for name, head in self.heads.items()}


def inputs_of(shapes: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    return {name: torch.zeros((2, *shape), dtype=dtype) for name, (shape, dtype) in shapes.items()}


def bundled(name: str, shape: tuple[int, ...]) -> Callable[[], nn.Module]:
    return lambda: cnnprof.load(name, input_shape=shape, device="cpu")


KNOWN: dict[str, str] = {
    "vision transformer": ATTENTION,
    "gpt": ATTENTION,
    "gpt with a loss": ATTENTION,
    "text classifier": RECURRENT,
}
"""The written networks that take other kernels on the CPU."""
CANNOT_BE_TRAINED = {"mixer": "modified by an inplace operation"}
"""And those that torch refuses to train on the CPU too, with its words for it."""

NETS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    **{name: (bundled(name, shape), shape) for name, shape in BUNDLED.items()},
    "torchvision's vgg": (lambda: nn.Sequential(VGG(SMALL_VGG, 10).features, nn.Flatten(), nn.LazyLinear(10)), (3, 32, 32)),
    "torchvision's resnet": (lambda: ResNet((1, 1, 1, 1), 10), (3, 32, 32)),
    "two heads": (Fcn, (3, 17, 20)),
    **{
        name: (make, inputs_of(shapes))
        for name, (make, shapes) in NETWORKS.items()
        if name not in KNOWN and name not in CANNOT_BE_TRAINED
    },
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", NETS)
def test_networks(name: str) -> None:
    make, inputs = NETS[name]
    net = make()
    if name == "torchvision's vgg":
        net(torch.zeros(1, *inputs))
    for optimizer in ("sgd", "adam"):
        meta, cpu = (outcome(net, inputs, 2, optimizer, device) for device in ("meta", "cpu"))
        assert meta is not None
        assert not differences(meta, cpu)
        assert not meta.deviations
    found = cnnprof.profile(net, inputs, batch=2).inference_peak
    assert found == measured.inference_peak(net, inputs, batch=2)


def test_there_are_enough_networks() -> None:
    assert len(NETS) >= 20
    assert KNOWN.keys() | CANNOT_BE_TRAINED.keys() <= NETWORKS.keys()


@pytest.mark.parametrize("name", KNOWN)
def test_what_takes_other_kernels_on_the_cpu_says_so(name: str) -> None:
    make, shapes = NETWORKS[name]
    net, inputs = make(), inputs_of(shapes)
    meta, cpu = (outcome(net, inputs, 2, "sgd", device) for device in ("meta", "cpu"))
    assert meta is not None
    assert cpu is not None
    assert meta.deviations == (KNOWN[name],)
    assert meta.saved_bytes != cpu.saved_bytes, "or there would be no reason to say it"


@pytest.mark.parametrize("name", CANNOT_BE_TRAINED)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_the_cpu_refuses_to_train(name: str, device: str) -> None:
    make, shapes = NETWORKS[name]
    with pytest.raises(TrainingError, match=CANNOT_BE_TRAINED[name]):
        train(make(), inputs_of(shapes), device=device)


class Sequence(nn.Module):
    """The output of a recurrent layer or of attention, without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return (self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x))[0]


DEVIATING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "LSTM": (lambda: nn.LSTM(8, 6, batch_first=True), RECURRENT),
    "GRU": (lambda: nn.GRU(8, 6, 2, batch_first=True), RECURRENT),
    "RNN": (lambda: nn.RNN(8, 6, batch_first=True, bidirectional=True), RECURRENT),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), ATTENTION),
}


@pytest.mark.parametrize("name", DEVIATING)
def test_deviations_are_named(name: str) -> None:
    make, reason = DEVIATING[name]
    found = outcome(Sequence(make()), (5, 8), 2, "sgd", "meta")
    assert found is not None
    assert found.deviations == (reason,)


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_are_no_exception(cell: Callable[[int, int], nn.Module]) -> None:
    net = cell(8, 6)
    if isinstance(net, nn.LSTMCell):
        net = Sequence(net)
    meta, cpu = (outcome(net, (8,), 2, "sgd", device) for device in ("meta", "cpu"))
    assert meta is not None
    assert not differences(meta, cpu)
    assert not meta.deviations


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 5 * 5, 4)).to(dtype)
    meta, cpu = (outcome(net, (3, 12, 12), 2, "adam", device) for device in ("meta", "cpu"))
    assert meta is not None
    assert not differences(meta, cpu)
    assert not meta.deviations


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_in_half_precision_are_named(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).to(dtype)
    found = outcome(net, (3, 12, 12), 2, "sgd", "meta")
    assert found is not None
    assert found.deviations == (STATISTICS,)
