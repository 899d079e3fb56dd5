"""What runs one operator is noted directly, and nobody can tell: the whole profile and the whole history are those of torch's way.

The way is the second opinion: each test runs it too. Where anybody could have put something in between, torch's is the only one.
"""

from __future__ import annotations

import gc
import operator
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from agreement import each, laid_out, small
from bundled import built
from hypothesis import given
from hypothesis import strategies as st
from module_pieces import Case, Of
from module_table import CASES
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrizations, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import cnnprof
from cnnprof.profiling import profiler
from cnnprof.profiling.conventions import CONVENTIONS
from cnnprof.profiling.direct import FUNCTIONS, LAYERS, direct
from cnnprof.profiling.trace import Trace
from cnnprof.profiling.traced_operators import OPERATORS
from cnnprof.spec import library

SIZE = (4, 8, 8)


LAYER = ("layer", "idle")
FUNCTION = ("binary",)


def noted(module: nn.Module, inputs: Any, directly: bool = True, by: tuple[str, ...] = LAYER) -> tuple[Any, int]:
    """All that a profile says, or the error, and how many calls were noted directly, by those methods of a trace."""
    count = 0

    def counted(noted: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any) -> Any:
            nonlocal count
            count += 1
            return noted(*args)

        return note

    with pytest.MonkeyPatch.context() as patch:
        for name in by:
            patch.setattr(Trace, name, counted(getattr(Trace, name)))
        if not directly:
            patch.setattr(profiler, "direct", lambda trace: nullcontext())
        try:
            measured = profiler.measure(module, inputs)
        except cnnprof.CnnprofError as error:
            return str(error), count
        history = measured.inference
        return (measured.profile, measured.profile.to_json(), history.allocations, history.events, history.phases), count


def same(module: nn.Module, inputs: Any, by: tuple[str, ...] = LAYER) -> int:
    """How many calls were noted directly, where that makes no difference."""
    directly, count = noted(module, inputs, by=by)
    torchs, none = noted(module, inputs, directly=False, by=by)
    assert none == 0
    assert directly == torchs
    return count


@pytest.mark.parametrize("name", sorted(library.entries()))
def test_bundled_networks(name: str) -> None:
    network = built(name)
    few = sum(type(module) in LAYERS for module in network.module.modules())
    assert same(network.module, network.input_shape) >= few


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_modules(case: Case) -> None:
    same(case.make(), case.inputs)


