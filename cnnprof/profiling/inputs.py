"""What the network is given: shapes, or examples, as tensors without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import Shape
from cnnprof.profiling.tensors import tensors_in, with_others
from cnnprof.spec.input import InputOption

Inputs: TypeAlias = "Shape | Sequence[Shape] | Tensor | Sequence[Any] | Mapping[str, Any]"


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of `forward` on the meta device."""

    shapes: tuple[Shape, ...]
    """Of every tensor, without the batch dimension."""
    batch: int
    dtype: str
    """Of the first tensor with fractions, else that of the network."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def inputs_for(inputs: Inputs | Given, batch: int, dtype: torch.dtype) -> Given:
    """The arguments that `inputs` stands for. Shapes get the batch size and the dtype, examples keep their own.

    Raises UsageError for what is neither a shape nor an example.
    """
    if isinstance(inputs, Given):
        return inputs
    if not isinstance(batch, int) or batch < 1:
        raise UsageError(f"the batch is a number of at least 1, not {batch!r}")
    if not isinstance(dtype, torch.dtype):
        raise UsageError(f"dtype is a torch.dtype such as torch.float16, not {dtype!r}")
    if isinstance(inputs, Tensor):
        if batch not in (1, *inputs.shape[:1]):
            raise UsageError(f"the batch is that of the example, {inputs.shape[0] if inputs.ndim else 1}, not {batch}")
    elif not isinstance(inputs, Mapping | Sequence) or isinstance(inputs, str) or not inputs:
        raise UsageError(f"the input is a shape such as (3, 224, 224), a tensor, or several of them, not {inputs!r}")
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(inputs, Mapping):
        kwargs = dict(inputs)
    elif isinstance(inputs, Tensor | PackedSequence) or _is_shape(inputs):
        args = (inputs,)
    else:
        args = tuple(inputs)
    if tensors_in((args, kwargs)):  # an example: a list of numbers is what `forward` gets
        args, kwargs = with_others(_on_meta, (args, kwargs))
        return _given(args, kwargs, dtype)

    def shaped(value: Any) -> Any:
        return _shaped(value, batch, dtype) if _is_shape(value) else value

    return _given(tuple(map(shaped, args)), {name: shaped(value) for name, value in kwargs.items()}, dtype)


def given_for(options: Sequence[InputOption], batch: int, dtype: torch.dtype) -> Given:
    """The arguments that `--input` options stand for, those without a name by position."""
    made = [
        (option.name, _shaped(option.shape, batch, getattr(torch, option.dtype) if option.dtype else dtype)) for option in options
    ]
    named = {name: tensor for name, tensor in made if name is not None}
    return _given(tuple(tensor for name, tensor in made if name is None), named, dtype)


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any], dtype: torch.dtype) -> Given:
    tensors = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_meta]
    fractional = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    first = fractional if fractional is not None else next(iter(tensors), None)
    batch = first.shape[0] if first is not None and first.ndim else 1
    return Given(
        tuple(of_sample(tuple(tensor.shape), batch) for tensor in tensors),
        batch,
        str(dtype if fractional is None else fractional.dtype).removeprefix("torch."),
        args,
        kwargs,
    )


def of_sample(shape: Shape, batch: int) -> Shape:
    """The shape without the dimension that counts the samples of a batch: mostly the first.

    A recurrent layer has its state's layers before it, an attention its heads. What has no such dimension is as it is: a table of
    positions, and maps whose windows a network has put into one dimension with the samples.
    """
    if shape[:1] == (batch,):
        return shape[1:]
    if batch in shape and (batch < 2 or shape[0] % batch):
        place = shape.index(batch)
        return shape[:place] + shape[place + 1 :]
    return shape


def _is_shape(value: Any) -> bool:
    """Whether it is a shape. Raises UsageError where it is none, but of numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return False
    if all(isinstance(size, int | float) for size in value) and any(type(size) is not int for size in value):
        raise UsageError(f"the sizes of an input are whole numbers, not {value!r}")
    return all(type(size) is int for size in value)


def _shaped(shape: Sequence[int], batch: int, dtype: torch.dtype) -> Tensor:
    if min(shape) < 1:
        raise UsageError(f"the sizes of an input are at least 1, not {'x'.join(map(str, shape))}")
    try:
        return torch.empty((batch, *shape), device="meta", dtype=dtype)
    except (RuntimeError, OverflowError, TypeError):
        raise UsageError(f"an input of {batch}x{'x'.join(map(str, shape))} is too large") from None


def _on_meta(tensor: Tensor) -> Tensor:
    # torch's empty_like of a meta tensor imports sympy.
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
