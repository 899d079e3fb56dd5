"""The output rules of convolutions, pools, paddings and resizing against torch's kernels, for random configurations."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from agreement import agree, aten, dtypes, each, meta, on_cpu, share, small
from hypothesis import given, settings
from hypothesis import strategies as st

ODD = {"kernel": 0, "stride": 0, "padding": -1, "dilation": 0}
"""Values that are impossible wherever they stand."""


def spoiled(odd: str, **options: list[int]) -> list[list[int]]:
    """The options, of which the odd one has an impossible value."""
    return [[ODD[name], *values[1:]] if name == odd and values else values for name, values in options.items()]


@cache
def convolutions(rank: int) -> st.SearchStrategy[Any]:
    return st.tuples(
        dtypes,
        st.tuples(st.sampled_from([1, 1, 2, 3]), small, small, st.integers(1, 3)),  # groups, their channels, batch
        each(rank, 1, 4, 5, 7, 8, 9),  # map
        each(rank, 1, 1, 2, 3, 3, 5),  # kernel
        each(rank, 1, 1, 1, 2, 2, 3),  # stride
        each(rank, 0, 0, 1, 1, 2),  # padding
        each(rank, 1, 1, 1, 1, 2, 3),  # dilation
        each(rank, 0, 0, 0, 0, 1, 2),  # output padding
        st.sampled_from([*[""] * 12, *ODD, "no bias", "channels", "groups", "bias", "dtype"]),  # what is missing or wrong
    )


@pytest.mark.parametrize("transposed", [False, True], ids=["direct", "transposed"])
@given(data=st.data(), rank=st.sampled_from([1, 2, 3]))
def test_convolutions(transposed: bool, data: st.DataObject, rank: int) -> None:
    dtype, (groups, inside, outside, batch), *options, extra, odd = data.draw(convolutions(rank))
    sizes, kernel, stride, padding, dilation = options
    options = spoiled(odd, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    channels = inside * groups + (odd == "channels")
    first, second = (channels, outside) if transposed else (outside * groups, inside)
    x = meta(batch, channels if not transposed else inside * groups, *sizes, dtype=dtype)
    other = torch.float64 if odd == "dtype" and dtype is not torch.float64 else dtype
    weight = meta(first + (odd == "groups"), second, *options[0], dtype=other)
    bias = None if odd in ("no bias", "groups") else meta(outside * groups + (odd == "bias"), dtype=dtype)
    args = (x, weight, bias, *options[1:], transposed, extra if transposed else [0] * rank, groups)
    real = on_cpu(aten.convolution.default, args, keep=odd == "dtype")
    # Only without oneDNN, so for tiny maps, does torch keep a transposed output in a storage as large as its input.
    agree(aten.convolution.default, args, real=real, room_of_real=not (transposed and rank == 3))


def test_a_convolution_takes_any_layout() -> None:
    weight = meta(4, 3, 3, 3)
    options = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    for x in (meta(2, 5, 5, 3).permute(0, 3, 1, 2), meta(2, 6, 5, 5)[:, :3], meta(1, 3, 5, 5).expand(2, 3, 5, 5)):
        agree(aten.convolution.default, (x, weight, None, *options))


@cache
def windows(rank: int) -> st.SearchStrategy[Any]:
    return st.tuples(
        dtypes,
        st.sampled_from([(1,), (2,), ()]),  # batch
        st.integers(1, 3),  # channels
        each(rank, 1, 3, 4, 5, 6, 9),  # map
        each(rank, 1, 2, 2, 3, 3, 4),  # kernel
        st.one_of(st.just([]), each(rank, 1, 2, 3)),  # stride
        each(rank, 0, 0, 0, 1, 1, 2),  # padding
        each(rank, 1, 1, 1, 1, 2),  # dilation
        st.booleans(),  # ceil mode
        st.sampled_from([*[""] * 8, *ODD]),  # what is wrong
    )


@given(data=st.data(), rank=st.sampled_from([2, 3]))
def test_max_pools(data: st.DataObject, rank: int) -> None:
    dtype, batch, channels, sizes, *options, ceil, odd = data.draw(windows(rank))
    options = spoiled(odd, **dict(zip(ODD, options, strict=True)))
    func = aten.max_pool2d_with_indices.default if rank == 2 else aten.max_pool3d_with_indices.default
    args = (meta(*batch, channels, *sizes, dtype=dtype), *options, ceil)
    agree(func, args, real=on_cpu(func, args))


@given(data=st.data(), rank=st.sampled_from([2, 3]))
def test_average_pools(data: st.DataObject, rank: int) -> None:
    dtype, batch, channels, sizes, *options, ceil, odd = data.draw(windows(rank))
    kernel, stride, padding, _ = spoiled(odd, **dict(zip(ODD, options, strict=True)))
    divisor = data.draw(st.sampled_from([None, None, None, None, 2, 2, 0]))
    func = aten.avg_pool2d.default if rank == 2 else aten.avg_pool3d.default
    args = (meta(*batch, channels, *sizes, dtype=dtype), kernel, stride, padding, ceil, True, divisor)
    agree(func, args, real=on_cpu(func, args))


@given(data=st.data(), rank=st.sampled_from([2, 3]), pool=st.sampled_from(["_adaptive_avg_pool", "adaptive_max_pool"]))
def test_adaptive_pools(data: st.DataObject, rank: int, pool: str) -> None:
    dtype, batch, channels, sizes, *_ = data.draw(windows(rank))
    target = data.draw(each(rank, 1, 1, 2, 3, 5, 7, 8, 4, 0, -1))
    # Torch makes an empty output of a size of 0; no network does.
    agree(getattr(aten, f"{pool}{rank}d").default, (meta(*batch, channels, *sizes, dtype=dtype), target), may_delegate=0 in target)


@share(2)
@given(data=st.data(), rank=st.sampled_from([2, 3]))
def test_fractional_pools(data: st.DataObject, rank: int) -> None:
    dtype, batch, channels, sizes, kernel, *_ = data.draw(windows(rank))
    target = data.draw(each(rank, 1, 2, 3))
    func = aten.fractional_max_pool2d.default if rank == 2 else aten.fractional_max_pool3d.default
    args = (meta(*batch, channels, *sizes, dtype=dtype), kernel, target, meta(*(batch or (1,)), channels, rank, dtype=dtype))
    agree(func, args, real=on_cpu(func, args))


@share(2)
@given(data=st.data(), name=st.sampled_from(["im2col", "col2im"]))
def test_folding(data: st.DataObject, name: str) -> None:
    dtype, batch, channels, sizes, *drawn, _, odd = data.draw(windows(2))
    kernel, stride, padding, dilation = spoiled(odd, **dict(zip(ODD, drawn, strict=True)))
    options = (kernel, dilation, padding, stride or [1, 1])
    x = meta(*batch, channels, *sizes, dtype=dtype)
    if name == "im2col":
        # Where there is one window, the meta kernel returns a view whose strides are not those of the real output.
        agree(aten.im2col.default, (x, *options), real=on_cpu(aten.im2col.default, (x, *options)), layout_of_real=True)
        return
    wrong = data.draw(st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (0, 1)]))
    try:
        *_, elements, count = aten.im2col.default(x, *options).shape
    except (RuntimeError, ZeroDivisionError):
        elements, count = channels * kernel[0] * kernel[1], 4
    args = (meta(*batch, elements + wrong[0], count + wrong[1], dtype=dtype), sizes, *options)
    agree(aten.col2im.default, args, real=on_cpu(aten.col2im.default, args))


@given(data=st.data(), rank=st.sampled_from([1, 2, 3]), kind=st.sampled_from(["reflection", "replication"]))
def test_padding(data: st.DataObject, rank: int, kind: str) -> None:
    dtype, batch, channels, sizes, *_ = data.draw(windows(rank))
    padding = data.draw(each(2 * rank, 0, 0, 1, 1, 1, 2, 2, 3, -1))
    func = getattr(aten, f"{kind}_pad{rank}d").default
    args = (meta(*batch, channels, *sizes, dtype=dtype), padding)
    agree(func, args, may_delegate=min(padding) < 0, real=on_cpu(func, args))


SMOOTH = {
    1: ["upsample_linear1d"],
    2: ["upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"],
    3: ["upsample_trilinear3d"],
}


@cache
def resizing(rank: int, *values: int) -> st.SearchStrategy[Any]:
    return st.tuples(dtypes, small, small, each(rank, 1, 2, 4, 6, 9), each(rank, *values))


@given(data=st.data(), rank=st.sampled_from([1, 2, 3]), exact=st.booleans())
def test_resizing(data: st.DataObject, rank: int, exact: bool) -> None:
    dtype, batch, channels, sizes, target = data.draw(resizing(rank, 1, 2, 4, 8, 9, 0, -1))
    func = getattr(aten, f"{'_upsample_nearest_exact' if exact else 'upsample_nearest'}{rank}d").default
    args = (meta(batch, channels, *sizes, dtype=dtype), target)
    agree(func, args, real=on_cpu(func, args))


@given(data=st.data(), rank=st.sampled_from([1, 2, 3]), align=st.booleans())
@settings(max_examples=100)  # torch's meta kernels of these take up to 30 ms, and our rule is that of the test above
def test_smooth_resizing(data: st.DataObject, rank: int, align: bool) -> None:
    func = getattr(aten, data.draw(st.sampled_from(SMOOTH[rank]))).default
    dtype, batch, channels, sizes, target = data.draw(resizing(rank, 1, 2, 4, 8, 9))
    agree(func, (meta(batch, channels, *sizes, dtype=dtype), target, align))