class Watch(TorchDispatchMode):
    """The operators that run, with their arguments."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.seen: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.empty.memory_format:  # which torch.batch_norm makes for cuDNN
            assert not kwargs
            self.seen.append((func, [tuple(x) if isinstance(x, list) else x for x in args]))
        return func(*args, **(kwargs or {}))


KINDS: list[tuple[Callable[..., nn.Module], int]] = [
    (lambda **o: nn.Conv1d(4, 6, 3, **o), 1),
    (lambda **o: nn.Conv2d(4, 6, (3, 1), **o), 2),
    (lambda **o: nn.Conv3d(4, 6, 2, **o), 3),
]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.Hardswish, nn.Hardsigmoid)


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """One of the layers, and an input, which it may refuse."""
    kind = draw(st.sampled_from(["convolution", "batch norm", "activation"]))
    shape = [draw(small), draw(st.sampled_from([4, 4, 4, 3])), *draw(each(draw(st.integers(0, 3)), 1, 4, 7))]
    x = draw(laid_out(shape, draw(st.sampled_from([torch.float32, torch.float32, torch.float64, torch.int64]))))
    with torch.device("meta"):
        if kind == "convolution":
            make, rank = draw(st.sampled_from(KINDS))
            options: dict[str, Any] = {name: tuple(draw(each(rank, 1, 2, 3))) for name in ("stride", "dilation")}
            padding = st.one_of(st.sampled_from(["same", "valid"]), each(rank, 0, 0, 1, 2).map(tuple))
            mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "circular"]))
            options |= {
                "padding": draw(padding),
                "padding_mode": mode,
                "groups": draw(st.sampled_from([1, 1, 2])),
                "bias": draw(st.booleans()),
            }
            if options["padding"] == "same":
                options["stride"] = 1
            return make(**options), x
        if kind == "batch norm":
            norm = draw(st.sampled_from([nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]))
            momentum, eps = draw(st.sampled_from([0.1, None])), draw(st.sampled_from([1e-5, -1.0]))
            return norm(4, eps, momentum, affine=draw(st.booleans()), track_running_stats=draw(st.booleans())), x
        activation = draw(st.sampled_from([*ACTIVATIONS, nn.Sigmoid, nn.Tanh, nn.Identity]))
        return (activation(inplace=draw(st.booleans())) if activation in ACTIVATIONS else activation()), x


@given(layers())
def test_the_operator_is_the_one_that_torch_runs(drawn: tuple[nn.Module, Tensor]) -> None:
    layer, x = drawn
    layer.eval()
    called = LAYERS[type(layer)][0](vars(layer), x)
    if called is None:
        return
    with torch.no_grad(), Watch() as watch:
        try:
            layer(x)
        except (RuntimeError, ValueError):
            return  # what it refuses is for its rule to refuse
    if called[0] is None:
        assert not watch.seen
        return
    ((func, args),) = watch.seen
    assert OPERATORS[func]._replace(make=called[0].make) == called[0]
    assert len(args) == len(called[1])
    assert all(one is other or one == other for one, other in zip(args, called[1], strict=True) if not isinstance(one, Tensor))
    assert all(one is other for one, other in zip(args, called[1], strict=True) if isinstance(one, Tensor))


@given(layers())
def test_a_layer(drawn: tuple[nn.Module, Tensor]) -> None:
    layer, x = drawn
    # What is in place changes a tensor of the network's own: autograd would not let it change what was given.
    same(Of(lambda m, x: m.layer(x * 1), layer=layer), x)


def test_each_of_them_is_noted_directly() -> None:
    inputs = {nn.Conv1d: (4, 8), nn.BatchNorm1d: (4, 8), nn.Conv3d: (4, 8, 8, 8), nn.BatchNorm3d: (4, 8, 8, 8)}
    for kind in LAYERS:
        given = {"Conv": (4, 6, 3), "Batc": (4,)}.get(kind.__name__[:4], ())
        assert same(kind(*given), inputs.get(kind, SIZE)) == 1, kind


@st.composite
def operands(draw: st.DrawFn) -> tuple[Any, Tensor, Tensor]:
    """One of the functions, and its two tensors, which it may refuse."""
    func = draw(st.sampled_from(list(FUNCTIONS)))
    shape = [draw(small), *draw(each(draw(st.integers(0, 3)), 1, 4, 7))]
    other = draw(st.sampled_from([shape, shape, shape[1:], [1, *shape[1:]], [*shape[:-1], 1], [], [2, *shape]]))
    types = st.sampled_from([torch.float32, torch.float32, torch.float32, torch.float64, torch.int64, torch.bool])
    return func, draw(laid_out(shape, draw(types))), draw(laid_out(other, draw(types)))


@given(operands())
def test_the_operator_is_the_one_that_a_function_runs(drawn: tuple[Any, Tensor, Tensor]) -> None:
    func, x, y = drawn
    with torch.no_grad(), Watch() as watch:
        try:
            func(x, y)
        except (RuntimeError, ValueError):
            return
    ((ran, args),) = watch.seen
    assert FUNCTIONS[func][1] == OPERATORS[ran]
    assert len(args) == 2
    assert args[0] is x
    assert args[1] is y


@given(operands())
def test_a_function(drawn: tuple[Any, Tensor, Tensor]) -> None:
    func, x, y = drawn
    same(Of(lambda m, x, y: func(x, y)), (x, y))
    same(Of(lambda m, x, y: func(x.clone(), y)), (x, y))
    same(Of(lambda m, x, y: func(y.clone(), m.layer(x)), layer=nn.Hardtanh()), (x, y))


@pytest.mark.parametrize(
    ("write", "sign"),
    [
        (lambda x, y: x + y, "+"),
        (lambda x, y: x - y, "-"),
        (lambda x, y: x * y, "*"),
        (lambda x, y: x / y, "/"),
        (operator.iadd, "+="),
        (operator.isub, "-="),
        (operator.imul, "*="),
        (operator.itruediv, "/="),
    ],
)
def test_each_of_the_functions_is_noted_directly(write: Callable[..., Any], sign: str) -> None:
    module = net(lambda m, x: write(m.relu(x), m.conv(x)))
    assert same(module, SIZE, by=FUNCTION) == 1
    assert sign in {layer.kind for layer in cnnprof.profile(module, SIZE).layers}


def test_torch_is_as_it_was() -> None:
    before = nn.Module._call_impl
    cnnprof.profile(nn.Conv2d(4, 6, 3), SIZE)
    assert nn.Module._call_impl is before

    def broken(m: Any, x: Tensor) -> Tensor:
        assert nn.Module._call_impl is not before
        raise ValueError("no")

    with pytest.raises(cnnprof.CnnprofError):
        cnnprof.profile(Of(broken), SIZE)
    assert nn.Module._call_impl is before


# who stands in between


def net(run: Callable[..., Any] = lambda m, x: m.relu(m.norm(m.conv(x)))) -> Any:
    with torch.device("meta"):
        return Of(run, conv=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm2d(4), relu=nn.ReLU())


def hooked(register: str) -> Any:
    made = net()
    for layer in (made.conv, made.norm, made.relu):
        getattr(layer, register)(lambda module, x, *output: (output[0] if output else x[0]) * 2)
    return made


def test_hooks_of_a_layer() -> None:
    assert same(hooked("register_forward_hook"), SIZE) == 0
    assert same(hooked("register_forward_pre_hook"), SIZE) == 0
    backward = net()
    backward.conv.register_full_backward_hook(lambda *_: None)
    backward.norm.register_full_backward_pre_hook(lambda *_: None)
    assert same(backward, SIZE) == 1


def test_hooks_that_come_in_the_pass() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.conv(x)
        m.conv.register_forward_hook(lambda module, x, output: output * 2)
        return y + m.conv(x)

    assert same(net(forward), SIZE) == 1


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_hooks_of_all_modules(register: Any) -> None:
    handle = register(lambda module, x, *output: None)
    try:
        assert same(net(), SIZE) == 0
    finally:
        handle.remove()


def test_methods_of_one_layer() -> None:
    made = net()
    made.relu.forward = lambda x: x * 3
    assert same(made, SIZE) == 2
    # as people make the borders of an image meet
    made.conv._conv_forward = lambda x, w, b: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), w, b)
    assert same(made, SIZE) == 1
    made.norm._check_input_dim = lambda x: None
    assert same(made, SIZE) == 0


def test_a_layer_with_a_layer_of_its_own() -> None:
    made = net()
    made.conv.aux = nn.Linear(2, 3)
    assert same(made, SIZE) == 2


def test_a_wrapper_without_attributes() -> None:
    class Wrapper(nn.Module):
        def __init__(self, wrapped: nn.Module) -> None:
            object.__setattr__(self, "wrapped", wrapped)

        def __getattr__(self, name: str) -> Any:
            return getattr(object.__getattribute__(self, "wrapped"), name)

        def forward(self, x: Tensor) -> Any:
            return self.wrapped(x) * 2

    same(Wrapper(net().conv), SIZE)
    cnnprof.profile(Wrapper(net().conv), SIZE)


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ("conv", "groups", True),
        ("conv", "groups", 1.0),
        ("conv", "groups", torch.tensor(1)),
        ("conv", "stride", (True, True)),
        ("conv", "stride", np.array([2, 2])),
        ("conv", "stride", torch.tensor([2, 2])),
        ("conv", "stride", [2, 2]),
        ("conv", "stride", 2),
        ("conv", "padding", (np.uint8(200), np.uint8(200))),
        ("conv", "padding", 1),
        ("conv", "dilation", None),
        ("norm", "eps", None),
        ("norm", "eps", torch.tensor(1.0)),
        ("norm", "momentum", "0.1"),
        ("norm", "momentum", torch.tensor(1.0)),
        ("relu", "inplace", 1),
        ("conv", "weight", None),
        ("norm", "running_mean", None),
    ],
)
def test_attributes_of_another_type(member: str, name: str, value: Any) -> None:
    made = net()
    setattr(getattr(made, member), name, value)
    same(made, SIZE)


def test_arguments_by_name() -> None:
    inner = Of(lambda m, x, module, self=None, trace=None: x * module)
    assert same(Of(lambda m, x: m.inner(x, module=3, trace=1), inner=inner), SIZE) == 0


def test_what_is_in_place_counts_as_a_change() -> None:
    versions: list[int] = []

    def forward(m: Any, x: Tensor) -> Any:
        y = x * 1
        m.relu(y)
        versions.append(y._version)
        return y

    assert same(Of(forward, relu=nn.ReLU(inplace=True)), SIZE) == 1
    assert versions == [1, 1]

    def add(m: Any, x: Tensor) -> Any:
        y = m.relu(x)
        z = y
        z += x
        versions.append(y._version)
        return y

    assert same(Of(add, relu=nn.ReLU()), SIZE, by=FUNCTION) == 1
    assert versions == [1, 1, 1, 1]


def test_a_layer_that_was_derived() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    made = net()
    made.conv = Scaled(4, 4, 3, padding=1)
    assert same(made, SIZE) == 2


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weights_of_another_kind() -> None:
    class Weight(Tensor):
        """Whose class could compute in its own way."""

    made = net()
    made.conv.weight = nn.Parameter(torch.zeros(4, 4, 3, 3, device="meta").as_subclass(Weight))
    assert same(made, SIZE) == 0  # what it makes is of that class too
    made = net()
    del made.conv.weight
    made.conv.weight = torch.zeros(5, 4, 1, 1, device="meta")
    made.conv.bias = None
    assert same(made, SIZE) == 0  # for the other two do not know what to do with 5 channels
    for change in (parametrizations.weight_norm, nn.utils.weight_norm, lambda layer: prune.l1_unstructured(layer, "weight", 0.5)):
        made = net()
        made.conv = nn.Conv2d(4, 4, 3, padding=1)
        change(made.conv)
        assert same(made, SIZE) == 2


def around(torchs: Any) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        return torchs(*args, **kwargs)

    return function


def in_disguise(torchs: Any) -> Any:
    return wraps(torchs)(around(torchs))


def another(torchs: Any) -> Any:
    """Another function of torch's."""
    return F.silu if torchs is F.relu else nn.Softplus.forward if torchs is nn.ReLU.forward else torch.tanh


