"""Which module is the first owner of each parameter and buffer: a shared one counts there, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from cnnprof.profiling.profile import Cost, Shape

Parameters: TypeAlias = Mapping[str, nn.Parameter | None]
Buffers: TypeAlias = Mapping[str, Tensor | None]
"""By name; None is none."""
Owned: TypeAlias = "tuple[int, int, int, int, tuple[Shape, ...], Parameters, Buffers]"
"""The elements of parameters, how many of these require a gradient, the bytes of parameters and of buffers, the shapes of the
parameters, and what all that is of. Hundreds are made for each profile, so it is no class."""

_T = TypeVar("_T", bound=Tensor)
_NONE: Mapping[str, Any] = MappingProxyType({})
NOTHING_OWNED: Owned = (0, 0, 0, 0, (), _NONE, _NONE)
_STRIDED = torch.strided
_ROWS, _COLUMNS = ("crow_indices", "col_indices", "values"), ("ccol_indices", "row_indices", "values")
_PARTS = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: _ROWS,
    torch.sparse_bsr: _ROWS,
    torch.sparse_csc: _COLUMNS,
    torch.sparse_bsc: _COLUMNS,
}
"""The methods that return what a sparse tensor is made of."""


def owned_by(modules: Iterable[nn.Module]) -> dict[nn.Module, Owned]:
    """What each module owns that none before it does, if anything."""
    owned: dict[nn.Module, Owned] = {}
    seen: list[int] = []
    for module in modules:
        parameters, buffers = module._parameters, module._buffers
        if parameters or buffers:
            owned[module] = _weighed(parameters, buffers, seen)
    return owned if len(set(seen)) == len(seen) else _first_owners(owned)


def _weighed(parameters: Parameters, buffers: Buffers, seen: list[int]) -> Owned:
    """All of these. Adds the `id` of each tensor to `seen`."""
    params = trainable = param_bytes = buffer_bytes = 0
    shapes: list[Shape] = []
    for parameter in parameters.values():
        if parameter is not None:
            seen.append(id(parameter))
            shapes.append(tuple(parameter.shape))
            elements = parameter.numel()
            params += elements
            if parameter.requires_grad:
                trainable += elements
            param_bytes += parameter.nbytes if parameter.layout is _STRIDED else _stored(parameter)
    for buffer in buffers.values():
        if buffer is not None:
            seen.append(id(buffer))
            buffer_bytes += buffer.nbytes if buffer.layout is _STRIDED else _stored(buffer)
    return params, trainable, param_bytes, buffer_bytes, tuple(shapes), parameters, buffers


def _stored(tensor: Tensor) -> int:
    """Bytes of a tensor of another layout: of a sparse one those of its values and of their places."""
    parts = _PARTS.get(tensor.layout)
    return tensor.nbytes if parts is None else sum([getattr(tensor, part)().nbytes for part in parts])


def _first_owners(owned: Mapping[nn.Module, Owned]) -> dict[nn.Module, Owned]:
    seen: set[int] = set()
    found: dict[nn.Module, Owned] = {}
    for module, (*_, parameters, buffers) in owned.items():
        new = _unseen(parameters, seen), _unseen(buffers, seen)
        if any(new):
            found[module] = _weighed(*new, [])
    return found


def _unseen(tensors: Mapping[str, _T | None], seen: set[int]) -> Mapping[str, _T]:
    new: dict[str, _T] = {}
    for name, tensor in tensors.items():
        if tensor is not None and id(tensor) not in seen:
            new[name] = tensor
            seen.add(id(tensor))
    return new


def owns(own: Owned) -> bool:
    """Whether there is any."""
    *_, parameters, buffers = own
    return any(tensor is not None for tensors in (parameters, buffers) for tensor in tensors.values())


def each(own: Owned) -> Iterator[tuple[str, str, Owned]]:
    """Each of them by itself: its name, what a row of it is called, and the one."""
    *_, parameters, buffers = own
    for name, parameter in parameters.items():
        if parameter is not None:
            yield name, "Parameter", _weighed({name: parameter}, _NONE, [])
    for name, buffer in buffers.items():
        if buffer is not None:
            yield name, "Buffer", _weighed(_NONE, {name: buffer}, [])


def alone(own: Owned) -> tuple[Cost, tuple[Shape, ...]]:
    """What they cost where nothing runs, and the shapes of the parameters."""
    params, trainable, param_bytes, buffer_bytes, shapes, _, _ = own
    return Cost(params, trainable, param_bytes=param_bytes, buffer_bytes=buffer_bytes), shapes


def together(parts: Iterable[Owned]) -> Owned:
    """The sums over all of them, for one row: what they are of is not in it."""
    params, trainable, param_bytes, buffer_bytes, shapes, *_ = zip(*parts, strict=True)
    return sum(params), sum(trainable), sum(param_bytes), sum(buffer_bytes), sum(shapes, ()), _NONE, _NONE
