"""The layers that a spec can name and the arguments they take.

They are torch.nn's own, kept as data so that reading a spec needs no torch: `vocabulary.json` beside this file is
written by `python -m cnnprof.nets.signatures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

FILE = Path(__file__).with_name("vocabulary.json")

POSITIVE = "positive"
"""The sign of a parameter that takes integers of at least 1, or numbers above 0."""
NOT_NEGATIVE = "not negative"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a layer."""

    name: str
    types: tuple[str, ...]
    """What it takes: `int`, `float`, `bool`, `null`, `choice` (one of `choices`), `int[2]` (a list of two), `int[]` (a
    list of any length but none), `int?[2]` (a list in which null stands for what the input has)."""
    required: bool
    default: Any
    choices: tuple[str, ...]
    about: str
    sign: str = ""
    """`positive` or `not negative` where torch would take other numbers and compute nonsense, or say something else."""


@dataclass(frozen=True, slots=True)
class LayerType:
    """One class of layers."""

    name: str
    about: str
    parameters: tuple[Parameter, ...]
    """In torch's order, without those that the input tells."""
    told: Mapping[str, str]
    """The arguments that the input tells: `channels`, or `size`, the axes after the channels."""
    ranks: tuple[int, ...] | None
    """Numbers of axes, without the batch, that an input can have; None where it can be any."""
    module: str
    """Where the class is found: `torch.nn` or `cnnprof.nets.layers`."""

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


_EXCLUDED = {
    "is a container or base class, which computes nothing of its own": (
        "Container DataParallel Module ModuleDict ModuleList ParameterDict ParameterList Sequential"
    ),
    "is a loss, which compares its input with a target": (
        "AdaptiveLogSoftmaxWithLoss BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss"
        " GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss"
        " MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d"
        " PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss TripletMarginWithDistanceLoss"
    ),
    "waits for its first input to learn a size, which a spec tells every layer anyway": (
        "LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d"
        " LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear"
    ),
    "takes several tensors": (
        "Bilinear CosineSimilarity MaxUnpool1d MaxUnpool2d MaxUnpool3d MultiheadAttention PairwiseDistance Transformer"
        " TransformerDecoder TransformerDecoderLayer"
    ),
    "is made of modules or functions, or takes the first axis for the sequence, where a spec has the batch": (
        "TransformerEncoder TransformerEncoderLayer"
    ),
    "returns its state beside its output, or takes it beside its input": (
        "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase"
    ),
    "takes integers that are indices, where a spec has numbers": "Embedding EmbeddingBag",
}

EXCLUDED: Mapping[str, str] = {name: reason for reason, names in _EXCLUDED.items() for name in names.split()}
"""Classes of torch.nn that are not in the vocabulary, with the reason."""


@cache
def vocabulary() -> Mapping[str, LayerType]:
    """Every layer by its name."""
    import json

    layers = json.loads(FILE.read_text(encoding="utf-8"))["layers"]
    return MappingProxyType({name: _layer(name, entry) for name, entry in layers.items()})


def _layer(name: str, entry: Mapping[str, Any]) -> LayerType:
    parameters = tuple(
        Parameter(
            given["name"],
            tuple(given["types"]),
            "default" not in given,
            given.get("default"),
            tuple(given.get("choices", ())),
            given["about"],
            given.get("sign", ""),
        )
        for given in entry["parameters"]
    )
    ranks = None if entry["ranks"] is None else tuple(entry["ranks"])
    return LayerType(name, entry["about"], parameters, MappingProxyType(entry["told"]), ranks, entry["module"])


def split_type(kind: str) -> tuple[str, str | None]:
    """The element and the length of a type, `("int", "2")` for `int[2]`; the length is None where it is no list."""
    element, bracket, length = kind.partition("[")
    return element, length[:-1] if bracket else None


_TOO_LARGE = {"eps": 1.0}
"""Values from which on a number cannot be meant: BatchNorm2d: 64 is not an eps."""


