"""The output rules of the operators of training against torch's kernels, for random configurations.

What the CPU's kernels return decides where those of the meta device differ from them: the memory of training is that of the CPU.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from agreement import agree, aten, described, dtypes, each, laid_out, meta, on_cpu, share, small, tensors_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnprof.operators import rule

ELEMENTWISE: dict[str, tuple[Any, ...]] = {
    "elu_backward": ("grad", 1.0, 1.0, 1.0, False, "x"),
    "gelu_backward": ("grad", "x"),
    "hardshrink_backward": ("grad", "x", 0.5),
    "hardsigmoid_backward": ("grad", "x"),
    "hardswish_backward": ("grad", "x"),
    "hardtanh_backward": ("grad", "x", -1.0, 1.0),
    "leaky_relu_backward": ("grad", "x", 0.1, False),
    "mse_loss_backward": ("scalar", "grad", "x", 1),
    "rrelu_with_noise_backward": ("grad", "x", "x", 0.1, 0.3, True, False),
    "sigmoid_backward": ("grad", "x"),
    "silu_backward": ("grad", "x"),
    "softplus_backward": ("grad", "x", 1.0, 20.0),
    "softshrink_backward": ("grad", "x", 0.5),
    "tanh_backward": ("grad", "x"),
    "threshold_backward": ("grad", "x", 0.0),
}


def takes_what_the_cpu_takes(func: Any, args: tuple[Any, ...]) -> None:
    """For operators of which torch's meta kernel, or its counter, is wrong: asserts shapes, strides and room by the CPU alone."""
    known = rule(func)
    assert known is not None
    assert known.output is not None
    made, real = known.output(*args), cast(Any, on_cpu(func, args)())
    assert [x is None for x in made] == [x is None for x in real]
    assert [layout[:2] for layout in described(made)] == [layout[:2] for layout in described(real)]
    for ours, theirs in zip(tensors_of(made), tensors_of(real), strict=True):
        assert ours.is_meta
        assert ours.untyped_storage().nbytes() // ours.element_size() == theirs.untyped_storage().nbytes() // theirs.element_size()


sizes = st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=4)


@share(3)
@given(data=st.data(), dtype=dtypes, shape=sizes)
def test_elementwise(data: st.DataObject, dtype: torch.dtype, shape: list[int]) -> None:
    name = data.draw(st.sampled_from(sorted(ELEMENTWISE)))
    tensors = {"grad": data.draw(laid_out(shape, dtype)), "x": data.draw(laid_out(shape, dtype)), "scalar": meta(dtype=dtype)}
    args = tuple(tensors.get(value, value) if isinstance(value, str) else value for value in ELEMENTWISE[name])
    func = getattr(aten, name).default
    # The meta kernels of some are composed of others, which lay their outputs out otherwise.
    agree(func, args, real=on_cpu(func, args), layout_of_real=True)


@share(3)
@given(data=st.data(), dtype=dtypes, shape=sizes)
def test_in_place(data: st.DataObject, dtype: torch.dtype, shape: list[int]) -> None:
    x, one, other = (data.draw(laid_out(shape, dtype)) for _ in range(3))
    args: tuple[Any, ...]
    func, args = data.draw(
        st.sampled_from(
            [(aten.addcmul_.default, (x, one, other)), (aten.addcdiv_.default, (x, one, other)), (aten.lerp_.Scalar, (x, one, 0.1))]
        )
    )
    agree(func, args, real=on_cpu(func, args))