@pytest.mark.parametrize("wrapped", [around, in_disguise, another, torch.no_grad(), torch.autocast("cpu", enabled=False)])
def test_functions_of_others(wrapped: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    places = (F, "relu"), (torch, "relu"), (F, "conv2d"), (torch, "batch_norm"), (nn.ReLU, "forward"), (nn.Module, "_call_impl")
    for owner, name in places:
        torchs = getattr(owner, name)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, wrapped(torchs))
            assert noted(net(), SIZE)[1] <= (0 if owner is nn.Module else 2), name


def test_functions_that_a_forward_replaces() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(F, "relu", lambda x, inplace: torch.relu(x) * 2)
            return m.relu(x)

    assert same(net(forward), SIZE) == 0


class Kind(Tensor):
    """A class that could compute in its own way."""


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: m.relu(x) + 1,
        lambda m, x: 1 - m.relu(x),
        lambda m, x: m.relu(x).add(x, alpha=2),
        lambda m, x: m.relu(x).add(other=x),
        lambda m, x: torch.add(m.relu(x), x),
        lambda m, x: x.add(),
        lambda m, x: x + m.conv.weight,
        lambda m, x: x + m.conv.bias,
        lambda m, x: x + nn.Parameter(x),
        lambda m, x: x + x.as_subclass(Kind),
        lambda m, x: x.as_subclass(Kind) + x,
        lambda m, x: x + torch.zeros(()),
        lambda m, x: x + torch.zeros(1, 4, 8, 8),
        lambda m, x: x + "1",
        lambda m, x: x + None,
        lambda m, x: x + x[:, :3],
        lambda m, x: x[:, :1].expand(1, 4, 8, 8).add_(x),
        lambda m, x: x.double() + x,
        lambda m, x: torch.complex(x, x).conj().imag * x,
        lambda m, x: torch.vmap(lambda x: x + x)(x),
        lambda m, x: torch.func.jvp(lambda x: x + x, (x,), (x,))[0],
        lambda m, x: torch.func.functionalize(lambda x: x + x)(x),
    ],
)
def test_functions_that_go_torchs_way(run: Callable[..., Any]) -> None:
    assert same(net(run), SIZE, by=FUNCTION) == 0


