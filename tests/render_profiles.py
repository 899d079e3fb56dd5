"""Profiles made by hand for the tests of the renderers: no torch, no measuring, every figure typed."""

from __future__ import annotations

import math
from typing import cast

from cnnprof.profiling.profile import Cost, Layer, Profile, Shape, Term


def leaf(
    path: str,
    kind: str,
    arguments: str = "",
    *,
    into: Shape | tuple[Shape, ...],
    out: Shape | tuple[Shape, ...],
    params: tuple[Shape, ...] = (),
    terms: tuple[Term, ...] = (),
    writes: bool = True,
    frozen: bool = False,
    buffer_bytes: int = 0,
    unknown: tuple[str, ...] = (),
    note: str = "",
    batch: int = 1,
) -> Layer:
    """A leaf of float32 whose figures follow from the shapes."""
    inputs, outputs = _several(into), _several(out)
    count = sum(map(math.prod, params))
    written = 4 * batch * sum(map(math.prod, outputs)) if writes else 0
    cost = Cost(count, 0 if frozen else count, sum(map(math.prod, terms)), written, 4 * count, buffer_bytes, tuple(unknown))
    depth = path.count(".") + 1 if path else 0
    return Layer(path, kind, arguments, depth, inputs, outputs, cost, params, terms, note)


def container(path: str, kind: str, *children: Layer, arguments: str = "") -> Layer:
    """A container whose input and output are those of its first and last child."""
    depth = path.count(".") + 1 if path else 0
    first, last = children[0], children[-1]
    return Layer(path, kind, arguments, depth, first.input_shapes, last.output_shapes, children=children)


def network(name: str, *children: Layer, batch: int = 1) -> Profile:
    """A network of these layers."""
    return Profile(name, children[0].input_shapes, batch, "float32", container("", name.capitalize(), *children))


def _several(shapes: Shape | tuple[Shape, ...]) -> tuple[Shape, ...]:
    """One shape as a tuple of shapes, and several as they are."""
    if shapes and isinstance(shapes[0], tuple):
        return shapes
    return (cast("Shape", shapes),)


def lenet() -> Profile:
    """The lecture's LeNet: every row of it, with the lecture's figures as arithmetic."""
    return network(
        "lenet",
        leaf(
            "conv1",
            "Conv2d",
            "1, 32, kernel_size=5",
            into=(1, 28, 28),
            out=(32, 24, 24),
            params=((32, 1, 5, 5), (32,)),
            terms=((32, 24, 24, 1, 5, 5),),
        ),
        leaf("pool1", "MaxPool2d", "kernel_size=3", into=(32, 24, 24), out=(32, 8, 8)),
        leaf("relu1", "ReLU", into=(32, 8, 8), out=(32, 8, 8)),
        leaf(
            "conv2",
            "Conv2d",
            "32, 64, kernel_size=5",
            into=(32, 8, 8),
            out=(64, 4, 4),
            params=((64, 32, 5, 5), (64,)),
            terms=((64, 4, 4, 32, 5, 5),),
        ),
        leaf("pool2", "MaxPool2d", "kernel_size=2", into=(64, 4, 4), out=(64, 2, 2)),
        leaf("relu2", "ReLU", into=(64, 2, 2), out=(64, 2, 2)),
        leaf("flatten", "Flatten", into=(64, 2, 2), out=(256,), writes=False),
        leaf("fc1", "Linear", "256, 200", into=(256,), out=(200,), params=((200, 256), (200,)), terms=((200, 256),)),
        leaf("relu3", "ReLU", into=(200,), out=(200,)),
        leaf("fc2", "Linear", "200, 10", into=(200,), out=(10,), params=((10, 200), (10,)), terms=((10, 200),)),
    )


def _conv_bn(path: str, out: int, into: Shape, size: int, *, kernel: int, stride: int = 1, frozen: bool = False) -> Layer:
    channels, shape = into[0], (out, size, size)
    extra = f", stride={stride}" if stride > 1 else ""
    conv = leaf(
        f"{path}.0",
        "Conv2d",
        f"{channels}, {out}, kernel_size={kernel}{extra}, padding={kernel // 2}, bias=False",
        into=into,
        out=shape,
        params=((out, channels, kernel, kernel),),
        terms=((2, out, size, size, channels, kernel, kernel),),
        frozen=frozen,
        batch=2,
    )
    norm = leaf(
        f"{path}.1",
        "BatchNorm2d",
        str(out),
        into=shape,
        out=shape,
        params=((out,), (out,)),
        buffer_bytes=8 * out + 8,
        batch=2,
    )
    return container(path, "conv_bn", conv, norm, arguments=f"{out}, {kernel}")


