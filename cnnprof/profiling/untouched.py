"""Puts back what a pass over a module may change: the attributes of the modules, and the state of the random numbers."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnprof.profiling.trace import is_torchs

_CONTAINERS = frozenset({dict, list, set, OrderedDict, defaultdict, deque})


class _State(NamedTuple):
    attributes: dict[str, Any]
    """The module's own dictionary."""
    values: dict[str, Any]
    """What was in it."""
    contents: list[tuple[Any, Any]]
    """Containers among the values, and what was in them, one level deep: parameters, hooks, the caches of a user's module."""


@contextmanager
def untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Lets code run that may set attributes, fill caches, register hooks and draw random numbers, and undoes that afterwards.

    A forward pass that caches a tensor on its module would otherwise leave one without data there. Parameters and buffers of
    the modules are put back, their values are not: what runs has to be given others.
    """
    torchs, users = [], []
    for module in modules:
        attributes = module.__dict__
        if is_torchs(type(module)):
            torchs.append((attributes, attributes.copy()))  # its layers keep nothing of what they see
        else:
            users.append(_state(attributes))
    first_hook = RemovableHandle.next_id
    numpy: Any = sys.modules.get("numpy.random")
    drawn = random.getstate(), numpy.get_state() if numpy else None
    # Asking for the devices of one that no one has used would start it, which takes seconds.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(drawn[0])
        if numpy:
            numpy.set_state(drawn[1])
        for attributes, values in torchs:
            if not _same(attributes, values):
                _put_back(attributes, values)
            if attributes["_forward_hooks"] or attributes["_forward_pre_hooks"]:
                _unregister(attributes, first_hook)
        for state in users:
            _restore(state)


def _same(attributes: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether they are equal, which is known at once of what is the same object."""
    try:
        return attributes == values
    except Exception:  # tensors that are not the same object may refuse
        return False


def _put_back(attributes: dict[str, Any], values: dict[str, Any]) -> None:
    attributes.clear()
    attributes.update(values)


def _state(attributes: dict[str, Any]) -> _State:
    values = attributes.copy()
    contents: list[tuple[Any, Any]] = []
    for name, value in values.items():
        kind = type(value)
        if kind in _CONTAINERS:
            contents.append((value, (dict(value) if issubclass(kind, dict) else list(value)) if value else ()))
        elif kind is Tensor and not value.is_meta and value.nbytes <= _SMALL:
            # No buffer, so nothing stands in for it: `self.steps += 1` is to change a copy.
            attributes[name] = value.clone()
    return _State(attributes, values, contents)


def _unregister(attributes: dict[str, Any], first: int) -> None:
    """Takes off the hooks from that number on."""
    for hooks in (attributes["_forward_hooks"], attributes["_forward_pre_hooks"]):
        for number in [number for number in hooks if number >= first]:
            del hooks[number]


_SMALL = 2**20
"""Bytes up to which a tensor is copied."""


def _restore(state: _State) -> None:
    attributes, values, contents = state
    if len(attributes) != len(values) or not all(map(is_, attributes.values(), values.values())):
        _put_back(attributes, values)
    for container, content in contents:
        if container or content:
            container.clear()
            (container.update if isinstance(container, dict | set) else container.extend)(content)
