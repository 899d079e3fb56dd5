"""Puts back what a pass over a network may change: the attributes of its modules, and the state of the random numbers."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from cnnprof.errors import UsageError
from cnnprof.profiling.state import State
from cnnprof.profiling.torchs_code import HAS_TORCHS_FORWARD

_NOTHING: dict[str, Any] = {}
_ABSENT = object()


@contextmanager
def untouched(network: nn.Module, training: bool) -> Iterator[dict[nn.Module, str]]:
    """Its modules with their paths, in `train()` or `eval()` and on one device, for code that may set attributes, fill caches,
    register hooks and draw random numbers: all of which is undone afterwards.

    A forward pass that caches a tensor on its module would otherwise leave one without data there. Parameters and buffers of
    the modules are put back, their values are not: what runs has to be given others.

    Of several threads one runs such code at a time, or each would take what the other has changed for the network's own. Raises
    UsageError where another one takes very long: it may wait for this one.
    """
    lock = _Turn.lock
    if not lock.acquire(timeout=PATIENCE):
        raise UsageError(f"another thread has been profiling for {PATIENCE} s: only one can at a time")
    try:
        yield from _untouched(network, training)
    finally:
        lock.release()


PATIENCE = 60
"""Seconds; a pass takes fractions of one."""


class _Turn:
    """Which thread's turn it is. The code that runs may profile a part of the network, so that one can have it twice."""

    lock = RLock()

    @classmethod
    def renew(cls) -> None:
        """For a forked process: a thread that had its parent's lock is not there to give it back."""
        cls.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Turn.renew)


def _untouched(network: nn.Module, training: bool) -> Iterator[dict[nn.Module, str]]:
    kept = _Kept()
    first_hook = RemovableHandle.next_id
    numpy: Any = sys.modules.get("numpy.random")
    drawn = random.getstate(), numpy.get_state() if numpy else None
    # Asking for the devices of one that no one has used would start it, which takes seconds.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        kept.take(network, training)
        with torch.random.fork_rng(devices):
            yield kept.paths
    finally:
        random.setstate(drawn[0])
        if numpy:
            numpy.set_state(drawn[1])
        kept.put_back(training, first_hook)


class _Kept:
    """The modules as they were."""

    def __init__(self) -> None:
        self.paths: dict[nn.Module, str] = {}
        """As `named_modules` has them. All is kept in one walk: large networks would have to be fetched from memory for each."""
        self.torchs: list[dict[str, Any]] = []
        """The dictionary of each of torch's layers: these keep nothing of what they see."""
        self.copies: list[dict[str, Any]] = []
        """A copy of each."""
        self.held: list[dict[str, Any]] = []
        """Those of their parameters, buffers and parts, to which the user's code may add."""
        self.contents: list[dict[str, Any]] = []
        """A copy of each."""
        self.users = State()
        self.switched: list[dict[str, Any]] = []
        """The dictionaries of those that were in the other mode."""
        self.scripted: list[nn.Module] = []
        """Those too, which have it in C++."""
        self.spread: list[tuple[nn.DataParallel[nn.Module], list[int]]] = []
        """Those that run on several devices, and which."""

    def take(self, network: nn.Module, training: bool) -> None:
        """Keeps its modules, and puts them into that mode."""
        waiting = [(network, "")]
        elsewhere: list[nn.Module] = []
        while waiting:
            module, path = waiting.pop()
            if module in self.paths:
                continue
            self.paths[module] = path
            attributes = module.__dict__
            if HAS_TORCHS_FORWARD[type(module)]:
                self.torchs.append(attributes)
                self.copies.append(attributes.copy())
                for held in (attributes.get("_parameters"), attributes.get("_buffers"), attributes.get("_modules")):
                    if isinstance(held, dict):  # a scripted module has them in C++
                        self.held.append(held)
                        self.contents.append(held.copy() if held else _NOTHING)
            else:
                self.users.keep(attributes)
            if attributes.get("training", _ABSENT) is not training:
                if "training" in attributes:
                    self.switched.append(attributes)
                    attributes["training"] = training  # `__setattr__` of a module takes ten times as long
                else:
                    elsewhere.append(module)
            if "device_ids" in attributes and isinstance(module, nn.DataParallel):
                self.spread.append((module, module.device_ids))
                module.device_ids = []
            if parts := module._modules:
                start = f"{path}." if path else ""
                below = [(part, start + name) for name, part in parts.items() if part is not None]
                waiting += reversed(below)
        # One that torch has compiled says what the module in it says, which has been switched by now; a frozen one says nothing.
        self.scripted = [module for module in elsewhere if getattr(module, "training", training) is not training]
        for module in self.scripted:
            module.training = training

    def put_back(self, training: bool, first_hook: int) -> None:
        """Makes all as it was, without the hooks from that number on."""
        for attributes in self.switched:
            attributes["training"] = not training
        for module in self.scripted:
            module.training = not training
        for wrapper, devices in self.spread:
            wrapper.device_ids = devices
        for now, before in ((self.torchs, self.copies), (self.held, self.contents)):
            if not _same(now, before):
                for attributes, values in zip(now, before, strict=True):
                    if not _same(attributes, values):
                        _put_back(attributes, values)
        for attributes in self.torchs:
            if attributes.get("_forward_hooks") or attributes.get("_forward_pre_hooks"):
                _unregister(attributes, first_hook)
        self.users.put_back()


def _same(now: object, before: object) -> bool:
    """Whether they are equal, which is known at once of what is the same object."""
    try:
        return now == before
    except Exception:  # tensors that are not the same object may refuse
        return False


def _put_back(attributes: dict[str, Any], values: dict[str, Any]) -> None:
    attributes.clear()
    attributes.update(values)


def _unregister(attributes: dict[str, Any], first: int) -> None:
    """Takes off the hooks from that number on."""
    for hooks in (attributes["_forward_hooks"], attributes["_forward_pre_hooks"]):
        for number in [number for number in hooks if number >= first]:
            del hooks[number]
