"""All other output rules against torch's kernels, for random configurations, possible and impossible ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from agreement import agree, aten, dtypes, laid_out, meta, on_cpu, share, small, usual
from hypothesis import given
from hypothesis import strategies as st

from cnnprof.operators.table import OUTPUTS


@cache
def matrices() -> st.SearchStrategy[Any]:
    odd = st.sampled_from(["", "", "", "", "inner", "batch", "bias", "dtype"])
    return st.tuples(st.sampled_from(["mm", "addmm", "bmm", "baddbmm"]), dtypes, small, small, small, st.integers(1, 9), odd)


@given(data=st.data())
def test_matrix_products(data: st.DataObject) -> None:
    name, dtype, batch, rows, columns, inner, odd = data.draw(matrices())
    front = [batch] if "b" in name else []
    x = data.draw(laid_out([*front, rows, inner], dtype))
    other = torch.float64 if odd == "dtype" and dtype is not torch.float64 else dtype
    y = data.draw(laid_out([*[size + (odd == "batch") for size in front], inner + (odd == "inner"), columns], other))
    bias = [*front, rows, columns] if front else [columns]
    args = (meta(*bias[:-1], columns + (odd == "bias"), dtype=dtype), x, y) if "add" in name else (x, y)
    func = getattr(aten, name).default
    agree(func, args, real=on_cpu(func, args, keep=True))


ACTIVATIONS: dict[str, list[tuple[float, ...]]] = {
    "abs": [()],
    "celu": [(), (0.5,), (0.0,)],
    "clamp": [(0, 6), (None, 1), (-1.0,), ()],  # type: ignore[list-item]
    "clamp_min": [(0,)],
    "clamp_max": [(0.5,)],
    "cos": [()],
    "elu": [(), (1.5, 1.0, 2.0)],
    "erf": [()],
    "exp": [()],
    "gelu": [()],
    "hardshrink": [(), (1,)],
    "hardsigmoid": [()],
    "hardswish": [()],
    "hardtanh": [(), (0, 6), (6, 0)],
    "leaky_relu": [(), (0.2,)],
    "log": [()],
    "mish": [()],
    "neg": [()],
    "reciprocal": [()],
    "relu": [()],
    "rsqrt": [()],
    "sgn": [()],
    "sigmoid": [()],
    "sign": [()],
    "silu": [()],
    "sin": [()],
    "softplus": [(), (2, 10)],
    "softshrink": [(), (-1,)],
    "sqrt": [()],
    "tanh": [()],
    "threshold": [(0, 0)],
    "pow.Tensor_Scalar": [(2,), (0.5,)],
    "add.Scalar": [(1,), (1.5, 2)],
    "sub.Scalar": [(1,)],
    "rsub.Scalar": [(1,)],
    "mul.Scalar": [(3,)],
    "div.Scalar": [(2,)],
    "log_sigmoid_forward": [()],
}
shapes = st.lists(st.integers(1, 4), min_size=0, max_size=5)


def overload(name: str) -> Any:
    packet, _, suffix = name.partition(".")
    return getattr(getattr(aten, packet), suffix or "default")


@given(data=st.data(), name=st.sampled_from(sorted(ACTIVATIONS)), shape=shapes, dtype=dtypes)
def test_activations(data: st.DataObject, name: str, shape: list[int], dtype: torch.dtype) -> None:
    args = (data.draw(laid_out(shape, dtype)), *data.draw(st.sampled_from(ACTIVATIONS[name])))
    agree(overload(name), args, real=on_cpu(overload(name), args))


IN_PLACE: dict[str, list[tuple[float, ...]]] = {
    **{
        name: options
        for name, options in ACTIVATIONS.items()
        if hasattr(aten, f"{name}_") and name not in {"cos", "erf", "log", "sgn", "sign", "sin", "gelu"}
    },
    "erfinv": [()],
    "zero": [()],
    "normal": [(), (0, 2.0), (0, -1.0)],
    "uniform": [(), (-1, 1), (1, -1)],
    "fill.Scalar": [(1.5,)],
    "add.Scalar": [(1,)],
    "sub.Scalar": [(1,)],
    "mul.Scalar": [(3,)],
    "div.Scalar": [(2,)],
    "pow.Scalar": [(2,)],
}


@share(2)
@given(data=st.data(), name=st.sampled_from(sorted(IN_PLACE)), shape=shapes, dtype=dtypes)
def test_operators_in_place(data: st.DataObject, name: str, shape: list[int], dtype: torch.dtype) -> None:
    packet, dot, suffix = name.partition(".")
    func = overload(f"{packet}_{dot}{suffix}")
    x = data.draw(laid_out(shape, dtype))
    args = (x, *data.draw(st.sampled_from(IN_PLACE[name])))
    # Torch refuses to write to an expanded tensor, but for threshold_, which forgets to look.
    agree(func, args, may_delegate=0 in x.stride(), real=on_cpu(func, args))


BINARY = ["add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum"]


@st.composite
def operands(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors, most of which broadcast, in all layouts."""
    dtype = draw(dtypes)
    shape = draw(shapes)
    other = [draw(st.sampled_from([size, size, size, 1, 1, 3])) for size in shape]
    x, y = draw(laid_out(shape, dtype)), draw(laid_out(other[draw(st.sampled_from([0, 0, 1])) :], dtype))
    return (x, y) if draw(st.booleans()) else (y, x)


