"""What the modules of a user hold: their attributes, and what is in containers and objects among these. It can be put back.

A forward pass may fill a cache, which is a dictionary in a list or an object of a class of the user's own, or count what it sees.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from enum import Enum, auto
from operator import is_
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

_OWN = ("_parameters", "_buffers", "_modules")
"""What every module has; others stand in for the tensors, and what is in the modules is their own."""
_CONTAINERS = frozenset({dict, list, set, OrderedDict, defaultdict, deque, Counter})
_OBJECTS = frozenset({SimpleNamespace, Namespace, UserDict, UserList})
"""Classes of the standard library that are nothing but their attributes."""
_SMALL = 2**20
"""Bytes up to which a tensor is copied."""
_MOST = 10_000
"""As many containers and objects are looked into, and into none with more in it: an object may lead to a whole data set."""


class _Kind(Enum):
    CONTAINER = auto()
    TENSOR = auto()
    OBJECT = auto()


_CONTAINER, _TENSOR, _OBJECT = _Kind


class _Kinds(dict[type, "_Kind | None"]):
    """What values of a class are; None for what is not looked into."""

    def __missing__(self, cls: type) -> _Kind | None:
        kind = None
        if cls in _CONTAINERS:
            kind = _CONTAINER
        elif cls is Tensor:
            kind = _TENSOR
        elif cls in _OBJECTS or _is_of_the_user(cls):
            kind = _OBJECT
        self[cls] = kind
        return kind


def _is_of_the_user(cls: type) -> bool:
    """Whether it is a class whose instances have attributes, neither of torch's or NumPy's nor of Python's own."""
    home = str(cls.__module__).partition(".")[0]
    known = home in {"torch", "numpy"} or home in sys.stdlib_module_names
    return cls.__dictoffset__ != 0 and not known and not issubclass(cls, nn.Module | Tensor | type | dict | list | set | deque)


_KINDS = _Kinds()


class State:
    """What was held when it was kept."""

    def __init__(self) -> None:
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """The dictionaries of modules and objects, and what was in them."""
        self._contents: list[tuple[Any, Any]] = []
        """The containers, and what was in them."""
        self._empty: list[Any] = []
        """Those that had nothing in them."""
        self._waiting: list[tuple[Any, Any]] = []
        """What is still to be looked into, and what is in it."""
        self._seen: set[int] = set()
        self._copies: dict[int, Tensor] = {}

    def keep(self, attributes: dict[str, Any]) -> None:
        """Keeps the attributes of a module. It gets copies of its small tensors: `self.steps += 1` is to change a copy."""
        values = attributes.copy()
        self._attributes.append((attributes, values))
        for name, value in values.items():
            kind = _KINDS[type(value)]
            if kind is None:
                continue
            if kind is _CONTAINER and not value:
                self._empty.append(value)
            elif kind is _CONTAINER and name in _OWN:
                self._contents.append((value, value.copy()))
            else:
                self._keep_item(attributes, name, value, kind, math.inf)  # what a module holds itself, always
                while self._waiting:
                    self._look_into(*self._waiting.pop())

    def _keep_item(self, holder: Any, key: Any, value: Any, kind: _Kind, most: float = _MOST) -> None:
        """Keeps what `holder[key]` is, but for what is in it, if no more than that have been kept."""
        if kind is _TENSOR:
            if not value.is_meta and value.layout is torch.strided and value.nbytes <= _SMALL:
                if id(value) not in self._copies:
                    self._copies[id(value)] = value.clone()
                holder[key] = self._copies[id(value)]
        elif id(value) not in self._seen and len(self._seen) < most:
            self._seen.add(id(value))
            if kind is _OBJECT:
                attributes = vars(value)
                values = attributes.copy()
                self._attributes.append((attributes, values))
                self._waiting.append((attributes, values))
            elif not value:
                self._empty.append(value)
            else:
                content = dict(value) if isinstance(value, dict) else list(value)
                self._contents.append((value, content))
                if not isinstance(value, set) and len(content) <= _MOST:
                    self._waiting.append((value, content))

    def _look_into(self, holder: Any, content: dict[Any, Any] | list[Any]) -> None:
        """Keeps what is in it."""
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            kind = _KINDS[type(value)]
            if kind is not None:
                self._keep_item(holder, key, value, kind)

    def put_back(self) -> None:
        """Makes all as it was."""
        for attributes, values in self._attributes:
            if len(attributes) != len(values) or not all(map(is_, attributes.values(), values.values())):
                attributes.clear()
                attributes.update(values)
        if any(self._empty):
            for container in self._empty:
                container.clear()
        for container, content in self._contents:
            container.clear()
            (container.update if isinstance(container, dict | set) else container.extend)(content)