def nested() -> Profile:
    """A residual network of two stages, with branches, frozen parameters, buffers and a batch of 2."""

    def basic(path: str, out: int, into: Shape, size: int, stride: int) -> Layer:
        shape = (out, size, size)
        main = container(
            f"{path}.main",
            "Sequential",
            _conv_bn(f"{path}.main.0", out, into, size, kernel=3, stride=stride),
            leaf(f"{path}.main.1", "ReLU", into=shape, out=shape, batch=2),
            _conv_bn(f"{path}.main.2", out, shape, size, kernel=3),
        )
        skip = container(f"{path}.skip", "shortcut", _conv_bn(f"{path}.skip.0", out, into, size, kernel=1, stride=stride))
        added = leaf(f"{path}.add", "+", into=(shape, shape), out=shape, batch=2)
        branches = (main, skip, added) if stride > 1 else (main, added)
        return container(path, "basic", *branches, arguments=f"{out}, s={stride}" if stride > 1 else f"{out}")

    return network(
        "tinyres",
        _conv_bn("stem", 16, (3, 32, 32), 32, kernel=3, frozen=True),
        container("stage1", "stage", basic("stage1.0", 16, (16, 32, 32), 32, 1), arguments="16"),
        container("stage2", "stage", basic("stage2.0", 32, (16, 32, 32), 16, 2), arguments="32"),
        leaf("pool", "AdaptiveAvgPool2d", "1", into=(32, 16, 16), out=(32, 1, 1), batch=2),
        leaf("flatten", "Flatten", into=(32, 1, 1), out=(32,), writes=False),
        leaf("fc", "Linear", "32, 10", into=(32,), out=(10,), params=((10, 32), (10,)), terms=((2, 10, 32),), batch=2),
        batch=2,
    )


def unknown() -> Profile:
    """A network with operators that no table knows, a layer that was not called and a layer of two outputs."""
    return network(
        "mixer",
        leaf("spectrum", "torch.fft.fft2", into=(3, 8, 8), out=(3, 8, 8), unknown=("aten::_fft_r2c", "aten::_fft_c2c")),
        leaf(
            "proj",
            "Mixing",
            "192",
            into=(3, 8, 8),
            out=((192,), (3,)),
            params=((192, 192), (192,)),
            terms=((192, 192),),
            unknown=("mylib::mix",),
        ),
        leaf("flatten", "Flatten", into=(192,), out=(192,), writes=False),
        Layer("spare", "Linear", "192, 10", 1, (), (), Cost(1930, 1930, 0, 0, 7720), ((10, 192), (10,)), note="not called"),
        leaf("head", "Linear", "192, 10", into=(192,), out=(10,), params=((10, 192), (10,)), terms=((10, 192),)),
        leaf("loss", "mean", into=(10,), out=((),)),
    )


def huge() -> Profile:
    """1.5·10^12 parameters."""
    return network(
        "huge",
        leaf("flatten", "Flatten", into=(3, 1000, 500), out=(1500000,), writes=False),
        leaf(
            "fc",
            "Linear",
            "1500000, 1000000",
            into=(1500000,),
            out=(1000000,),
            params=((1000000, 1500000), (1000000,)),
            terms=((1000000, 1500000),),
        ),
        leaf("relu", "ReLU", into=(1000000,), out=(1000000,)),
    )


def names() -> Profile:
    """Names of 200 characters, in other scripts, with what Markdown, LaTeX and terminals take for commands."""
    return network(
        "netz_" + "ü" * 195,
        leaf("größe", "Größe", "höhe=3", into=(3, 4, 4), out=(3, 4, 4)),
        leaf(
            "卷积",
            "卷积层",
            "通道=12345",
            into=(3, 4, 4),
            out=(7, 4, 4),
            params=((7, 3, 1, 1),),
            terms=((7, 4, 4, 3, 1, 1),),
        ),
        leaf("x" * 200, "K" * 200, into=(7, 4, 4), out=(7, 4, 4)),
        leaf("e\u0301", "Cafe\u0301", into=(7, 4, 4), out=(7, 4, 4)),
        leaf("a|b*_c`d", "A|B*_C`D", "x=<y>, z=50%, {k} $5 #1 & \\ ^ ~ [q]", into=(7, 4, 4), out=(7, 4, 4)),
        leaf("\x1b[31m\n\tred", "R\x1b[2Jed\r\nTWO", "\u202eabc", into=(7, 4, 4), out=(7, 4, 4)),
    )


def single() -> Profile:
    """A network that is one layer, so its root is a leaf."""
    fc = leaf("", "Linear", "3, 2", into=(3,), out=(2,), params=((2, 3), (2,)), terms=((2, 3),))
    return Profile("linear", ((3,),), 1, "float32", fc)


PROFILES = {
    "lenet": lenet,
    "nested": nested,
    "unknown": unknown,
    "huge": huge,
    "names": names,
    "single": single,
}
