"""From a target, what the user typed, to the module that it names."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import nn

from cnnprof.collector import collector_off
from cnnprof.errors import Source, SpecError, UsageError
from cnnprof.nets.builder import Network, build
from cnnprof.spec import reader
from cnnprof.spec.grammar import Argument
from cnnprof.spec.target import SavedTarget, SpecTarget, find
from cnnprof.spec.variables import variable_value


def network(
    target: SpecTarget,
    values: Mapping[str, Argument] | None = None,
    input_shape: tuple[int, ...] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """The network of a target as a module on the meta device."""
    with collector_off():
        return build(target.spec, target.name, target.variant, values, input_shape, dtype)


def load(
    name: str | PathLike[str],
    *,
    input_shape: tuple[int, ...] | None = None,
    device: str | torch.device = "meta",
    dtype: torch.dtype = torch.float32,
    **variables: Any,
) -> nn.Module:
    """A plain `nn.Module`: the network of a bundled spec or of a YAML file.

    On the meta device it has shapes and no data, whatever its size; `device="cpu"` gives one with torch's own initial weights, to
    train. `input_shape` replaces the spec's input, the other keywords set its variables. Raises `SpecError` where the spec or
    a value is wrong, `UsageError` for a name that nothing has.

    >>> import cnnprof
    >>> net = cnnprof.load("lenet", classes=5, device="cpu")
    >>> net[-1]
    Linear(in_features=200, out_features=5, bias=True)
    """
    if not isinstance(dtype, torch.dtype):
        raise UsageError(f"dtype is a torch.dtype such as torch.float16, not {dtype!r}")
    if input_shape is not None and not all(isinstance(size, int) for size in input_shape):
        raise UsageError(f"input_shape is a tuple of sizes such as (3, 224, 224), not {input_shape!r}")
    values = {key: _argument(key, value) for key, value in variables.items()}
    target = find(str(name))
    if not isinstance(target, SpecTarget):
        what = "has no network any more" if isinstance(target, SavedTarget) else "is Python code, which makes the module itself"
        raise UsageError(f'"{name}" is no spec: {"a saved profile" if isinstance(target, SavedTarget) else "that"} {what}')
    module = network(target, values, input_shape, dtype).module
    return module if torch.device(device).type == "meta" else _materialized(module, torch.device(device))


def _argument(name: str, value: Any) -> Argument:
    source = Source(f"{name}={value!r}", "")
    value = list(value) if isinstance(value, tuple) else value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return variable_value(reader.read(Source(source.name, text)), ())
    except SpecError as error:
        raise UsageError(f"{name}={value!r}: {error}") from None


def _materialized(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with storage on a device, initialised layer by layer as torch does when it makes one there."""
    module.to_empty(device=device)
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return module