def test_an_interrupt_leaves_no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trace, "binary", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cnnprof.profile(Of(lambda m, x: x + x), SIZE)
    assert torch._C._len_torch_function_stack() == 0


def test_functions_of_the_same_names_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs = Tensor.add
    module = net(lambda m, x: m.relu(x) + x)
    assert same(module, SIZE, by=FUNCTION) == 1
    monkeypatch.setattr(Tensor, "add", lambda x, y: torchs(x, y) * 3)
    assert same(module, SIZE, by=FUNCTION) == 0
    monkeypatch.undo()
    monkeypatch.setattr(Tensor, "__add__", lambda x, y: torchs(x, y) * 3)
    assert same(module, SIZE, by=FUNCTION) == 1


def test_what_the_result_of_a_function_keeps_alive() -> None:
    """Nothing: neither the trace nor the caller holds on to it, or to what went into it."""

    def forward(m: Any, x: Tensor) -> Any:
        y = m.conv(x)
        y = y + x
        y = m.norm(y) * m.relu(y)
        del x
        return m.conv(y) - m.norm(y)

    assert same(net(forward), SIZE, by=FUNCTION) == 3


def one_after_another(between: Callable[[Any, Tensor], Any] = lambda m, x: x) -> Any:
    """A network in an `nn.Sequential`, with code of the user's in the middle, which has the network as `whole[0]`."""
    made = net()
    middle: Any = Of(between, whole=[])
    made.layers = nn.Sequential(made.conv, made.norm, made.relu, middle, made.conv, made.norm, made.relu)
    made.run = lambda m, x: m.layers(x)
    middle.whole.append(made)
    return made