@given(name=st.sampled_from(BINARY), pair=operands())
def test_two_tensors(name: str, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    # Where sizes of 1 have odd strides, the Python code behind the meta kernel and TensorIterator order dimensions differently.
    agree(overload(name), pair, real=on_cpu(overload(name), pair), layout_of_real=not usual(*pair))


@given(name=st.sampled_from(["add", "sub", "mul", "div"]), pair=operands())
def test_two_tensors_in_place(name: str, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    func = overload(f"{name}_.Tensor")
    agree(func, pair, real=on_cpu(func, pair))


@pytest.mark.parametrize("other", [2, 2.5, True])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_a_tensor_and_a_number(name: str, other: float) -> None:
    for func in (overload(f"{name}.Tensor"), overload(f"{name}_.Tensor")):
        agree(func, (meta(2, 3), other))


def test_the_counter_of_batch_norm() -> None:
    agree(aten.add_.Tensor, (meta(dtype=torch.int64), 1))
    for func, number in ((aten.add_.Tensor, 1.5), (aten.div_.Tensor, 2), (aten.mul_.Tensor, 2)):
        agree(func, (meta(dtype=torch.int64), number), may_delegate=True)


@cache
def joined() -> st.SearchStrategy[Any]:
    odd = st.sampled_from(["", "", "", "", "size", "rank", "dtype"])
    shape = st.lists(small, min_size=1, max_size=4)
    return st.tuples(dtypes, shape, st.lists(small, min_size=1, max_size=4), st.integers(-3, 2), odd)


@given(data=st.data(), name=st.sampled_from(["cat", "stack"]))
def test_joining(data: st.DataObject, name: str) -> None:
    dtype, shape, lengths, dim, odd = data.draw(joined())
    tensors = []
    for length in lengths:
        size = list(shape)
        if name == "cat" and -len(size) <= dim < len(size):
            size[dim] = length
        tensors.append(data.draw(laid_out(size, dtype)))
    if odd == "size":
        tensors[-1] = meta(*shape[:-1], shape[-1] + 1, dtype=dtype)
    if odd == "rank":
        tensors[-1] = meta(*shape, 2, dtype=dtype)
    if odd == "dtype":
        tensors[-1] = meta(*shape, dtype=torch.float64)
    func = overload(name)
    plain = odd != "dtype" and all(x.is_contiguous() for x in tensors)
    agree(func, (tensors, dim), may_delegate=not plain, real=on_cpu(func, (tensors, dim)))


@cache
def normalised() -> st.SearchStrategy[Any]:
    odd = st.sampled_from(["", "", "", "", "", "weight", "no weight", "dtype", "statistics"])
    sizes = st.lists(st.sampled_from([1, 2, 3, 5]), min_size=0, max_size=3)
    return st.tuples(dtypes, st.integers(1, 3), st.sampled_from([1, 2, 4, 6]), sizes, st.booleans(), odd)


@share(3)
@given(data=st.data())
def test_batch_norm(data: st.DataObject) -> None:
    dtype, batch, channels, sizes, training, odd = data.draw(normalised())
    x = data.draw(laid_out([batch, channels, *sizes], dtype))
    weight = None if odd == "no weight" else meta(channels + (odd == "weight"), dtype=torch.float64 if odd == "dtype" else dtype)
    kept = None if odd == "statistics" else meta(channels, dtype=dtype)
    args = (x, weight, weight, kept, kept, training, 0.1, 1e-5)
    # Mixed dtypes are left to torch, and so are wrong sizes: batch_norm checks them before it comes to this operator.
    plain = x.is_contiguous() and odd not in ("dtype", "weight") and (training or odd != "statistics")
    func = aten.native_batch_norm.default
    agree(func, args, may_delegate=not plain, real=on_cpu(func, args), layout_of_real=not training)


@share(3)
@given(data=st.data(), groups=st.sampled_from([1, 2, 3]))
def test_group_norm(data: st.DataObject, groups: int) -> None:
    dtype, batch, channels, sizes, _, odd = data.draw(normalised())
    x = data.draw(laid_out([batch, channels, *sizes], dtype))
    weight = None if odd == "no weight" else meta(channels, dtype=torch.float64 if odd == "dtype" else dtype)
    pixels = x.numel() // batch // channels + (odd == "weight")
    args = (x, weight, weight, batch, channels, pixels, groups, 1e-5)
    plain = x.is_contiguous() and odd != "dtype"
    real = on_cpu(aten.native_group_norm.default, args) if plain else None
    agree(aten.native_group_norm.default, args, may_delegate=not plain, real=real)


@share(3)
@given(data=st.data(), last=st.integers(0, 4))
def test_layer_norm(data: st.DataObject, last: int) -> None:
    dtype, batch, channels, sizes, _, odd = data.draw(normalised())
    x = data.draw(laid_out([batch, channels, *sizes], dtype))
    shape = list(x.shape[max(0, x.dim() - last) :])
    weight = None if odd == "no weight" else meta(*shape, dtype=torch.float64 if odd == "dtype" else dtype)
    normal = [size + (odd == "weight") for size in shape]
    args = (x, normal, weight, weight, 1e-5)
    agree(aten.native_layer_norm.default, args, may_delegate=odd == "dtype", real=on_cpu(aten.native_layer_norm.default, args))


@share(2)
@given(
    data=st.data(),
    name=st.sampled_from(["_softmax", "_log_softmax", "_safe_softmax"]),
    shape=shapes,
    dtype=dtypes,
    dim=st.integers(-3, 2),
)
def test_softmax(data: st.DataObject, name: str, shape: list[int], dtype: torch.dtype, dim: int) -> None:
    x = data.draw(laid_out(shape, dtype))
    args = (x, dim) if name == "_safe_softmax" else (x, dim, False)
    agree(overload(name), args, real=on_cpu(overload(name), args))


@share(2)
@given(
    data=st.data(),
    name=st.sampled_from(["mean.dim", "sum.dim_IntList", "amax", "mean", "sum"]),
    shape=shapes,
    dtype=dtypes,
    dims=st.lists(st.integers(-3, 2), max_size=2),
    keep=st.booleans(),
)
def test_reductions(data: st.DataObject, name: str, shape: list[int], dtype: torch.dtype, dims: list[int], keep: bool) -> None:
    x = data.draw(laid_out(shape, dtype))
    args = (x,) if name in {"mean", "sum"} else (x, dims, keep)
    agree(overload(name), args, may_delegate=not shape, real=on_cpu(overload(name), args))


@share(5)
@given(
    data=st.data(),
    name=st.sampled_from(["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"]),
    shape=st.lists(st.sampled_from([2, 3, 4, 6, 9, 12]), min_size=3, max_size=4),
    dtype=dtypes,
    factor=st.integers(0, 3),
)
def test_rearranging(data: st.DataObject, name: str, shape: list[int], dtype: torch.dtype, factor: int) -> None:
    x = data.draw(laid_out(shape, dtype))
    args = (x, factor)
    # Where no element moves, some of the meta kernels return a view; the real ones never do.
    agree(overload(name), args, may_delegate=not x.is_contiguous(), real=on_cpu(overload(name), args), layout_of_real=True)


@share(5)
@given(data=st.data(), shape=shapes, dtype=dtypes, repeats=st.lists(st.sampled_from([1, 1, 2, 3, 3, 2, 0]), min_size=2, max_size=5))
def test_repeating(data: st.DataObject, shape: list[int], dtype: torch.dtype, repeats: list[int]) -> None:
    args = (data.draw(laid_out(shape, dtype)), repeats)
    agree(aten.repeat.default, args, may_delegate=0 in repeats, real=on_cpu(aten.repeat.default, args))


@share(6)
@given(data=st.data(), shape=shapes, dtype=dtypes, dim=st.integers(-3, 2))
def test_glu(data: st.DataObject, shape: list[int], dtype: torch.dtype, dim: int) -> None:
    args = (data.draw(laid_out(shape, dtype)), dim)
    agree(aten.glu.default, args, may_delegate=not args[0].is_contiguous(), real=on_cpu(aten.glu.default, args))


@share(6)
@given(pair=operands())
def test_prelu(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    func = aten._prelu_kernel.default
    fits = zip(reversed(pair[0].shape), reversed(pair[1].shape), strict=False)
    plain = usual(*pair) and pair[0].dim() >= pair[1].dim() and all(slope in (1, size) for size, slope in fits)
    agree(func, pair, may_delegate=not plain, real=on_cpu(func, pair))


@share(6)
@given(data=st.data(), shape=shapes, dtype=dtypes, training=st.booleans(), in_place=st.booleans())
def test_rrelu(data: st.DataObject, shape: list[int], dtype: torch.dtype, training: bool, in_place: bool) -> None:
    x = data.draw(laid_out(shape, dtype))
    func = aten.rrelu_with_noise_.default if in_place else aten.rrelu_with_noise.default
    agree(func, (x, meta(*shape, dtype=dtype), 0.1, 0.3, training), may_delegate=0 in x.stride())


@share(5)
@given(rows=small, size=small, shape=shapes, dtype=dtypes, index=st.sampled_from([torch.int64, torch.int32, torch.float32]))
def test_embedding(rows: int, size: int, shape: list[int], dtype: torch.dtype, index: torch.dtype) -> None:
    args = (meta(rows, size, dtype=dtype), meta(*shape, dtype=index))
    agree(aten.embedding.default, args, real=on_cpu(aten.embedding.default, args))


@share(5)
@given(shape=st.lists(st.integers(-1, 4), max_size=5), dtype=st.sampled_from([None, torch.float16, torch.int64, torch.bool]))
def test_new_tensors(shape: list[int], dtype: torch.dtype | None) -> None:
    options = {"device": torch.device("meta"), "dtype": dtype}
    for name in ("empty.memory_format", "zeros", "ones", "rand", "randn"):
        if min(shape, default=0) >= 0 and (name not in {"rand", "randn"} or dtype in {None, torch.float16}):
            agree(overload(name), (shape,), options)
    if min(shape, default=0) < 0:
        with pytest.raises(RuntimeError):
            OUTPUTS["zeros"](shape, **options)


@share(5)
@given(data=st.data(), shape=shapes, dtype=dtypes, layout=st.sampled_from([None, torch.contiguous_format]))
def test_new_tensors_like_others(
    data: st.DataObject, shape: list[int], dtype: torch.dtype, layout: torch.memory_format | None
) -> None:
    x = data.draw(laid_out(shape, dtype))
    for name in ("empty_like", "zeros_like", "ones_like", "rand_like", "randn_like"):
        agree(overload(name), (x,), {"memory_format": layout})


def test_real_tensors_are_left_to_torch() -> None:
    x = torch.zeros(2, 3)
    for name, args in {
        "relu": (x,),
        "relu_": (x,),
        "add.Tensor": (meta(2, 3), torch.zeros(())),
        "empty_like": (x,),
        "cat": ([meta(2, 3), x],),
        "mm": (x, meta(3, 2)),
        "mean": (x,),
    }.items():
        assert OUTPUTS[name](*args) is None
