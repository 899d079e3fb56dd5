"""The second half of the table of modules: functions, sharing, computed weights, control flow, signatures, as people write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from module_pieces import (
    VECTORS,
    Boxes,
    Buffered,
    Case,
    LoRALinear,
    MadeAtFirst,
    NamedConv2d,
    Of,
    Output,
    Pair,
    Product,
    StandardizedConv2d,
    ids,
    param,
    square,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

zeros = torch.zeros
Conv2d, Linear = nn.Conv2d, nn.Linear
GRADIENTS = "it fails where a module computes a gradient"


def _filters_of_each_sample(m: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    filters = m.generate(x.mean((2, 3))).view(batch * channels, 1, 3, 3)
    return F.conv2d(x.reshape(1, batch * channels, height, width), filters, padding=1, groups=batch * channels).view_as(x)


FUNCTIONAL = [
    Case("F.linear", lambda: Of(lambda m, x: F.linear(x, m.w, m.b), w=param(5, 12), b=param(5)), (12,), 60, 65),
    Case("torch.matmul", lambda: Of(lambda m, x: torch.matmul(x, m.w), w=param(12, 5)), (7, 12), 7 * 12 * 5, 60),
    Case("@", lambda: Of(lambda m, x: x @ m.w, w=param(12, 5)), (12,), 12 * 5, 60),
    Case("@, broadcast", lambda: Of(lambda m, x: x @ m.w, w=param(4, 6, 5)), (4, 3, 6), 4 * 3 * 6 * 5, 4 * 6 * 5),
    Case("@, of itself", lambda: Of(lambda m, x: x @ x.transpose(1, 2)), (7, 3), 7 * 7 * 3, 0),
    Case("torch.mm", lambda: Of(lambda m, x: torch.mm(x, m.w.t()), w=param(5, 12)), (12,), 60, 60),
    Case("torch.bmm", lambda: Of(lambda m, x: torch.bmm(x, x.mT)), (7, 3), 7 * 7 * 3, 0),
    Case("torch.addmm", lambda: Of(lambda m, x: torch.addmm(m.b, x, m.w), w=param(12, 5), b=param(5)), (12,), 60, 65),
    Case("torch.baddbmm", lambda: Of(lambda m, x: torch.baddbmm(x, x, x, beta=0.5)), (4, 4), 4 * 4 * 4, 0),
    Case("torch.addbmm", lambda: Of(lambda m, x: torch.addbmm(zeros(4, 4), x, x)), (4, 4), 4 * 4 * 4, 0, torch_differs="0"),
    Case("torch.mv", lambda: Of(lambda m, x: torch.mv(m.w, x[0]), w=param(5, 12)), zeros(1, 12), 60, 60, torch_differs=VECTORS),
    Case("torch.dot", lambda: Of(lambda m, x: torch.dot(x, x)), zeros(12), 12, 0, torch_differs=VECTORS),
    Case("torch.inner", lambda: Of(lambda m, x: torch.inner(x, m.w), w=param(5, 12)), (12,), 60, 60),
    Case("torch.outer", lambda: Of(lambda m, x: torch.outer(x[0], x[0])), zeros(1, 12), 0, 0),
    Case("torch.tensordot", lambda: Of(lambda m, x: torch.tensordot(x, m.w, dims=2), w=param(3, 4, 5)), (3, 4), 3 * 4 * 5, 60),
    # One row: x·V and then that times W is cheaper than V·W first.
    Case(
        "multi_dot",
        lambda: Of(lambda m, x: torch.linalg.multi_dot([x, m.v, m.w]), v=param(4, 5), w=param(5, 2)),
        zeros(1, 4),
        20 + 10,
        30,
    ),
    Case("torch.matrix_power", lambda: Of(lambda m, x: torch.matrix_power(x, 3)), (5, 5), 2 * 125, 0),
    Case(
        "einsum, 1x1 conv", lambda: Of(lambda m, x: torch.einsum("bchw,oc->bohw", x, m.w), w=param(6, 4)), (4, 5, 5), 6 * 4 * 25, 24
    ),
    Case("einsum, attention scores", lambda: Of(lambda m, x: torch.einsum("bhqd,bhkd->bhqk", x, x)), (2, 7, 4), 2 * 49 * 4, 0),
    Case("einsum of three", lambda: Of(lambda m, x: torch.einsum("bi,oij,bj->bo", x, m.w, x), w=param(5, 4, 4)), (4,), 80 + 20, 80),
    Case(
        "F.conv2d with computed weights",
        lambda: Of(lambda m, x: F.conv2d(x, m.a @ m.b), a=param(6, 3, 3, 2), b=param(2, 3)),
        (3, 8, 8),
        6 * 6 * 6 * 3 * 9 + 6 * 3 * 3 * 2 * 3,
        6 * 3 * 3 * 2 + 6,
        6 * 3 * 3 * 2 * 3,
    ),
    Case(
        "filters of each sample",
        lambda: Of(_filters_of_each_sample, generate=Linear(4, 36)),
        (4, 8, 8),
        36 * 4 + 4 * 64 * 9,
        36 * 5,
    ),
    Case("unfold and matmul", lambda: Of(lambda m, x: m.w @ F.unfold(x, 3), w=param(6, 27)), (3, 8, 8), 6 * 27 * 36, 6 * 27),
    Case(
        "F.conv_transpose2d", lambda: Of(lambda m, x: F.conv_transpose2d(x, m.w), w=param(4, 2, 3, 3)), (4, 5, 5), 4 * 25 * 18, 72
    ),
    Case("F.bilinear", lambda: Of(lambda m, x: F.bilinear(x, x, m.w), w=param(5, 3, 3)), (3,), 45 + 15, 45, torch_differs="0"),
    Case("aten called by name", lambda: Of(lambda m, x: torch.ops.aten.mm(x, m.w), w=param(4, 5)), (4,), 20, 20),
]


def _loop(m: Any, x: Tensor) -> Tensor:
    for _ in range(3):
        x = m.l(x)
    return x


def _on_its_device(m: Any, x: Tensor) -> Tensor:
    with x.device:
        bias = torch.zeros(4)
        y = m.l(x)
        with x.device:
            y = m.l(F.relu(y)) + bias
        return m.l(y @ m.l.weight)  # type: ignore[no-any-return]


def _by_default(m: Any, x: Tensor) -> Tensor:
    before = torch.get_default_device()
    torch.set_default_device(x.device)
    y = m.l(x)
    y = m.l(F.relu(y)) + torch.zeros(4)
    torch.set_default_device(None if before.type == "cpu" else before)
    return m.l(y)  # type: ignore[no-any-return]


def _tied(output: nn.Linear) -> nn.Module:
    embedding = nn.Embedding(50, 16)
    output.weight = embedding.weight
    return nn.Sequential(embedding, output)


def _twice(member: nn.Module) -> nn.Module:
    return Of(lambda m, x: m.b(m.a(x)), a=member, b=member)


def _same_parameter(weight: nn.Parameter) -> nn.Module:
    return Of(lambda m, x: x * m.a + m.b, a=weight, b=weight)


def _with_alias(layer: nn.Linear) -> nn.Module:
    layer.alias = layer.weight
    return layer


def _frozen(member: nn.Module) -> nn.Module:
    return member.requires_grad_(False)


def _unregistered(m: Any, x: Tensor) -> Any:
    return m.layers[1](m.layers[0](x))


SHARED = [
    Case("module called three times", lambda: Of(_loop, l=Linear(8, 8)), (8,), 3 * 64, 72),
    Case("module under two names", lambda: _twice(Linear(8, 8)), (8,), 2 * 64, 72),
    Case("module twice in a Sequential", lambda: nn.Sequential(*[Linear(8, 8)] * 2), (8,), 2 * 64, 72),
    Case("container under two names", lambda: _twice(nn.Sequential(Linear(8, 4), nn.ReLU(), Linear(4, 8))), (8,), 2 * 64, 36 + 40),
    Case("parameter under two names", lambda: _same_parameter(param(8)), (8,), 0, 8),
    Case("parameter of a layer under two names", lambda: _with_alias(Linear(8, 8)), (8,), 64, 72),
    Case("tied weights", lambda: _tied(Linear(16, 50)), ids(2, 7), 2 * 7 * 16 * 50, 50 * 16 + 50),
    Case(
        "tied weights, used by F.linear",
        lambda: Of(lambda m, i: F.linear(m.e(i), m.e.weight), e=nn.Embedding(50, 16)),
        ids(1, 7),
        7 * 16 * 50,
        50 * 16,
    ),
    Case("raw parameter", lambda: Of(lambda m, x: x * m.scale + m.shift, scale=param(8), shift=param(8)), (8,), 0, 16),
    Case(
        "parameter list",
        lambda: Of(lambda m, x: x @ m.ws[0] @ m.ws[1], ws=nn.ParameterList([zeros(8, 4), zeros(4, 2)])),
        (8,),
        40,
        40,
    ),
    Case(
        "parameter dictionary",
        lambda: Of(lambda m, x: x @ m.ws["a"], ws=nn.ParameterDict({"a": zeros(8, 4), "b": zeros(3)})),
        (8,),
        32,
        32 + 3,
    ),
    Case(
        "unused module",
        lambda: Of(lambda m, x: m.used(x), used=Linear(8, 4), unused=nn.Sequential(Conv2d(3, 4, 3), nn.ReLU())),
        (8,),
        32,
        36 + 112,
    ),
    Case("frozen", lambda: _frozen(Linear(8, 4)), (8,), 32, 36),
    Case("buffers", Buffered, (8,), 8 * 5, 0),
    Case("forward called by name", lambda: Of(lambda m, x: m.l.forward(x), l=Linear(8, 4)), (8,), 32, 36),
    Case("modules in a plain list", lambda: Of(_unregistered, layers=[Linear(8, 8), Linear(8, 4)]), (8,), 64 + 32, 0),
    Case(
        "module made in forward",
        lambda: Of(lambda m, x: Linear(8, 4, device="cpu")(x)),
        (8,),
        32,
        0,
        torch_differs="weights on the CPU are refused",
    ),
    Case("cache on the module", MadeAtFirst, (8,), 64, 72),
]


def _quiet(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    """What torch has replaced, and people use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*args, **options)


