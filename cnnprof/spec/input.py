"""The shape of an input as one writes it; with `--input` its name and its type too, where they matter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cnnprof.errors import UsageError, did_you_mean

FLOATS = ("float32", "float16", "bfloat16", "float64")
"""What parameters can be of."""
TYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")

_SHAPE = re.compile(r"[0-9]+(x[0-9]+)*")
_OPTION = re.compile(r"((?P<name>[A-Za-z_]\w*)=)?(?P<shape>[^:=]*)(:(?P<dtype>\w+))?")


@dataclass(frozen=True, slots=True)
class InputOption:
    """One input: sizes without the batch dimension."""

    shape: tuple[int, ...]
    name: str | None = None
    """The argument of `forward` that it is; None: by position."""
    dtype: str | None = None
    """None: the network's."""


def parse_shape(text: str) -> tuple[int, ...] | None:
    """The sizes in `3x224x224`; None where the text is no shape."""
    if not _SHAPE.fullmatch(text) or len(text) > 100:
        return None
    return tuple(int(size) for size in text.split("x"))


def parse_option(text: str, place: str = "--input") -> InputOption:
    """`3x224x224`, `ids=128:int64`. Raises UsageError for anything else; `place` is where the user wrote it."""
    match = _OPTION.fullmatch(text)
    shape = parse_shape(match["shape"]) if match else None
    if match is None or shape is None or 0 in shape:
        raise UsageError(f'{place} takes a shape without the batch dimension, 3x224x224 or ids=128:int64, not "{text}"')
    if match["dtype"] and match["dtype"] not in TYPES:
        advice = did_you_mean(match["dtype"], TYPES) or f"there are: {', '.join(TYPES)}"
        raise UsageError(f'there is no type "{match["dtype"]}" for an input; {advice}')
    return InputOption(shape, match["name"], match["dtype"])