@pytest.mark.parametrize("transposed", [False, True], ids=["direct", "transposed"])
@share(3)
@given(
    data=st.data(),
    rank=st.sampled_from([1, 2, 3]),
    dtype=dtypes,
    groups=st.sampled_from([1, 1, 2]),
    wanted=each(3, True, False).filter(any),
)
def test_convolutions(
    transposed: bool, data: st.DataObject, rank: int, dtype: torch.dtype, groups: int, wanted: list[bool]
) -> None:
    batch, inside, outside = (data.draw(small) for _ in range(3))
    maps, kernel, padding = data.draw(each(rank, 3, 4, 6)), data.draw(each(rank, 1, 2, 3)), data.draw(each(rank, 0, 1))
    options = data.draw(each(rank, 1, 2)), padding, [1] * rank, transposed, [0] * rank, groups
    x = meta(batch, groups * inside, *maps, dtype=dtype)
    weight = meta(*(groups * inside, outside) if transposed else (groups * outside, inside), *kernel, dtype=dtype)
    try:
        y = aten.convolution.default(x, weight, None, *options)
    except RuntimeError:  # a transposed one may have no output
        return
    args = (y, x, weight, [groups * outside], *options, wanted)
    func = aten.convolution_backward.default
    if groups == 1:
        agree(func, args, real=on_cpu(func, args))
    else:  # which torch's counter does not know of
        takes_what_the_cpu_takes(func, args)


@share(3)
@given(
    data=st.data(),
    dtype=dtypes,
    shape=st.lists(st.sampled_from([2, 3, 4]), min_size=2, max_size=4),
    wanted=each(3, True, True, False).filter(any),
)
def test_norms(data: st.DataObject, dtype: torch.dtype, shape: list[int], wanted: list[bool]) -> None:
    kind = data.draw(st.sampled_from(["batch", "layer", "group"]))
    x = meta(*shape, dtype=dtype)

    def one(*sizes: int) -> Tensor:
        return meta(*sizes, dtype=dtype)

    args: tuple[Any, ...]
    if kind == "batch":
        train, weight, kept = data.draw(st.booleans()), one(shape[1]), one(shape[1])
        args = (x, x, weight, kept, kept, kept if train else one(0), kept if train else one(0), train, 1e-5, wanted)
    elif kind == "layer":
        inner = shape[data.draw(st.integers(1, len(shape) - 1)) :]
        outer = [*shape[: -len(inner)], *[1] * len(inner)]
        args = (x, x, inner, one(*outer), one(*outer), one(*inner), one(*inner), wanted)
    else:
        groups = data.draw(st.sampled_from([1, shape[1]]))
        pixels = x.numel() // (shape[0] * shape[1])
        args = (x, x, one(shape[0], groups), one(shape[0], groups), one(shape[1]), shape[0], shape[1], pixels, groups, wanted)
    func = getattr(aten, f"native_{kind}_norm_backward").default
    if wanted[0]:
        agree(func, args, real=on_cpu(func, args))
    else:  # the meta kernel makes the gradient of the input all the same
        takes_what_the_cpu_takes(func, args)


POOLS = ["max_pool", "avg_pool", "_adaptive_avg_pool", "adaptive_max_pool"]


@share(3)
@given(data=st.data(), rank=st.sampled_from([2, 3]), name=st.sampled_from(POOLS), dtype=dtypes)
def test_pools(data: st.DataObject, rank: int, name: str, dtype: torch.dtype) -> None:
    x = meta(data.draw(small), data.draw(small), *data.draw(each(rank, 4, 5, 7)), dtype=dtype)
    kernel, stride, padding = data.draw(each(rank, 2, 3)), data.draw(each(rank, 1, 2)), data.draw(each(rank, 0, 1))
    args: tuple[Any, ...]
    if name == "max_pool":
        window = (kernel, stride, padding, [1] * rank, False)
        y, indices = getattr(aten, f"max_pool{rank}d_with_indices").default(x, *window)
        func, args = getattr(aten, f"max_pool{rank}d_with_indices_backward").default, (y, x, *window, indices)
    elif name == "avg_pool":
        y = getattr(aten, f"avg_pool{rank}d").default(x, kernel, stride, padding)
        func, args = getattr(aten, f"avg_pool{rank}d_backward").default, (y, x, kernel, stride, padding, False, True, None)
    else:
        made = getattr(aten, f"{name}{rank}d").default(x, kernel)
        y, rest = (made, ()) if isinstance(made, Tensor) else (made[0], made[1:])
        func, args = getattr(aten, f"{name}{rank}d_backward").default, (y, x, *rest)
    agree(func, args, real=on_cpu(func, args))


