"""Which code is torch's: what a call goes through as it was written there, and the `forward` of a class."""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from types import BuiltinFunctionType, ModuleType
from typing import Any

from torch import nn

METHODS = ("forward", "_conv_forward", "_check_input_dim")
"""What a layer of torch's computes with."""
_CALLS = ("_call_impl", "_compiled_call_impl")
REPLACEABLE = frozenset((*METHODS, *_CALLS))
"""What a layer may have of its own in the place of its class's."""


class Way:
    """What a call goes through."""

    def __init__(self, *places: tuple[type[nn.Module] | ModuleType, str]) -> None:
        self.places = tuple(place for place in places if hasattr(*place))
        self.torchs: list[tuple[Any, Callable[[Any], Any], Any]] = []
        """For each owner what gets the functions there, and those that were found to be torch's."""

    def is_torchs(self) -> bool:
        """Whether nobody has put functions of their own in it."""
        for owner, functions, torchs in self.torchs:
            if functions(owner) != torchs:
                break
        else:
            if self.torchs:
                return True
        if not all(is_as_written(owner, name, getattr(owner, name)) for owner, name in self.places):
            return False
        names: dict[Any, list[str]] = {}
        for owner, name in self.places:
            names.setdefault(owner, []).append(name)
        getters = [(owner, attrgetter(*those)) for owner, those in names.items()]
        self.torchs = [(owner, functions, functions(owner)) for owner, functions in getters]
        return True


def is_as_written(owner: Any, name: str, function: Any) -> bool:
    """Whether a function is the one that was written there."""
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function) is BuiltinFunctionType and function.__name__ == name
    home, path = owner, name
    if isinstance(owner, type):
        owner = next(cls for cls in owner.__mro__ if name in cls.__dict__)
        home, path = sys.modules[owner.__module__], f"{owner.__name__}.{name}"
    written = code.co_filename == home.__file__ and code.co_name == name and function.__qualname__ == path
    return written and not hasattr(function, "__wrapped__")


def unhooked(own: dict[str, Any]) -> bool:
    """Whether a module of those attributes has no hooks."""
    try:
        return not (own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"])
    except KeyError:
        return False  # torch says what is wrong with it


class _HasTorchsForward(dict[type[nn.Module], bool]):
    """Whether a class computes as one of torch's layers, or of ours, does: its `forward` is not the user's.

    Which one is there now is another question, that of a `Way`.
    """

    def __missing__(self, cls: type[nn.Module]) -> bool:
        forward = getattr(cls, "forward", None)  # a scripted module's class has none
        home = getattr(forward, "__module__", "torch.") or ""
        known = self[cls] = home.startswith(("torch.", "cnnprof.nets."))
        return known


HAS_TORCHS_FORWARD = _HasTorchsForward()
