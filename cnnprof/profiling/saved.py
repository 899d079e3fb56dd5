"""What autograd keeps of a forward pass for the backward pass, read off its graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

from cnnprof.profiling.ledger import Place
from cnnprof.profiling.profile import Shape
from cnnprof.profiling.tensors import tensors_in


class Saved(NamedTuple):
    """A tensor that an operator's backward needs."""

    operator: str
    """Whose backward: `convolution`."""
    role: str
    """What it is to the operator, as torch names it: `input`, `weight`, `result`."""
    shape: Shape
    """With the batch dimension."""
    dtype: str
    allocation: int
    """Its storage, by the number in the trace."""
    place: Place | None
    """The module in which the operator ran; None outside of all, as for the loss."""


def saved_for_backward(result: Tensor, number: Callable[[Tensor], int | None], place: Callable[[int], Place | None]) -> list[Saved]:
    """What the graph behind a result keeps, in the order of the forward pass.

    A storage stands there once for every backward that needs it. `number` gives the allocation behind a tensor, `place` the call
    behind a node's number. The graph is only read: `saved_tensors_hooks` would replace what it keeps by what the hooks return.
    """
    found: list[Saved] = []
    for node in sorted(_nodes(result.grad_fn), key=lambda node: node._sequence_nr()):
        for role, tensor in _kept(node):
            allocation = number(tensor)
            if allocation is not None:
                shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
                found.append(Saved(_operator(node.name()), role, shape, dtype, allocation, place(node._sequence_nr())))
    return found


def _nodes(start: Any) -> Iterator[Any]:
    waiting, seen = [start], {start}
    while waiting:
        node = waiting.pop()
        yield node
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def _kept(node: Any) -> Iterator[tuple[str, Tensor]]:
    kind: Any = type(node)
    for attribute in _attributes(kind):
        if hooks := _hooks(node, attribute):
            yield from _checkpointed(hooks)
            continue
        value = getattr(node, attribute)
        role = attribute.removeprefix("_saved_").removeprefix("saved_")
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor):
                yield role, tensor


def _hooks(node: Any, attribute: str) -> list[Any]:
    """The hooks that keep something else in place of a tensor, as those of a checkpoint: to ask for it would compute it."""
    raw = getattr(node, f"_raw{attribute}", None)
    hooks = [getattr(one, "unpack_hook", None) for one in (raw if isinstance(raw, tuple | list) else (raw,))]
    return [hook for hook in hooks if hook is not None]


def _checkpointed(hooks: Iterable[Any]) -> Iterator[tuple[str, Tensor]]:
    """The inputs that a checkpoint keeps to compute the rest again: its hooks hold on to what asks for them."""
    for hook in hooks:
        for cell in getattr(hook, "__closure__", None) or ():
            inputs = getattr(cell.cell_contents, "get_inputs", None)
            if callable(inputs):
                yield from (("input of a checkpoint", tensor) for tensor in tensors_in(inputs()))


@cache
def _attributes(node_type: type) -> tuple[str, ...]:
    """Those that hold tensors: `_saved_weight`, and `saved_tensors` of functions written in Python."""
    return tuple(name for name in dir(node_type) if name.startswith("_saved_") or name == "saved_tensors")


def _operator(name: str) -> str:
    """`MaxPool2DWithIndicesBackward0` is the node of `max_pool2d_with_indices`."""
    return _WORDS.sub("_", name.rstrip("0123456789").removesuffix("Backward")).lower()


_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")
"""The places between words."""
