"""Which module is the first owner of each parameter and buffer: a shared one counts there, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn

from cnnprof.profiling.profile import Cost, Shape

Owned: TypeAlias = "tuple[Mapping[str, nn.Parameter | None], Mapping[str, Tensor | None]]"
"""Parameters and buffers by name; None is none. Hundreds are made for each profile, so it is no class."""

_T = TypeVar("_T", bound=Tensor)
_NONE: Mapping[str, Any] = MappingProxyType({})
NOTHING_OWNED: Owned = (_NONE, _NONE)


def owns(own: Owned) -> bool:
    """Whether there is any."""
    return any(tensor is not None for tensors in own for tensor in tensors.values())


def each(own: Owned) -> Iterator[tuple[str, str, Owned]]:
    """Each of them by itself: its name, what a row of it is called, and the one."""
    parameters, buffers = own
    for name, parameter in parameters.items():
        if parameter is not None:
            yield name, "Parameter", ({name: parameter}, _NONE)
    for name, buffer in buffers.items():
        if buffer is not None:
            yield name, "Buffer", (_NONE, {name: buffer})


def cost_of(
    own: Owned, products: int = 0, output_bytes: int = 0, unknown: tuple[str, ...] = (), retained: int = 0, peak: int = 0
) -> tuple[Cost, tuple[Shape, ...]]:
    """Elements and bytes of them, beside what their layer computes, retains and has live; and the shapes of the parameters."""
    parameters, buffers = own
    params = trainable = param_bytes = buffer_bytes = 0
    shapes: list[Shape] = []
    for parameter in parameters.values():
        if parameter is not None:
            shapes.append(tuple(parameter.shape))
            elements = parameter.numel()
            params += elements
            if parameter.requires_grad:
                trainable += elements
            param_bytes += parameter.nbytes
    for buffer in buffers.values():
        if buffer is not None:
            buffer_bytes += buffer.nbytes
    cost = Cost(params, trainable, products, output_bytes, param_bytes, buffer_bytes, unknown, retained, peak)
    return cost, tuple(shapes)


def together(parts: Iterable[Owned]) -> Owned:
    """All of them, under names that tell them apart."""
    parameters: dict[str, nn.Parameter | None] = {}
    buffers: dict[str, Tensor | None] = {}
    for number, (some, others) in enumerate(parts):
        parameters |= {f"{number}.{name}": parameter for name, parameter in some.items()}
        buffers |= {f"{number}.{name}": buffer for name, buffer in others.items()}
    return parameters, buffers


def owned_by(modules: Iterable[nn.Module]) -> dict[nn.Module, Owned]:
    """What each module owns that none before it does, if anything."""
    owned: dict[nn.Module, Owned] = {}
    tensors: list[Tensor | None] = []
    for module in modules:
        parameters, buffers = module._parameters, module._buffers
        if parameters or buffers:
            owned[module] = parameters, buffers
            tensors += parameters.values()
            tensors += buffers.values()
    seen = [id(tensor) for tensor in tensors if tensor is not None]
    return owned if len(set(seen)) == len(seen) else _first_owners(owned)


def _first_owners(owned: Mapping[nn.Module, Owned]) -> dict[nn.Module, Owned]:
    seen: set[int] = set()
    found = {module: (_unseen(parameters, seen), _unseen(buffers, seen)) for module, (parameters, buffers) in owned.items()}
    return {module: own for module, own in found.items() if any(own)}


def _unseen(tensors: Mapping[str, _T | None], seen: set[int]) -> Mapping[str, _T]:
    new = {name: tensor for name, tensor in tensors.items() if tensor is not None and id(tensor) not in seen}
    seen.update(map(id, new.values()))
    return new
