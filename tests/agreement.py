"""Compares an operator's rules with torch: the output with the meta kernel, the products with the FLOP counter.

What the rule refuses torch has to refuse, and the other way round. Torch's meta kernels check less than its real ones, so a family
can ask for the kernel of the CPU as a second judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from cnnprof.operators import MetaMode, ShapeError, products_of, rule

aten = torch.ops.aten
FLOATS = (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)
dtypes = st.sampled_from(FLOATS)
small = st.integers(1, 4)

Args = Sequence[Any]
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


def share(parts: int) -> settings:
    """For one of so many tests among which a family of operators divides its examples."""
    assert settings.default is not None
    return settings(max_examples=math.ceil(settings.default.max_examples / parts))


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def each(rank: int, *values: int) -> st.SearchStrategy[list[int]]:
    """One of the values for each dimension. A value that stands there twice comes twice as often."""
    return st.tuples(*[st.sampled_from(values)] * rank).map(list)


@st.composite
def laid_out(draw: st.DrawFn, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of that shape, in one of the layouts in which networks pass them on."""
    kind = draw(st.sampled_from(["contiguous", "contiguous", "permuted", "sliced", "expanded"]))
    rank = len(shape)
    if kind == "contiguous" or not rank:
        return meta(*shape, dtype=dtype)
    if kind == "permuted":
        order = draw(st.permutations(range(rank)))
        return meta(*(shape[axis] for axis in order), dtype=dtype).permute([order.index(axis) for axis in range(rank)])
    axis = draw(st.integers(0, rank - 1))
    if kind == "sliced":
        larger = [size + 2 * (i == axis) for i, size in enumerate(shape)]
        return meta(*larger, dtype=dtype).narrow(axis, 1, shape[axis])
    return meta(*(1 if i == axis else size for i, size in enumerate(shape)), dtype=dtype).expand(list(shape))


def usual(*tensors: Tensor) -> bool:
    """Whether they are laid out as new tensors are, in the strides of sizes of 1 too."""
    return all(x.stride() == meta(*x.shape).stride() for x in tensors)


def tensors_of(output: Any) -> list[Tensor]:
    """Those among what an operator returned: of gradients that were not wanted there are none."""
    return [x for x in tree_leaves(output) if isinstance(x, Tensor)]


def described(output: Any) -> list[Layout]:
    """Shape, strides and dtype of each tensor. The stride of a size of 1 is never used, and kernels differ in it."""
    return [
        (
            tuple(x.shape),
            tuple(stride if size > 1 else 0 for size, stride in zip(x.shape, x.stride(), strict=True)),
            x.dtype,
        )
        for x in tensors_of(output)
    ]


def agree(
    func: Any,
    args: Args,
    kwargs: Mapping[str, Any] | None = None,
    *,
    may_delegate: bool = False,
    real: Callable[[], object] | None = None,
    layout_of_real: bool = False,
    room_of_real: bool = True,
) -> None:
    """Asserts that rule and torch return the same, cost the same, or both refuse.

    `may_delegate`: the rule may leave it to torch's kernel although torch accepts it. `real` calls the kernel of the CPU, which
    checks more than that of the meta device and takes the memory that the rule has to take, or does not for `room_of_real`;
    `layout_of_real`: its shapes and strides are right and the meta kernel's are not.
    """
    kwargs = kwargs or {}
    known = rule(func)
    assert known is not None
    assert known.output is not None
    expected, counted, refused = _torch(func, args, kwargs)
    layouts = described(expected)
    rooms = [math.prod(shape) for shape, _, _ in layouts]
    if real is not None and not refused:
        result, refused = _try(real)
        if not refused:
            shapes, strides, _ = zip(*described(result), strict=True)
            assert layout_of_real or list(shapes) == [shape for shape, _, _ in layouts]
            if layout_of_real:
                layouts = [(*layout, dtype) for *layout, (_, _, dtype) in zip(shapes, strides, layouts, strict=True)]
            if room_of_real:
                rooms = [x.untyped_storage().nbytes() // x.element_size() for x in tensors_of(result)]
    try:
        made = known.output(*args, **kwargs)
    except ShapeError as error:
        _readable(str(error), refused)
        return
    if made is None:
        assert refused or may_delegate, "the rule leaves a plain case to torch"
        return
    assert not refused, "the rule accepts what torch refuses"
    assert described(made) == layouts
    inputs = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
    for ours, theirs, room in zip(tensors_of(made), tensors_of(expected), rooms, strict=True):
        assert ours.is_meta
        assert (ours is args[0]) == (theirs is args[0])
        assert ours is args[0] or ours.untyped_storage()._cdata not in inputs
        assert ours is args[0] or ours.untyped_storage().nbytes() == room * ours.element_size()
    terms = products_of(func, args, kwargs, made)
    assert terms is not None
    assert sum(math.prod(term) for term in terms) == counted


def _readable(message: str, refused: bool) -> None:
    assert refused, f"torch accepts what the rule refuses: {message}"
    assert "\n" not in message
    assert 0 < len(message) < 120


def _torch(func: Any, args: Args, kwargs: Mapping[str, Any]) -> tuple[Any, int, bool]:
    with FlopCounterMode(display=False) as counter:
        try:
            output = func(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError, TypeError, ZeroDivisionError, NotImplementedError, AssertionError):
            return None, 0, True
    return output, counter.get_total_flops() // 2, False


def _try(call: Callable[[], object]) -> tuple[object, bool]:
    try:
        return call(), False
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None, True


def on_cpu(func: Any, args: Args, kwargs: Mapping[str, Any] | None = None, keep: bool = False) -> Callable[[], object]:
    """The same call on real numbers: single precision, for which the CPU has every kernel, or `keep` the dtypes.

    In torch's own kernels, for oneDNN's take some impossible arguments, depending on the batch size.
    """

    def real(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = torch.float32 if value.is_floating_point() and not keep else value.dtype
        elements = value.untyped_storage().nbytes() // value.element_size()
        return torch.zeros(elements, dtype=dtype).as_strided(value.shape, value.stride(), value.storage_offset())

    def call() -> object:
        before = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        try:
            return func(*tree_map(real, list(args)), **tree_map(real, dict(kwargs or {})))
        finally:
            torch._C._set_mkldnn_enabled(before)

    return call


class Counting(MetaMode):
    """Adds up the products of all operators, and keeps the names of those that are unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.seen: set[str] = set()
        self.unknown: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = self.answer(func, args, kwargs or {})
        terms = products_of(func, args, kwargs or {}, output)
        self.seen.add(func.name())
        if terms is None:
            self.unknown.add(func.name())
        self.products += sum(math.prod(term) for term in terms or ())
        return output
