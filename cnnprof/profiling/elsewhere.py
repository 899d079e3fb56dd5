"""What happens in a pass on the meta device to tensors that live elsewhere: constants that a module keeps, or makes as it runs.

They keep their values, by which a forward pass may decide. Where one meets a tensor without data, a stand-in takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from cnnprof.errors import CnnprofError

_META = torch.device("meta")
_PLAIN = frozenset({Tensor, nn.Parameter})


class PlacementError(CnnprofError):
    """A tensor without data that is to be written into one that has data."""


def stand_in(tensor: Tensor) -> Tensor:
    """A tensor without data of its shape, dtype and strides; itself where it has none."""
    if tensor.is_meta:
        return tensor
    if type(tensor) in _PLAIN and tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested:
        # Several times as fast as empty_like, of which a network has hundreds.
        sizes, dtype, learns = tensor.shape, tensor.dtype, tensor.requires_grad
        if len(sizes) == 1 and tensor.is_contiguous():
            return torch.empty(*sizes, dtype=dtype, device=_META, requires_grad=learns)
        return torch.empty_strided(sizes, tensor.stride(), dtype=dtype, device=_META, requires_grad=learns)
    return torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)


def met(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]] | None:
    """The arguments of an operator with all tensors on meta, where only some of them are there; None where there is nothing to do.

    An operator that moves its input to another device, `x.to(device)`, leaves it on meta. Raises PlacementError for one that writes
    into a tensor that lives elsewhere: what it holds afterwards would be made up.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not any(tensor.is_meta for tensor in tensors):
        return None
    moves = kwargs.get("device") not in (None, torch.device("meta"))
    if not moves and all(tensor.is_meta for tensor in tensors):
        return None
    for tensor in _written(func, args, kwargs):
        if not tensor.is_meta:
            name = func.__name__.partition(".")[0]
            raise PlacementError(f"{name} writes the network's values into a tensor on the {tensor.device}")
    moved = {**tree_map_only(Tensor, stand_in, dict(kwargs)), **({"device": torch.device("meta")} if moves else {})}
    return tree_map_only(Tensor, stand_in, tuple(args)), moved


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operator changes, by its schema; a higher-order operator has none."""
    schema = getattr(func, "_schema", None)
    for number, argument in enumerate(schema.arguments if schema else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
