"""How a row is named: a module by its class and the arguments that would make it again, a function as one writes its call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import zip_longest
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

_BY_POSITION = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_groups", "num_channels"}
)
"""Leading arguments that everybody writes without their names: `Conv2d(1, 32, kernel_size=5)`."""

_SIGNED = ("torch.nn.modules", "cnnprof.nets.layers")
"""Where each constructor's argument is an attribute of the same name."""

_OMITTED = frozenset({"device", "dtype", "input_size"})


def kind_of(module: nn.Module) -> str:
    """`Conv2d`: the class, or what the module calls itself."""
    cls = type(module)
    if cls._get_name is _CLASS_NAME and "_get_name" not in module.__dict__:
        return cls.__name__  # what that says, and slowly
    return str(module._get_name())


_CLASS_NAME = nn.Module._get_name


def arguments_of(module: nn.Module) -> str:
    """`1, 32, kernel_size=5`: what one would write between the parentheses, defaults left out.

    For torch's own classes from their signature, for any other what `extra_repr` says.
    """
    cls: Any = type(module)
    attributes = module.__dict__
    parts = attributes.get("_modules")
    if parts and "parametrizations" in parts:
        cls = cls.__bases__[0]  # torch made it a class of its own: ParametrizedConv2d
    signature = _signature(cls)
    if signature is None:
        try:
            return str(module.extra_repr())
        except Exception:
            return ""  # it may read a value, and there is none
    own = attributes["_parameters"]
    bias = own["bias"] is not None if "bias" in own else attributes.get("bias", _ABSENT)  # the argument says whether there is one
    try:
        values = _values(cls)(attributes)
    except KeyError:
        values = tuple([attributes.get(name, _ABSENT) for name in signature if name != "bias"])
    try:
        return _written_arguments(cls, bias, *values)
    except TypeError:  # a value that cannot be looked up, a list for one
        return _written_arguments.__wrapped__(cls, bias, *values)


@cache
def _values(cls: Any) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What gets the values of the arguments but `bias`, in order, from a module's attributes. Raises KeyError where one is not."""
    names = [name for name in _signature(cls) or () if name != "bias"]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda attributes: tuple([attributes[name] for name in names])


@lru_cache(maxsize=4096, typed=True)  # most layers of a deep network have the same arguments as another
def _written_arguments(cls: Any, bias: object, *values: object) -> str:
    texts: list[str] = []
    signature = _signature(cls) or {}
    given = dict(zip([name for name in signature if name != "bias"], values, strict=True), bias=bias)
    for name, default in signature.items():
        value = given[name]
        if value is _ABSENT:
            continue
        value = _plain(value, name)
        if value == default:
            continue
        if name == "stride" and default is None and value == _plain(given.get("kernel_size"), "kernel_size"):
            continue  # a pooling layer's default is its kernel
        if name in {"kdim", "vdim"} and value == given["embed_dim"]:
            continue
        texts.append(repr(value) if name in _BY_POSITION and len(texts) < 2 else f"{name}={value!r}")
    return ", ".join(texts)


_ABSENT = object()


@cache
def _signature(cls: Any) -> Mapping[str, Any] | None:
    """The names and defaults of the arguments that are attributes; None where `extra_repr` is to be asked."""
    if not cls.__module__.startswith(_SIGNED) or issubclass(cls, nn.Sequential | nn.RNNBase | nn.RNNCellBase):
        return None
    parameters = inspect.signature(cls).parameters.values()
    return {
        p.name: _plain(p.default, p.name)
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in _OMITTED and not p.name.startswith("_")
    }


_SHAPES = frozenset({"normalized_shape", "shape", "unflattened_size"})
"""Arguments in which as many numbers as there are dimensions stand."""


def _plain(value: Any, name: str) -> Any:
    """A tuple of equal numbers as the number, as one would write it."""
    if isinstance(value, tuple) and value and isinstance(value[0], int | float) and value.count(value[0]) == len(value):
        return value if name in _SHAPES and len(value) > 1 else value[0]
    return value