def _product(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Product(2, 8))


COMPUTED = [
    Case("layers in the context of a device", lambda: Of(_on_its_device, l=Linear(4, 4)), (4,), 4 * 16, 20),
    Case("layers on the default device", lambda: Of(_by_default, l=Linear(4, 4)), (4,), 3 * 16, 20),
    Case("checkpoint", lambda: Of(lambda m, x: checkpoint(m.l, x, use_reentrant=False), l=Linear(8, 8)), (8,), 64, 72),
    Case("reentrant checkpoint", lambda: Of(lambda m, x: checkpoint(m.l, x, use_reentrant=True), l=Linear(8, 8)), (8,), 64, 72),
    Case(
        "sequence of checkpoints",
        lambda: Of(
            lambda m, x: checkpoint_sequential(m.s, 2, x, use_reentrant=False),
            s=nn.Sequential(Linear(8, 8), nn.ReLU(), Linear(8, 4)),
        ),
        (8,),
        64 + 32,
        72 + 36,
    ),
    Case("weight norm", lambda: parametrizations.weight_norm(Conv2d(3, 4, 3)), (3, 8, 8), 4 * 36 * 27, 4 * 27 + 4 + 4),
    Case("spectral norm", lambda: parametrizations.spectral_norm(Linear(8, 4)), (8,), 32 + 32 + 4, 36, 32 + 4, VECTORS),
    Case("weight norm by hooks", lambda: _quiet(nn.utils.weight_norm, Linear(8, 4)), (8,), 32, 32 + 4 + 4),
    Case("spectral norm by hooks", lambda: _quiet(nn.utils.spectral_norm, Linear(8, 4)), (8,), 32 + 32 + 4, 36, 32 + 4, VECTORS),
    # W·Wᵀ, that times W, that times B, that times Bᵀ: 8x8 all of it but B, 2x8.
    Case("own parametrization", lambda: _product(Linear(8, 8, bias=False)), (8,), 64 + 512 + 512 + 128 + 128, 64 + 16, 1280),
    Case("parametrized and called twice", lambda: _twice(_product(Linear(8, 8, bias=False))), (8,), 2 * (64 + 1280), 80, 2 * 1280),
    Case("custom function", lambda: Of(lambda m, x: square(x)), (5, 8), 5 * 5 * 8, 0),
    Case("subclass of Conv2d with its own forward", lambda: StandardizedConv2d(3, 4, 3), (3, 8, 8), 4 * 36 * 27, 112),
    Case("subclass of Conv2d without", lambda: NamedConv2d(3, 4, 3), (3, 8, 8), 4 * 36 * 27, 112),
    Case("subclass of Linear that calls it", lambda: LoRALinear(8, 4, 2), (8,), 32 + 16 + 8, 36 + 16 + 8),
    Case(
        "ModuleList",
        lambda: Of(lambda m, x: sum(part(x) for part in m.ls), ls=nn.ModuleList(Linear(8, 4) for _ in range(3))),
        (8,),
        3 * 32,
        3 * 36,
    ),
    Case(
        "ModuleDict",
        lambda: Of(
            lambda m, x: {name: part(x) for name, part in m.ls.items()}, ls=nn.ModuleDict({"a": Linear(8, 4), "b": Linear(8, 2)})
        ),
        (8,),
        32 + 16,
        36 + 18,
    ),
    Case(
        "nested Sequential",
        lambda: nn.Sequential(nn.Sequential(nn.Sequential(Linear(8, 4)), nn.ReLU()), Linear(4, 2)),
        (8,),
        40,
        46,
    ),
]


