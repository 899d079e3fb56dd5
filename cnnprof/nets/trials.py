"""Whether a layer really runs: it is built with values that fit its arguments' types and given a small tensor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from cnnprof.spec.vocabulary import Parameter, split_type

MAX_RANK = 4
"""Axes that an input can have beside the batch: channels, depth, height, width."""

BATCH = 3
"""Differs from SIZE, so that torch cannot take a batch for one sample without a batch."""
SIZE = 4
"""Of every other axis: the channels divide into groups, the map holds a window, a row of 2x2 blocks folds."""


def sample(rank: int) -> Tensor:
    """A batch of tensors with that many axes."""
    return torch.linspace(-1, 1, BATCH * SIZE**rank).reshape(BATCH, *[SIZE] * rank)


def example(
    cls: type[nn.Module], parameters: Sequence[Parameter], told: Mapping[str, str], rank: int, **fixed: Any
) -> dict[str, Any] | None:
    """Arguments with which the layer turns inputs of that rank into tensors of the same batch, or None.

    `fixed` are arguments to use as they are.
    """
    known = {"channels": SIZE, "size": (SIZE,) * (rank - 1)}
    given = {name: known[what] for name, what in told.items()} | fixed
    for arguments in _candidates(parameters, given, one_more=not fixed):
        output = run(cls, arguments, sample(rank))
        if output is not None:
            # The first that runs decides: by chance, another may give as many channels as the batch had samples.
            return arguments if output.dim() > 1 and len(output) == BATCH else None
    return None


def run(cls: type[nn.Module], arguments: Mapping[str, Any], x: Tensor) -> Tensor | None:
    """What the layer, built so, makes of the tensor; None where it refuses it or gives no tensor."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = cls(**arguments).eval()(x)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, NotImplementedError, ZeroDivisionError):
        return None
    return output if isinstance(output, Tensor) else None


def _candidates(parameters: Sequence[Parameter], given: Mapping[str, Any], one_more: bool) -> Iterator[dict[str, Any]]:
    """Values for what is required; then, where wanted, the same with one of the optional arguments set too."""
    free = [parameter for parameter in parameters if parameter.name not in given]
    required = [parameter for parameter in free if parameter.required]
    extras = [parameter for parameter in free if not parameter.required] if one_more else []
    for chosen in [required, *([*required, extra] for extra in extras)]:
        for values in product(*(list(values_of(parameter)) for parameter in chosen)):
            yield {**given, **dict(zip((parameter.name for parameter in chosen), values, strict=True))}


def values_of(parameter: Parameter) -> Iterator[Any]:
    """Small values of each of the types that the parameter takes."""
    for kind in parameter.types:
        element, length = split_type(kind)
        if kind == "choice":
            yield from parameter.choices
        elif length is None:
            yield from _SCALARS[element]
        elif length:
            yield from ((value,) * int(length) for value in _SCALARS[element][:2])
        else:
            yield from _LISTS


_SCALARS: Mapping[str, Sequence[Any]] = {
    "int": (2, 1, 3, 4, -1),
    "int?": (None, 2),
    "float": (0.5, 2.0),
    "bool": (True, False),
    "null": (None,),
}
# The last ones reverse the axes of an input, for Permute.
_LISTS = [(2, 2), (-1,), *(tuple(reversed(range(rank))) for rank in range(1, MAX_RANK + 1))]