OPERATORS: Mapping[str, str] = {
    "add": "+",
    "__add__": "+",
    "__radd__": "+",
    "add_": "+=",
    "__iadd__": "+=",
    "sub": "-",
    "__sub__": "-",
    "__rsub__": "-",
    "rsub": "-",
    "sub_": "-=",
    "neg": "-",
    "mul": "*",
    "__mul__": "*",
    "__rmul__": "*",
    "mul_": "*=",
    "div": "/",
    "__truediv__": "/",
    "__rdiv__": "/",
    "__rtruediv__": "/",
    "div_": "/=",
    "matmul": "@",
    "__matmul__": "@",
    "__rmatmul__": "@",
    "pow": "**",
    "__pow__": "**",
    "__rpow__": "**",
    "__floordiv__": "//",
    "__rfloordiv__": "//",
    "remainder": "%",
    "__mod__": "%",
    "__rmod__": "%",
    "eq": "==",
    "__eq__": "==",
    "ne": "!=",
    "__ne__": "!=",
    "lt": "<",
    "__lt__": "<",
    "le": "<=",
    "__le__": "<=",
    "gt": ">",
    "__gt__": ">",
    "ge": ">=",
    "__ge__": ">=",
    "__invert__": "~",
    "bitwise_not": "~",
    "__and__": "&",
    "bitwise_and": "&",
    "__or__": "|",
    "bitwise_or": "|",
    "__xor__": "^",
    "bitwise_xor": "^",
    "__getitem__": "[]",
    "__setitem__": "[]=",
    "__contains__": "in",
    "__bool__": "bool()",
    "__int__": "int()",
    "__index__": "int()",
    "__float__": "float()",
    "__format__": "format()",
    "__array__": "numpy.asarray()",
}
"""How Python writes what torch calls by name."""

_HOMES = {"torch.nn.functional": "F", "torch._C._nn": "F", "torch.functional": "torch"}
_FAMILIES = ("fft", "linalg", "special")
"""Modules of torch whose functions have the module's name in front of theirs: `torch._C._linalg.linalg_norm`."""


def call_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the arguments of a function call, as one writes them; a tensor is a dot.

    `("F.max_pool2d", "., kernel_size=3")`, `("x.view", "-1, 256")`, `("+", "")`.
    """
    name = func.__name__
    if name == "__get__":  # of a property: its name is that of what it belongs to
        return f"x.{getattr(func, '__self__', func).__name__}", ""
    positions = _positions(func)
    owner = getattr(func, "__objclass__", None) or ("Tensor." in getattr(func, "__qualname__", "") and Tensor)
    home = getattr(func, "__module__", None) or ""
    if owner or home == "torch._tensor":
        if name in OPERATORS:
            return OPERATORS[name], ""
        args, positions = args[1:], _positions(func)[1:]
        called = f"x.{name}"
    else:
        family = next((family for family in _FAMILIES if home == f"torch._C._{family}"), "")
        home = f"torch.{family}" if family else _HOMES.get(home, home if home.startswith("torch.") else "torch")
        called = f"{home}.{name.removeprefix(f'{family}_')}"
    defaults = _defaults(func)
    named = {key: value for key, value in kwargs.items() if key not in defaults or defaults[key] is not value}
    written = [_by_position(value, key) for key, value in zip_longest(positions[: len(args)], args)]
    written += [f"{key}={_written(value)}" for key, value in named.items()]
    return called, ", ".join(written)


def _by_position(value: Any, name: str | None) -> str:
    """A number by its name, as those of a layer are, where the function is written in Python; `., kernel_size=3`."""
    named = name and isinstance(value, int | float | tuple)
    return f"{name}={_written(value)}" if named else _written(value)


@cache
def _positions(func: Callable[..., Any]) -> Sequence[str]:
    """The names of the arguments that can be given by position; none for a function in C++, or for any number of arguments."""
    return tuple(p.name for p in _parameters(func) if p.kind is p.POSITIONAL_OR_KEYWORD)


@cache
def _defaults(func: Callable[..., Any]) -> Mapping[str, Any]:
    """The defaults of a function in Python, which hands all its arguments on by name; of one in C++ none are known."""
    return {p.name: p.default for p in _parameters(func) if p.default is not p.empty}


def _parameters(func: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    # F.max_pool2d chooses between two functions by `return_indices`, and only those have a signature.
    func = getattr(torch.nn.functional, f"_{func.__name__}", func)
    try:
        return tuple(inspect.signature(func).parameters.values())
    except (ValueError, TypeError):
        return ()


def _written(value: Any) -> str:
    if isinstance(value, Tensor):
        return "."
    if isinstance(value, list | tuple):
        inner = ", ".join(_written(item) for item in value[:4]) + (", …" if len(value) > 4 else "")
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, Mapping):
        return type(value).__name__  # the memo of a copy, for one, which is long
    try:
        text = str(value) if not isinstance(value, str) else repr(value)
    except Exception:  # of a module that is being copied, for one
        text = type(value).__name__
    if " at 0x" in text:
        text = type(value).__name__  # where a thing lies differs from run to run
    return text if len(text) <= 30 else f"{text[:29]}…"