def replaced_for_good(owner: Any, name: str, function: Any) -> Callable[[Any, Tensor], Any]:
    def between(m: Any, x: Tensor) -> Any:
        setattr(owner, name, function)
        return x

    return between


def hook_norm(m: Any, x: Tensor) -> Tensor:
    m.whole[0].norm.register_forward_hook(lambda module, x, output: output * 2)
    return x


def add_a_layer(m: Any, x: Tensor) -> Tensor:
    m.whole[0].layers.append(nn.ReLU())
    return x


def take_a_layer(m: Any, x: Tensor) -> Tensor:
    m.whole[0].layers[6] = nn.Dropout()
    return x


def forget_a_layer(m: Any, x: Tensor) -> Tensor:
    m.whole[0].layers._modules["6"] = None
    return x


def forward_of_its_own(m: Any, x: Tensor) -> Tensor:
    m.whole[0].norm.forward = lambda x: x * 3
    return x


def record_from_here(m: Any, x: Tensor) -> Tensor:
    torch.set_grad_enabled(True)
    return x


@pytest.mark.parametrize(
    ("between", "directly"),
    [
        (lambda m, x: x, 6),
        (lambda m, x: x * 2, 6),
        (lambda m, x: (x, x), 3),
        (lambda m, x: None, 3),
        (lambda m, x: x[:, :3], 3),
        (lambda m, x: x.transpose(2, 3), 6),
        (lambda m, x: x.half(), 3),
        (lambda m, x: nn.Parameter(x), 5),
        (hook_norm, 5),
        (take_a_layer, 5),
        (add_a_layer, 3),
        (forget_a_layer, 5),
        (forward_of_its_own, 5),
        (record_from_here, 3),
    ],
)
def test_layers_one_after_another(between: Callable[[Any, Tensor], Any], directly: int) -> None:
    """What a layer in a row does counts for those that come after it, as if each had been called by itself."""
    found, count = noted(one_after_another(between), SIZE)
    torch.set_grad_enabled(True)
    assert found == noted(one_after_another(between), SIZE, directly=False)[0]
    torch.set_grad_enabled(True)
    assert count == directly