def accepts(parameter: Parameter, value: Any) -> Any:
    """The value as torch takes it: a list becomes a tuple, 64.0 becomes 64 where an integer is wanted.

    Raises ValueError with a message for the user where the parameter does not take it.
    """
    for kind in parameter.types:
        taken = _take(kind, value, parameter)
        if taken is not _REFUSED:
            break
    else:
        if parameter.types == ("choice",):
            raise ValueError(f"{parameter.name} is one of {', '.join(parameter.choices)}, not {_shown(value)}")
        raise ValueError(f"{parameter.name} takes {_wanted(parameter)}, not {_shown(value)}")
    if parameter.name in _TOO_LARGE and isinstance(taken, int | float) and taken >= _TOO_LARGE[parameter.name]:
        raise ValueError(f"{parameter.name} is a small number such as {parameter.default}, not {_shown(value)}")
    for number in taken if isinstance(taken, tuple) else (taken,):
        _check_size(parameter, number)
    return taken


_REFUSED = object()
_BELOW = 2**63
"""torch's sizes are signed integers of 64 bits."""


def _take(kind: str, value: Any, parameter: Parameter) -> Any:
    element, length = split_type(kind)
    if length is None:
        return _scalar(element, value, parameter)
    if not isinstance(value, list | tuple) or not value or (length and len(value) != int(length)):
        return _REFUSED
    taken = tuple(_scalar(element, item, parameter) for item in value)
    return _REFUSED if any(item is _REFUSED for item in taken) else taken


def _scalar(kind: str, value: Any, parameter: Parameter) -> Any:
    if kind == "choice":
        return value if isinstance(value, str) and value in parameter.choices else _REFUSED
    if value is None:
        return None if kind == "null" or kind.endswith("?") else _REFUSED
    if isinstance(value, bool):
        return value if kind == "bool" else _REFUSED
    if kind.startswith("int") and isinstance(value, float) and value.is_integer():
        return int(value)
    taken = _NUMBERS.get(kind.removesuffix("?"))
    return value if taken and isinstance(value, taken) else _REFUSED


_NUMBERS: Mapping[str, type | tuple[type, ...]] = {"int": int, "float": (int, float)}


def _check_size(parameter: Parameter, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if isinstance(value, int) and not -_BELOW <= value < _BELOW:
        raise ValueError(f"{parameter.name} must be below 2^63, not {_shown(value)}")
    whole = any(kind.startswith("int") for kind in parameter.types)
    if parameter.sign == POSITIVE and value <= 0:
        raise ValueError(f"{parameter.name} must be {'at least 1' if whole else 'above 0'}, not {_shown(value)}")
    if parameter.sign == NOT_NEGATIVE and value < 0:
        raise ValueError(f"{parameter.name} must be at least 0, not {_shown(value)}")


_SCALARS = {"int": "an integer", "float": "a number", "bool": "true or false", "null": "null"}
_ELEMENTS = {
    "int": ("one integer", "integers"),
    "float": ("one number", "numbers"),
    "int?": ("one integer or null", "integers or nulls"),
}


def _wanted(parameter: Parameter) -> str:
    """`an integer or a list of 2 integers`."""
    parts: list[str] = []
    for kind in parameter.types:
        element, length = split_type(kind)
        if kind == "choice":
            parts += parameter.choices
        elif length is None:
            parts.append(_SCALARS[kind])
        else:
            one, many = _ELEMENTS[element]
            parts.append(f"a list of {one if length == '1' else f'{length} {many}'.strip()}")
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


_SHOWN = 40
"""Characters of a value that a message repeats."""


def _shown(value: Any) -> str:
    """The value as one would write it in a spec, shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        text = f"[{', '.join(_shown(item) for item in value[:_SHOWN])}]"
    elif isinstance(value, int) and abs(value) >= 10**_SHOWN:
        # Python refuses to print integers of more than 4,300 digits.
        text = "a number of more than 40 digits"
    else:
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