@share(3)
@given(
    data=st.data(), rank=st.sampled_from([1, 2, 3]), kind=st.sampled_from(["reflection", "replication", "constant"]), dtype=dtypes
)
def test_paddings(data: st.DataObject, rank: int, kind: str, dtype: torch.dtype) -> None:
    x = meta(data.draw(small), data.draw(small), *data.draw(each(rank, 3, 4, 6)), dtype=dtype)
    padding = data.draw(each(2 * rank, 0, 1, 2))
    if kind == "constant":
        args: tuple[Any, ...] = (x, [data.draw(st.sampled_from([1, -1])) * size for size in padding], 0.0)
        agree(aten.constant_pad_nd.default, args, may_delegate=True, real=on_cpu(aten.constant_pad_nd.default, args))
        return
    y = getattr(aten, f"{kind}_pad{rank}d").default(x, padding)
    func = getattr(aten, f"{kind}_pad{rank}d_backward").default
    agree(func, (y, x, padding), real=on_cpu(func, (y, x, padding)))


RESIZING = ["nearest1d", "linear1d", "nearest2d", "bilinear2d", "bicubic2d", "nearest3d", "trilinear3d"]


@share(3)
@given(data=st.data(), name=st.sampled_from(RESIZING), dtype=dtypes)
def test_resizing(data: st.DataObject, name: str, dtype: torch.dtype) -> None:
    rank = int(name[-2])
    before, after = data.draw(each(rank, 2, 3, 6)), data.draw(each(rank, 1, 4, 6))
    batch, channels = data.draw(small), data.draw(small)
    y = meta(batch, channels, *after, dtype=dtype)
    args = (y, after, [batch, channels, *before], *(() if "nearest" in name else (False,)))
    func = getattr(aten, f"upsample_{name}_backward").default
    agree(func, args, real=on_cpu(func, args))


@share(3)
@given(data=st.data(), dtype=dtypes, shape=st.lists(st.sampled_from([2, 3, 4]), min_size=2, max_size=4))
def test_parts_and_softmax(data: st.DataObject, dtype: torch.dtype, shape: list[int]) -> None:
    x, dim = meta(*shape, dtype=dtype), data.draw(st.integers(0, len(shape) - 1))
    part = data.draw(laid_out([1 if axis == dim else size for axis, size in enumerate(shape)], dtype))
    doubled = meta(*(2 * size if axis == dim else size for axis, size in enumerate(shape)), dtype=dtype)
    func, args = data.draw(
        st.sampled_from(
            [
                (aten.slice_backward.default, (part, shape, dim, 1, 2, 1)),
                (aten.select_backward.default, (part.select(dim, 0), shape, dim, 1)),
                (aten._softmax_backward_data.default, (x, x, dim, dtype)),
                (aten._log_softmax_backward_data.default, (x, x, dim, dtype)),
                (aten.glu_backward.default, (x, doubled, dim)),
                (aten.log_sigmoid_backward.default, (x, x, x)),
                (aten._prelu_kernel_backward.default, (x, x, x)),
            ]
        )
    )
    # The CPU's softmax takes no single precision where a half is said to have come in.
    real = None if "softmax" in func.__name__ else on_cpu(func, args)
    agree(func, args, real=real)


@settings(max_examples=20)
@given(batch=st.integers(1, 4), classes=st.integers(1, 5), shape=sizes, dtype=dtypes)
def test_losses(batch: int, classes: int, shape: list[int], dtype: torch.dtype) -> None:
    x, target, total = meta(batch, classes, dtype=dtype), meta(batch, dtype=torch.int64), meta(dtype=dtype)
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (aten.nll_loss_forward.default, (x, target, None, 1, -100)),
        (aten.nll_loss_backward.default, (total, x, target, None, 1, -100, total)),
        (aten.mse_loss.default, (meta(*shape, dtype=dtype), meta(*shape, dtype=dtype))),
    ]
    for func, args in calls:
        agree(func, args, real=on_cpu(func, args))
