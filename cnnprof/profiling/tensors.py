"""The tensors in the arguments and the results of a network, in structures of any kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import SUPPORTED_NODES, tree_leaves, tree_map

_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a structure of any kind, in order."""
    # Mostly it is one tensor, or the arguments of a call: one tensor in a tuple.
    one = value[0] if type(value) is tuple and len(value) == 1 else value
    if type(one) is Tensor and not _is_wrapped(one):
        return [one]
    found: list[Tensor] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        while _is_wrapped(value):
            value = torch._C._functorch.get_unwrapped(value)  # what vmap and grad hand on has no storage
        found.append(value)
    elif isinstance(value, tuple | list):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            _collect(getattr(value, part.name, None), found)
    elif type(value) in SUPPORTED_NODES:
        for leaf in tree_leaves(value):
            _collect(leaf, found)


def with_others(other: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same structure with another tensor in the place of each.

    Of a packed sequence the batch sizes stay: they are values, even if the sequence has none.
    """

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return other(leaf)
        if isinstance(leaf, PackedSequence):
            data, sizes, *order = leaf
            return PackedSequence(other(data), sizes, *[None if indices is None else other(indices) for indices in order])
        if not tensors_in(leaf):
            return leaf
        made = copy.copy(leaf)
        if isinstance(leaf, MutableMapping):
            made.update((key, with_others(other, item)) for key, item in leaf.items())
        elif is_dataclass(leaf):
            for part in fields(leaf):
                object.__setattr__(made, part.name, with_others(other, getattr(leaf, part.name, None)))  # it may be frozen
        return made

    return tree_map(change, value, is_leaf=lambda node: isinstance(node, PackedSequence))