@pytest.mark.parametrize(
    ("owner", "name", "directly"),
    [
        (F, "relu", 5),
        (torch, "batch_norm", 5),
        (nn.Conv2d, "forward", 5),
        (nn.Conv2d, "_conv_forward", 5),
        (nn.BatchNorm2d, "_check_input_dim", 5),
        (nn.Sequential, "forward", 6),
        (nn.Sequential, "__iter__", 6),
    ],
)
def test_functions_that_are_replaced_between_layers(owner: Any, name: str, directly: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torchs = getattr(owner, name)
    monkeypatch.setattr(owner, name, torchs)
    found, count = noted(one_after_another(replaced_for_good(owner, name, around(torchs))), SIZE)
    monkeypatch.setattr(owner, name, torchs)
    assert found == noted(one_after_another(replaced_for_good(owner, name, around(torchs))), SIZE, directly=False)[0]
    assert count == directly
    assert getattr(owner, name) is not torchs
    assert same(one_after_another(), SIZE) == (6 if owner is nn.Sequential else 4)


def twice_if_relu(torchs: Any) -> Any:
    def wrapper(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = torchs(module, *args, **kwargs)
        return output * 2 if isinstance(module, nn.ReLU) else output

    return wrapper


@pytest.mark.parametrize("name", ["__call__", "_call_impl", "_wrapped_call_impl"])
@pytest.mark.parametrize("owner", [nn.Module, nn.ReLU])
@pytest.mark.parametrize("early", [True, False])
def test_calls_that_are_replaced(owner: Any, name: str, early: bool) -> None:
    """What is called is looked at where it is called, in a row too."""

    def replace(m: Any, x: Tensor) -> Tensor:
        setattr(owner, name, twice_if_relu(getattr(owner, name)))
        return x

    def profiled(directly: bool) -> Any:
        before = owner.__dict__.get(name)
        try:
            if early:
                replace(None, torch.empty(0))
            return noted(one_after_another() if early else one_after_another(replace), SIZE, directly=directly)[0]
        finally:
            delattr(owner, name) if before is None else setattr(owner, name, before)

    assert profiled(True) == profiled(False)


@pytest.mark.parametrize("name", ["_call_impl", "_compiled_call_impl", "forward"])
def test_a_call_of_its_own(name: str) -> None:
    made = one_after_another()
    setattr(made.relu, name, lambda x: x * 3)
    assert same(made, SIZE) == 4


def test_a_sequential_with_a_forward_of_its_own() -> None:
    made = one_after_another()
    made.layers.forward = lambda x: made.layers[2](made.layers[0](x))
    assert same(made, SIZE) == 2

    class Backwards(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for layer in reversed(self):
                x = layer(x)
            return x

    made.layers = Backwards(*one_after_another().layers)
    assert same(made, SIZE) == 6
    assert same(nn.Sequential(), SIZE) == 0
    looks = one_after_another(lambda m, x: x + m.whole[0].layers[:3](x))
    assert same(looks, SIZE) == 9


@pytest.mark.parametrize("early", [True, False])
def test_functions_in_hooks_between_layers(early: bool) -> None:
    """Nobody calls them by name but torch's layer: they are noted as operators."""

    def hook(m: Any, x: Tensor) -> Tensor:
        m.whole[0].relu.register_forward_hook(lambda module, args, output: F.max_pool2d(output, 1))
        return x

    made = one_after_another() if early else one_after_another(hook)
    if early:
        made.conv.register_forward_hook(lambda module, args, output: F.max_pool2d(output, 1))
    assert same(made, SIZE) == (4 if early else 5)


def test_a_layer_by_itself_whose_call_runs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs, weight = nn.Module.__call__, torch.zeros(5, 8, device="meta")
    monkeypatch.setattr(nn.Module, "__call__", lambda module, *args: F.linear(torchs(module, *args), weight))
    assert same(nn.Conv2d(4, 6, 1), SIZE) == 1
    (layer,) = cnnprof.profile(nn.Conv2d(4, 6, 1), SIZE).layers
    assert layer.products == 6 * 8 * 8 * 4 + 6 * 8 * 8 * 5


@pytest.mark.parametrize("owner", [nn.Conv2d, nn.modules.conv._ConvNd, nn.Module])
def test_attributes_of_a_class(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(4, 6, 3)
    monkeypatch.setattr(owner, "stride", property(lambda layer: (2, 2)), raising=False)
    assert same(conv, SIZE) == 0
    assert cnnprof.profile(conv, SIZE).root.output_shape == (6, 3, 3)


def test_a_part_that_a_layer_is_given_after_its_call() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        x = m.conv(x)
        m.conv.add_module("more", m.norm)
        return x

    made = net(forward)
    assert same(made, SIZE) == 1
    assert not any(layer.path.endswith("norm") for layer in cnnprof.profile(made, SIZE).layers)


class Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        return output * 2 if func is F.relu else output


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        return output.clone() if func is torch.ops.aten.relu.default else output


@contextmanager
def dual_level() -> Iterator[None]:
    with torch.autograd.forward_ad.dual_level():
        yield


@pytest.mark.parametrize(
    "mode",
    [Functions, Operators, torch.enable_grad, torch.inference_mode, dual_level, lambda: torch.device("meta")],
    ids=["functions", "operators", "enable_grad", "inference_mode", "dual_level", "device"],
)
def test_modes(mode: Callable[[], AbstractContextManager[Any]]) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        with mode():
            x = m.relu(m.norm(m.conv(x)))
        return m.relu(x)

    assert same(net(forward), SIZE) == (0 if mode is torch.inference_mode else 1)  # its tensors stay its own afterwards
    with mode():
        directly, _ = noted(net(), SIZE)
        assert directly == noted(net(), SIZE, directly=False)[0]

    def add(m: Any, x: Tensor) -> Any:
        with mode():
            y = m.relu(x) + x
        return y * x

    handed_on = mode is Functions or "device" in repr(mode())  # these have had their say when the trace is asked
    assert same(net(add), SIZE, by=FUNCTION) == (0 if mode is torch.inference_mode else 1 + handed_on)


@pytest.mark.parametrize(
    "transform",
    [
        lambda m, x: torch.vmap(m.conv)(x[None])[0],
        lambda m, x: torch.func.jvp(m.relu, (x,), (x,))[0],
        lambda m, x: torch.func.functionalize(m.relu)(x),
        lambda m, x: torch.func.functional_call(m.conv, {"weight": x.new_zeros(7, 4, 1, 1), "bias": x.new_zeros(7)}, (x,)),
        lambda m, x: m.relu(torch.complex(x, x).conj().imag),
        lambda m, x: m.conv(x.to(memory_format=torch.channels_last)),
        lambda m, x: m.conv(x[0]),
        lambda m, x: m.relu(input=x),
        lambda m, x: m.norm.train()(x),
        lambda m, x: m.conv(x).relu_().add_(m.relu(m.conv(x))),
        lambda m, x: m.conv(m.norm(x)[:, :3]),
        lambda m, x: m.conv(x.double()),
        lambda m, x: m.norm(x[:, :3]),
        lambda m, x: m.relu(x.expand(2, 4, 8, 8)),
        lambda m, x: nn.ReLU(inplace=True)(x[:, :1].expand(1, 4, 8, 8)),
        lambda m, x: m.conv(torch.zeros(1, 4, 8, 8)),
        lambda m, x: torch.utils.checkpoint.checkpoint(m.conv, x, use_reentrant=False),
        lambda m, x: m.relu(),
        lambda m, x: m.relu(x, x),
        lambda m, x: m.relu(None),
    ],
)
def test_what_a_forward_may_do(transform: Callable[..., Any]) -> None:
    same(net(transform), SIZE)


def test_errors_that_are_caught() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        try:
            return m.conv(x[:, :3])
        except RuntimeError:
            return m.relu(m.conv(x))

    assert same(net(forward), SIZE) > 0


def test_a_thread() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        found: list[Any] = []

        def work() -> None:
            try:
                found.append(m.conv(x))
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    assert same(net(forward), SIZE) == 0


def test_a_network_that_looks_at_itself() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        m.calls = getattr(m, "calls", 0) + 1
        return m(m.relu(x)) if m.calls < 3 else m.conv(m.relu(x))

    assert same(net(forward), SIZE) == 4


def test_the_compiler_does_not_keep_what_was_in_place_when_it_was_imported() -> None:
    code = """
import gc, weakref
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
import cnnprof

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return checkpoint(self.conv, x, use_reentrant=False)

before, net = nn.Module._call_impl, Net()
cnnprof.profile(net, (3, 8, 8))
import torch._dynamo.utils
print(torch._dynamo.utils.unpatched_nn_module_call_impl is before)
alive = weakref.ref(net)
del net
gc.collect()
print(alive() is None)
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == [
        "True",
        "True",
    ]


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("options", [{}, {"retained": True}, {"optimizer": "adam"}], ids=["inference", "retained", "training"])
def test_a_profile_leaves_nothing_to_the_garbage_collector(name: str, options: dict[str, Any]) -> None:
    """Which may be off, in a loop that is timed for one: every profile would take memory of its own then."""
    network = built(name)

    def profiled() -> None:
        cnnprof.profile(network.module, network.input_shape, **options)

    profiled()  # what is kept from a first call on is no garbage
    gc.collect()
    gc.disable()
    try:
        profiled()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("convention", ["products", *CONVENTIONS])
def test_a_network_lives_no_longer_than_its_owner_wants(convention: str) -> None:
    network = built("lenet5")
    module = nn.Sequential(*network.module.children())
    gc.disable()
    try:
        cnnprof.profile(module, network.input_shape, convention=convention)
        alive = weakref.ref(module)
        del module
        assert alive() is None
    finally:
        gc.enable()


def test_two_passes_that_overlap() -> None:
    before = nn.Module._call_impl
    one, other = direct(Trace(nn.ReLU())), direct(Trace(nn.ReLU()))
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert nn.Module._call_impl is before