def _slope(m: Any, x: Tensor) -> Any:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(m.l(x).sum(), x)[0]


def _ensemble(m: Any, x: Tensor) -> Any:
    return torch.func.vmap(lambda w, b: torch.func.functional_call(m.l, {"weight": w, "bias": b}, (x,)))(m.w, m.b)


def _bfloat(m: Any, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return m.l(x)


@torch.inference_mode()
def _inference(m: Any, x: Tensor) -> Any:
    return F.softmax(m.l(x).view(-1, 2, 2) @ m.w, -1)


def _caught(m: Any, x: Tensor) -> Any:
    try:
        x = m.large(x)
    except RuntimeError:
        x = m.small(x)
    try:
        x = x.view(-1, 5)
    except RuntimeError:
        x = x.view(-1, 2, 2)
    return m.last(x)


def _loops(m: Any, x: Tensor) -> Any:
    for size in (torch.arange(3, device="cpu") + 1).tolist():  # constants have values
        x = x + m.l(x[:, :8] * size)
    return x


def _nothing(m: Any, x: Tensor) -> Any:
    return m.l(x) + m.constant.to(x.device) * torch.ones(4, device="cpu")


FLOWS = [
    Case("vmap of a module", lambda: Of(lambda m, x: torch.func.vmap(m.l)(x), l=Linear(8, 4)), (8,), 32, 36),
    Case("vmap of a function", lambda: Of(lambda m, x: torch.func.vmap(lambda row: row @ m.w)(x), w=param(8, 4)), (8,), 32, 32),
    Case(
        "functional_call",
        lambda: Of(lambda m, x: torch.func.functional_call(m.l, {"weight": m.w}, (x,)), l=Linear(8, 4), w=param(4, 8)),
        (8,),
        32,
        36 + 32,
    ),
    Case("ensemble", lambda: Of(_ensemble, l=Linear(8, 4), w=param(5, 4, 8), b=param(5, 4)), (8,), 5 * 32, 36 + 160 + 20),
    # The gradient is the output's, 4, times the weights.
    Case(
        "torch.func.grad",
        lambda: Of(lambda m, x: torch.func.grad(lambda y: m.l(y).sum())(x), l=Linear(8, 4)),
        (8,),
        32 + 32,
        36,
        torch_differs=GRADIENTS,
    ),
    Case("gradient of the input", lambda: Of(_slope, l=Linear(8, 4)), (8,), 32 + 32, 36, torch_differs=GRADIENTS),
    Case("autocast", lambda: Of(_bfloat, l=Linear(8, 4)), (8,), 32, 36),
    Case("inference mode", lambda: Of(_inference, l=Linear(8, 4), w=param(2, 3)), (8,), 32 + 2 * 2 * 3, 36 + 6),
    Case(
        "errors that are caught", lambda: Of(_caught, large=Linear(9, 4), small=Linear(8, 4), last=Linear(2, 3)), (8,), 32 + 12, 85
    ),
    Case("loop over constants", lambda: Of(_loops, l=Linear(8, 8)), (8,), 3 * 64, 72),
    Case(
        "constants on the CPU",
        lambda: Of(_nothing, l=Linear(8, 4), constant=zeros(4, device="cpu")),
        (8,),
        32,
        36,
        torch_differs="constants on the CPU are refused",
    ),
    Case("profiler's marks", lambda: nn.DataParallel(Linear(8, 4)), (8,), 32, 36),
    Case("DataParallel inside", lambda: nn.Sequential(nn.DataParallel(Linear(8, 4)), nn.ReLU()), (8,), 32, 36),
    Case("in-place operators", lambda: Of(lambda m, x: m.l(x).relu_().add_(1).mul_(2), l=Linear(8, 4)), (8,), 32, 36),
    Case(
        "assignment to a part",
        lambda: Of(lambda m, x: x.new_zeros(1, 9).index_put((ids(1),), m.l(x)), l=Linear(8, 9)),
        (8,),
        72,
        81,
    ),
]

pair = (zeros(3, 8), zeros(3, 8))
SIGNATURES = [
    Case("dict output", lambda: Of(lambda m, x: {"logits": m.l(x), "features": [x, {"deep": x}]}, l=Linear(8, 4)), (8,), 32, 36),
    Case("tuple output", lambda: Of(lambda m, x: (m.l(x), None, x.shape, 3, "text"), l=Linear(8, 4)), (8,), 32, 36),
    Case("dataclass output", lambda: Of(lambda m, x: Boxes(m.l(x), 3), l=Linear(8, 4)), (8,), 32, 36),
    Case("named tuple output", lambda: Of(lambda m, x: Pair(m.l(x), x), l=Linear(8, 4)), (8,), 32, 36),
    Case("output of a dict's subclass", lambda: Of(lambda m, x: Output(logits=m.l(x)), l=Linear(8, 4)), (8,), 32, 36),
    Case("no output", lambda: Of(lambda m, x: m.l(x) and None if False else None, l=Linear(8, 4)), (8,), 0, 36),
    Case("two shapes", lambda: nn.Bilinear(3, 4, 5), [(3,), (4,)], 5 * 3 * 4 + 5 * 4, 65, torch_differs="0"),
    Case("two inputs", lambda: Of(lambda m, x, y: m.l(x) - m.l(y), l=Linear(8, 4)), pair, 2 * 3 * 32, 36),
    Case(
        "inputs by name",
        lambda: Of(lambda m, *, x, y: m.l(x) @ m.l(y).T, l=Linear(8, 4)),
        {"y": zeros(5, 8), "x": zeros(3, 8)},
        3 * 32 + 5 * 32 + 3 * 5 * 4,
        36,
    ),
    Case("a tuple for an input", lambda: Of(lambda m, xs: m.l(xs[0]) + m.l(xs[1]), l=Linear(8, 4)), (pair,), 2 * 3 * 32, 36),
    Case("a dict for an input", lambda: Of(lambda m, d: m.l(d["x"]), l=Linear(8, 4)), ({"x": zeros(3, 8)},), 3 * 32, 36),
    Case(
        "inputs that are no tensors",
        lambda: Of(lambda m, x, n, flag, mode: m.l(x.repeat(n, 1)), l=Linear(8, 4)),
        (zeros(3, 8), 2, True, "mean"),
        6 * 32,
        36,
    ),
    Case(
        "optional input", lambda: Of(lambda m, x, mask=None: m.l(x), l=Linear(8, 4)), {"x": zeros(3, 8), "mask": None}, 3 * 32, 36
    ),
    Case("integers", lambda: Of(lambda m, x: m.l(x.float()), l=Linear(8, 4)), torch.zeros(3, 8, dtype=torch.uint8), 3 * 32, 36),
]

CODE: Sequence[Case] = [*FUNCTIONAL, *SHARED, *COMPUTED, *FLOWS, *SIGNATURES]
