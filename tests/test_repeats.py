"""A pass that runs each kind of layer once says what one that runs them all says, and runs what may differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import pytest
import torch
from module_pieces import Case, Of, param
from module_table import CASES
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.utils import parametrizations, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import cnnprof
from cnnprof.profiling import profiler
from cnnprof.profiling.profiler import measure
from cnnprof.profiling.trace import Trace
from cnnprof.spec.library import entries


def found(net: nn.Module, inputs: Any) -> tuple[Any, ...]:
    """All that a pass tells, the peaks of the layers too, which do not count when profiles are compared."""
    measured = measure(net, inputs)
    return asdict(measured.profile), measured.inference


@contextmanager
def every_call_running(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(profiler, "Repeating", Trace)
        yield


def same(net: nn.Module, inputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = found(net, inputs)
    with every_call_running(monkeypatch):
        assert found(net, inputs) == repeated


def runs(net: nn.Module, inputs: Any, cls: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls of layers of a class run in a profile."""
    seen: list[nn.Module] = []
    forward: Any = cls.forward

    def counted(self: nn.Module, *args: Any) -> Any:
        seen.append(self)
        return forward(self, *args)

    counted.__module__ = forward.__module__  # or it would be a layer of the user's
    with monkeypatch.context() as patch:
        patch.setattr(cls, "forward", counted)
        cnnprof.profile(net, inputs)
    return len(seen)


@pytest.mark.parametrize("name", sorted(entries()))
def test_bundled_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same(cnnprof.load(name), tuple(map(int, entries()[name].input.split("x"))), monkeypatch)


class Thrice(nn.Module):
    """A module, one like it, and the first again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.one = module
        self.other = deepcopy(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.one(*args, **kwargs), self.other(*args, **kwargs), self.one(*args, **kwargs)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_modules(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        module = case.make()
    try:
        net = Thrice(module)
    except RuntimeError:  # "Only Tensors created explicitly by the user support the deepcopy protocol"
        net = Thrice(nn.Identity())
        net.one = net.other = module
    same(net, case.inputs, monkeypatch)


def channels_last(net: nn.Conv2d) -> nn.Conv2d:
    net.weight.data = net.weight.data.to(memory_format=torch.channels_last)
    return net


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (lambda: nn.Conv2d(8, 8, 3, padding=1), (8, 9, 9)),
    "one with a stride": (lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1), (8, 9, 9)),
    "one without bias": (lambda: nn.Conv2d(8, 8, 3, padding=1, bias=False), (8, 9, 9)),
    "one in groups": (lambda: nn.Conv2d(8, 8, 3, padding=1, groups=4), (8, 9, 9)),
    "one of a frozen weight": (lambda: nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False), (8, 9, 9)),
    "one whose channels are last": (lambda: channels_last(nn.Conv2d(8, 8, 3, padding=1)), (8, 9, 9)),
    "one that pads in a circle": (lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), (8, 9, 9)),
    "one in one dimension": (lambda: nn.Conv1d(8, 8, 3, padding=1), (8, 9)),
    "transposed convolution": (lambda: nn.ConvTranspose2d(8, 8, 3, padding=1), (8, 9, 9)),
    "batch norm": (lambda: nn.BatchNorm2d(8), (8, 9, 9)),
    "one without statistics": (lambda: nn.BatchNorm2d(8, track_running_stats=False), (8, 9, 9)),
    "one without weights": (lambda: nn.BatchNorm2d(8, affine=False), (8, 9, 9)),
    "group norm": (lambda: nn.GroupNorm(2, 8), (8, 9, 9)),
    "layer norm": (lambda: nn.LayerNorm(9), (8, 9, 9)),
    "relu": (nn.ReLU, (8, 9, 9)),
    "relu in place": (lambda: nn.ReLU(inplace=True), (8, 9, 9)),
    "gelu": (nn.GELU, (8, 9, 9)),
    "softmax": (lambda: nn.Softmax(dim=1), (8, 9, 9)),
    "dropout": (nn.Dropout, (8, 9, 9)),
    "identity": (nn.Identity, (8, 9, 9)),
    "flatten": (nn.Flatten, (8, 9, 9)),
    "max pool": (lambda: nn.MaxPool2d(3, 1, 1), (8, 9, 9)),
    "average pool": (lambda: nn.AvgPool2d(3, 1, 1), (8, 9, 9)),
    "adaptive pool": (lambda: nn.AdaptiveAvgPool2d([9, 9]), (8, 9, 9)),  # type: ignore[arg-type]  # a list, as some write
    "upsampling": (lambda: nn.Upsample(scale_factor=1.0), (8, 9, 9)),
    "linear": (lambda: nn.Linear(9, 9), (8, 9, 9)),
    "tall convolution": (lambda: nn.Conv2d(8, 8, (9, 1), padding=(4, 0)), (8, 9, 9)),
}


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_layers(make: Callable[[], nn.Module], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Like layers in a row, on inputs of other sizes, strides and dtypes, a view, and one that the input does not reach."""

    def run(self: Any, x: Tensor) -> list[Tensor]:
        y = self.several(x)
        given = x, x.mT.contiguous().mT, x.flip(0), x[..., ::2].repeat_interleave(2, -1)[..., :-1], torch.zeros_like(x), y
        return [self.several(z) for z in given if z.shape == x.shape]

    with torch.device("meta"):
        several = nn.Sequential(*(make() for _ in range(3)))
        net = Of(run, several=several)
    same(net, shape, monkeypatch)
    same(net.half(), shape, monkeypatch)


