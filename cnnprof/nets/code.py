"""A module that the user's own Python code is or makes. This runs that code; a spec never does."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.nets.blame import line_of
from cnnprof.nets.guest import settings_kept
from cnnprof.operators import MetaMode
from cnnprof.spec.target import CodeTarget


def module_of(target: CodeTarget, settings: Mapping[str, Any], device: str = "meta") -> nn.Module:
    """The module that the target is, or that calling it with these keyword arguments gives.

    It is made on the meta device, where nothing is allocated; where its constructor computes with values, on the CPU, as with
    `device="cpu"`. Raises UsageError where there is no such object, where the code fails, and where it gives something else.
    """
    found = _find(target)
    text = target.text
    if isinstance(found, nn.Module):
        if settings:
            raise UsageError(f'"{text}" is a module already, so --set has nothing to set')
        return found
    if not callable(found):
        raise UsageError(f'"{text}" is a {type(found).__name__}, neither a torch.nn.Module nor something that makes one')
    made = _made(found, settings, text, device)
    if not isinstance(made, nn.Module):
        raise UsageError(f'"{text}" gives a {type(made).__name__}, not a torch.nn.Module')
    return made


def _find(target: CodeTarget) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with settings_kept():  # a module is imported once: a second target in it shall find the same settings as the first
            found: Any = import_module(target.module)
    except ModuleNotFoundError as error:
        if error.name and f"{target.module}.".startswith(f"{error.name}."):
            raise UsageError(f'there is no Python module "{target.module}" on the path or in this folder') from None
        raise UsageError(_failed(f'importing "{target.module}"', error)) from error
    except Exception as error:
        raise UsageError(_failed(f'importing "{target.module}"', error)) from error
    for part in target.attribute.split("."):
        found = _attribute(found, part, target)
    return found


def _attribute(found: Any, name: str, target: CodeTarget) -> Any:
    try:
        return getattr(found, name)
    except AttributeError:
        advice = did_you_mean(name, _public(found)) or _has(found)
        raise UsageError(f'"{target.module}" has no "{target.attribute}"; {advice}') from None
    except Exception as error:  # what a property raises
        raise UsageError(_failed(f'looking up "{target.text}"', error)) from error


def _has(found: Any) -> str:
    """`it has Net, make_net`: what could be a target."""
    own = [name for name in _public(found) if _makes_nets(inspect.getattr_static(found, name, None))]
    return f"it has {', '.join(own[:12])}{' …' if len(own) > 12 else ''}" if own else "it has neither modules nor functions"


def _public(found: Any) -> list[str]:
    return [name for name in getattr(found, "__dict__", dir(found)) if not name.startswith("_")]


def _makes_nets(value: Any) -> bool:
    return isinstance(value, nn.Module | FunctionType) or (isinstance(value, type) and issubclass(value, nn.Module))


def _made(maker: Any, settings: Mapping[str, Any], text: str, device: str) -> Any:
    if device == "meta":
        # Whatever it is that needs data fails.
        with suppress(Exception, SystemExit), torch.device("meta"), MetaMode():
            return maker(**settings)
    try:
        inspect.signature(maker).bind(**settings)
    except TypeError as error:
        raise UsageError(f'"{text}" takes other arguments than --set gives: {error}') from None
    except ValueError:
        pass  # of what is written in C nobody knows the arguments
    try:
        return maker(**settings)
    except Exception as error:
        raise UsageError(_failed(f'calling "{text}"', error)) from error


def _failed(what: str, error: Exception) -> str:
    line = line_of(error)
    return f"{what} failed{f' at {line}' if line else ''}: {type(error).__name__}: {error}"
