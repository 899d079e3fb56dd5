"""How a module is named in a table: its class, and the arguments that would make it again."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, cast

from torch import nn

_BY_POSITION = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_groups", "num_channels"}
)
"""Leading arguments that everybody writes without their names: `Conv2d(1, 32, kernel_size=5)`."""

_SIGNED = ("torch.nn.modules", "cnnprof.nets.layers")
"""Where each constructor's argument is an attribute of the same name."""

_OMITTED = frozenset({"device", "dtype", "input_size"})


def kind_of(module: nn.Module) -> str:
    """`Conv2d`: the class, or what the module calls itself."""
    return str(module._get_name())


def arguments_of(module: nn.Module) -> str:
    """`1, 32, kernel_size=5`: what one would write between the parentheses, defaults left out.

    For torch's own classes from their signature, for any other what `extra_repr` says.
    """
    cls = type(module)
    if not cls.__module__.startswith(_SIGNED) or isinstance(module, nn.Sequential):
        return module.extra_repr()
    texts: list[str] = []
    for name, default in _signature(cast(Any, cls)):
        if not hasattr(module, name):
            continue
        value = _value(module, name)
        if name == "stride" and default is None and value == _value(module, "kernel_size"):
            continue  # a pooling layer's default is its kernel
        if value != _plain(default):
            shown = repr(value)
            texts.append(shown if name in _BY_POSITION and len(texts) < 2 else f"{name}={shown}")
    return ", ".join(texts)


@cache
def _signature(cls: Any) -> list[tuple[str, Any]]:
    parameters = inspect.signature(cls).parameters.values()
    return [
        (p.name, p.default)
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in _OMITTED and not p.name.startswith("_")
    ]


def _value(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    if name == "bias":
        return value is not None and value is not False
    return _plain(value)


def _plain(value: Any) -> Any:
    """A tuple of equal numbers as the number, as one would write it."""
    if isinstance(value, tuple) and value and all(item == value[0] for item in value):
        return value[0] if isinstance(value[0], int | float) and len(value) > 1 else value
    return value
