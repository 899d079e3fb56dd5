"""Tensors that stand for a module's parameters and buffers, so that a pass can change them and the module stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from cnnprof.errors import CnnprofError
from cnnprof.profiling.elsewhere import stand_in
from cnnprof.profiling.inputs import Given
from cnnprof.profiling.tensors import with_others


class SparseError(CnnprofError):
    """A sparse parameter or buffer: it has no storage of which a stand-in could have a copy."""


_Place: TypeAlias = "tuple[dict[str, Any], str, Tensor]"
"""Where a tensor is: a module's parameters or buffers, its name there, and the tensor."""


@dataclass(frozen=True, slots=True)
class StandIns:
    """What is put in the place of a module's own."""

    named: Mapping[str, Tensor]
    """Parameters and buffers by every name that they have. What is tied in the module is tied here."""
    parameters: tuple[nn.Parameter, ...]
    """Each once."""
    buffers: tuple[Tensor, ...]
    """Each once."""

    @property
    def dtype(self) -> torch.dtype:
        """That of the first parameter with fractions, torch's default where there is none."""
        return next((parameter.dtype for parameter in self.parameters if parameter.is_floating_point()), torch.get_default_dtype())


def stand_ins(modules: Mapping[nn.Module, str], device: torch.device) -> StandIns:
    """Copies of all parameters and buffers of the modules, given with their paths, on a device.

    Values are copied where there are any and where the device can hold them, and are zero where there are none; on meta, single
    integers keep theirs. Tensors that share a storage share one here. Raises SparseError for one that has none.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    made: dict[Tensor, Tensor] = {}
    named: dict[str, Tensor] = {}
    for module, path in modules.items():
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None:
                if tensor.layout is not torch.strided:
                    layout = str(tensor.layout).removeprefix("torch.")
                    raise SparseError(f"{path}.{name} is {layout}: a training pass needs dense tensors".lstrip("."))
                if tensor not in made:
                    made[tensor] = _copy(tensor, storages, device)
                named[f"{path}.{name}" if path else name] = made[tensor]
    distinct = list(made.values())
    return StandIns(
        named,
        tuple(tensor for tensor in distinct if isinstance(tensor, nn.Parameter)),
        tuple(tensor for tensor in distinct if not isinstance(tensor, nn.Parameter)),
    )


@contextmanager
def in_place_of(modules: Mapping[nn.Module, str], named: Mapping[str, Tensor]) -> Iterator[None]:
    """Puts stand-ins where the parameters and buffers of the modules are, by name, and these back afterwards.

    `torch.func.functional_call` does that for a forward pass alone; a checkpoint runs it again in the backward pass.
    """
    places: list[_Place] = []
    others: dict[int, Tensor] = {}
    for module, path in modules.items():
        start = f"{path}." if path else ""
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                other = named.get(start + name)
                if tensor is not None and other is not None and other is not tensor:
                    places.append((own, name, tensor))
                    others[id(tensor)] = other
    with _swapped(modules, places, others):
        yield


@contextmanager
def _swapped(modules: Iterable[nn.Module], places: Sequence[_Place], others: Mapping[int, Tensor]) -> Iterator[None]:
    """Puts others, by the `id` of each tensor, in these places, and the tensors back afterwards."""
    # A recurrent layer reads its weights from a list of its own.
    recurrent = [(module, module._flat_weights) for module in modules if isinstance(module, nn.RNNBase)] if places else []
    try:
        for own, name, tensor in places:
            own[name] = others[id(tensor)]
        for module, weights in recurrent:
            module._flat_weights = [others.get(id(weight), weight) for weight in weights]
        yield
    finally:
        for own, name, tensor in places:
            own[name] = tensor
        for module, weights in recurrent:
            module._flat_weights = weights


def materialized(given: Given, device: torch.device) -> Given:
    """The arguments of `forward` on a device: zeros where it holds numbers."""
    if device.type == "meta":
        return given

    def on_device(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor, device=device)

    args, kwargs = with_others(on_device, (given.args, dict(given.kwargs)))
    return replace(given, args=args, kwargs=kwargs)


def _copy(tensor: Tensor, storages: dict[int, torch.UntypedStorage], device: torch.device) -> Tensor:
    if device.type == "meta" and not tensor.dim() and not tensor.is_floating_point():
        device = torch.device("cpu")  # BatchNorm counts batches with such a number, and may compute with it in Python
    own = tensor.untyped_storage()
    if own._cdata not in storages and device.type == "meta":
        whole = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        if whole.untyped_storage().nbytes() == own.nbytes():  # as of most tensors, and sooner made than a view of it
            storages[own._cdata] = whole.untyped_storage()
            return _like(tensor, whole)
    if own._cdata not in storages:
        storages[own._cdata] = torch.zeros(own.nbytes(), dtype=torch.uint8, device=device).untyped_storage()
        if device.type != "meta" and own.device.type != "meta":
            storages[own._cdata].copy_(own)
    part = torch.empty(0, dtype=tensor.dtype, device=device)
    part.set_(storages[own._cdata], tensor.storage_offset(), tensor.shape, tensor.stride())
    return _like(tensor, part)


def _like(tensor: Tensor, copy: Tensor) -> Tensor:
    """The copy as a parameter where the tensor is one."""
    return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy


_LAZY = frozenset({UninitializedParameter, UninitializedBuffer})


@contextmanager
def without_data(modules: Collection[nn.Module]) -> Iterator[None]:
    """Puts tensors without data where parameters and buffers have some, and these back afterwards. What is tied stays tied."""
    places = list(_with_data(modules))
    others: dict[int, Tensor] = {}
    for _, _, tensor in places:
        if id(tensor) not in others:
            others[id(tensor)] = stand_in(tensor)
    with _swapped(modules, places, others):
        yield


def _with_data(modules: Iterable[nn.Module]) -> Iterator[_Place]:
    """Where parameters and buffers are that have data, and their names there."""
    for module in modules:
        for own in (module._parameters, module._buffers):
            if not own:
                continue
            for name, tensor in own.items():
                if tensor is None or (tensor.is_meta and type(tensor) not in _LAZY):
                    continue
                if type(tensor) in _LAZY:
                    raise CnnprofError("a lazy module gets its sizes from its first call: run it once on an input")
                if not isinstance(module, torch.jit.ScriptModule):  # which has them in C++
                    yield own, name, tensor
