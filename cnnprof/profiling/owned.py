"""Which module is the first owner of each parameter and buffer: a shared one counts there, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from cnnprof.profiling.profile import Cost, Shape

_T = TypeVar("_T", bound=Tensor)
_NONE: Mapping[str, Any] = MappingProxyType({})


class Owned(NamedTuple):
    """Parameters and buffers by name; None is none."""

    parameters: Mapping[str, nn.Parameter | None] = _NONE
    buffers: Mapping[str, Tensor | None] = _NONE

    def __bool__(self) -> bool:
        """Whether there is one."""
        return any(tensor is not None for tensor in (*self.parameters.values(), *self.buffers.values()))

    def parts(self) -> Iterator[tuple[str, Owned]]:
        """Each of them by itself, with its name."""
        for name, parameter in self.parameters.items():
            if parameter is not None:
                yield name, Owned({name: parameter})
        for name, buffer in self.buffers.items():
            if buffer is not None:
                yield name, Owned({}, {name: buffer})

    @property
    def kind(self) -> str:
        """What a row of one of them is called."""
        return "Parameter" if self.parameters else "Buffer"

    def cost(
        self, products: int = 0, output_bytes: int = 0, unknown: tuple[str, ...] = (), retained: int = 0, peak: int = 0
    ) -> tuple[Cost, tuple[Shape, ...]]:
        """Elements and bytes of them, beside what their layer computes, retains and has live; and the shapes of the parameters."""
        params = trainable = param_bytes = buffer_bytes = 0
        shapes: list[Shape] = []
        for parameter in self.parameters.values():
            if parameter is not None:
                shapes.append(tuple(parameter.shape))
                elements = parameter.numel()
                params += elements
                if parameter.requires_grad:
                    trainable += elements
                param_bytes += parameter.nbytes
        for buffer in self.buffers.values():
            if buffer is not None:
                buffer_bytes += buffer.nbytes
        cost = Cost(params, trainable, products, output_bytes, param_bytes, buffer_bytes, unknown, retained, peak)
        return cost, tuple(shapes)


NOTHING_OWNED = Owned()


def together(parts: Iterable[Owned]) -> Owned:
    """All of them, under names that tell them apart."""
    parameters: dict[str, nn.Parameter | None] = {}
    buffers: dict[str, Tensor | None] = {}
    for number, part in enumerate(parts):
        parameters |= {f"{number}.{name}": parameter for name, parameter in part.parameters.items()}
        buffers |= {f"{number}.{name}": buffer for name, buffer in part.buffers.items()}
    return Owned(parameters, buffers)


def owned_by(modules: Iterable[nn.Module]) -> dict[nn.Module, Owned]:
    """What each module owns that none before it does, if anything."""
    owned: dict[nn.Module, Owned] = {}
    tensors: list[Tensor | None] = []
    for module in modules:
        parameters, buffers = module._parameters, module._buffers
        if parameters or buffers:
            owned[module] = Owned(parameters, buffers)
            tensors += parameters.values()
            tensors += buffers.values()
    seen = [id(tensor) for tensor in tensors if tensor is not None]
    return owned if len(set(seen)) == len(seen) else _first_owners(owned)


def _first_owners(owned: Mapping[nn.Module, Owned]) -> dict[nn.Module, Owned]:
    seen: set[int] = set()
    found = {module: Owned(_unseen(own.parameters, seen), _unseen(own.buffers, seen)) for module, own in owned.items()}
    return {module: own for module, own in found.items() if own.parameters or own.buffers}


def _unseen(tensors: Mapping[str, _T | None], seen: set[int]) -> Mapping[str, _T]:
    new = {name: tensor for name, tensor in tensors.items() if tensor is not None and id(tensor) not in seen}
    seen.update(map(id, new.values()))
    return new