def all_kinds() -> nn.Sequential:
    """Four convolutions, which differ in what is named beside them alone."""
    with torch.device("meta"):
        return nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)))


def test_a_kind_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs(all_kinds(), (4, 8, 8), nn.Conv2d, monkeypatch) == 1
    net = cnnprof.load("resnet50")
    assert runs(net, (3, 224, 224), nn.Conv2d, monkeypatch) < 25
    assert runs(net, (3, 224, 224), nn.BatchNorm2d, monkeypatch) < 20


def set_stride(net: nn.Sequential) -> None:
    net[1].stride = (2, 2)  # type: ignore[assignment]


def set_weight(net: nn.Sequential) -> None:
    net[1].weight = param(4, 4, 5, 5)


def set_other_weights(net: nn.Sequential) -> None:
    for layer, size in zip(net, (1, 3, 5, 3), strict=True):
        assert isinstance(layer, nn.Conv2d)
        del layer.weight
        object.__setattr__(layer, "weight", torch.zeros(4, 4, size, size, device="meta"))  # no parameter any more


def set_forward(net: nn.Sequential) -> None:
    net[1].forward = F.relu


def set_part_of_forward(net: nn.Sequential) -> None:
    net[1]._conv_forward = lambda x, weight, bias: F.conv2d(x, weight, bias, stride=2)  # type: ignore[assignment]


def set_hook(net: nn.Sequential) -> None:
    net[1].register_forward_hook(lambda module, args, y: y @ torch.ones(8, 3))


def set_hook_before(net: nn.Sequential) -> None:
    net[1].register_forward_pre_hook(lambda module, args: args[0][..., ::2])


def set_pruned(net: nn.Sequential) -> None:
    prune.identity(net[1], "weight")


def set_parametrized(net: nn.Sequential) -> None:
    parametrizations.weight_norm(net[1])


def set_dtype(net: nn.Sequential) -> None:
    net[2:].half()
    net[1].register_forward_hook(lambda module, args, y: y.half())


@pytest.mark.parametrize(
    "change",
    [
        set_stride,
        set_weight,
        set_other_weights,
        set_forward,
        set_part_of_forward,
        set_hook,
        set_hook_before,
        set_pruned,
        set_parametrized,
        set_dtype,
    ],
)
def test_one_that_differs(change: Callable[[nn.Sequential], None], monkeypatch: pytest.MonkeyPatch) -> None:
    net = all_kinds()
    change(net)
    same(net, (4, 8, 8), monkeypatch)


def test_hooks_of_the_process_see_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: seen.append(module))
    try:
        net = all_kinds()
        cnnprof.profile(net, (4, 8, 8))
        assert seen == [*net, net]
    finally:
        handle.remove()


def test_a_call_of_somebody_else_sees_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        seen.append(module)
        return run(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", call)
    net = all_kinds()
    cnnprof.profile(net, (4, 8, 8))
    assert seen == [net, *net]
    assert nn.Module.__call__ is call


class SeenOperators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class SeenFunctions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [SeenOperators, SeenFunctions])
def test_modes_of_the_user_see_every_call(mode: Any) -> None:
    outside, inside = mode(), mode()

    def run(self: Any, x: Tensor) -> Tensor:
        with inside:
            return self.layers(x)  # type: ignore[no-any-return]

    with outside:
        cnnprof.profile(Of(run, layers=all_kinds()), (4, 8, 8))
    # An operator mode that was there before sees none of the pass: the trace answers them all.
    for one in (inside, outside) if mode is SeenFunctions else (inside,):
        assert len([name for name in one.seen if "conv2d" in name or "convolution" in name]) == 4


def test_gradients_in_a_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = self.layers(x.requires_grad_())
            (slope,) = torch.autograd.grad(y.sum(), x)
        return self.layers(x).detach() + slope  # type: ignore[no-any-return]

    same(Of(run, layers=all_kinds()), (4, 8, 8), monkeypatch)


def test_computed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the input by its weight has another receptive field."""

    def run(self: Any, x: Tensor) -> Any:
        fixed = self.layers(x)
        weight = self.embed(x.mean((0, 2, 3))).view(4, 4, 3, 3)
        return fixed, torch.func.functional_call(self.layers[1], {"weight": weight}, (x,))

    with torch.device("meta"):
        net = Of(run, layers=all_kinds(), embed=nn.Linear(4, 144))
    same(net, (4, 8, 8), monkeypatch)


def test_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Any:
        layer = self.layers[0]
        several = {name: tensor.expand(5, *tensor.shape) for name, tensor in layer.named_parameters()}
        by_weight = torch.vmap(lambda weights: torch.func.functional_call(layer, weights, (x,)))(several)
        return self.layers(x), by_weight, torch.vmap(self.layers[1])(x.expand(5, *x.shape))

    same(Of(run, layers=all_kinds()), (4, 8, 8), monkeypatch)


def test_changed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on memory that changes behind its back has no known receptive field."""

    def run(self: Any, x: Tensor) -> Any:
        y = self.layers(x)
        view = y[:, :2]
        view += self.layers(y)[:, 2:]
        return self.layers(y), self.layers(x)

    same(Of(run, layers=all_kinds()), (4, 8, 8), monkeypatch)


def test_a_profile_in_a_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[int] = []

    def run(self: Any, x: Tensor) -> Tensor:
        y = self.layers(x)
        inner.append(cnnprof.profile(self.other, (4, 8, 8)).products)
        return self.layers(y)  # type: ignore[no-any-return]

    same(Of(run, layers=all_kinds(), other=all_kinds()), (4, 8, 8), monkeypatch)
    assert inner == [4 * 4 * 64 * 4 * 9] * 2


def test_an_error_of_a_repeated_layer_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was caught in between leaves nothing behind."""

    def run(self: Any, x: Tensor) -> Tensor:
        y = self.layers(x)
        try:
            self.layers(x[:, :2])
        except RuntimeError:
            y = self.layers(y)
        return y  # type: ignore[no-any-return]

    same(Of(run, layers=all_kinds()), (4, 8, 8), monkeypatch)
    run_before = nn.Module.__call__
    with pytest.raises(cnnprof.CnnprofError, match=r"3"):
        cnnprof.profile(nn.Sequential(*all_kinds(), nn.Conv2d(3, 4, 1)), (4, 8, 8))
    assert nn.Module.__call__ is run_before
