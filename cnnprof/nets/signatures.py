"""The vocabulary of the spec language, read from torch.nn: from signatures, type hints, docstrings, and by trying.

`python -m cnnprof.nets.signatures` writes `cnnprof/spec/vocabulary.json`; with `--check` it exits with 1 where that
file is not what it would write. What has to be known by hand stands in the tables below, each entry with its reason.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn

from cnnprof.nets import docstrings, layers
from cnnprof.nets.trials import MAX_RANK, example
from cnnprof.spec.vocabulary import EXCLUDED, FILE, NOT_NEGATIVE, POSITIVE, LayerType, Parameter, split_type

OWN = (layers.LocallyConnected2d, layers.Permute, layers.Reshape, layers.Slice)
"""Layers of a spec that torch.nn does not have."""

LEFT_OUT: Mapping[str, str] = {
    "device": "the builder decides",
    "dtype": "the builder decides",
    "return_indices": "makes two outputs of one",
    "process_group": "is no value that a file can hold, and changes nothing that is counted",
    "min_value": "deprecated: the docstring of Hardtanh says to use min_val",
    "max_value": "deprecated: the docstring of Hardtanh says to use max_val",
}
"""Arguments that a spec cannot set, with the reason. Private ones cannot be set either."""

TOLD: Mapping[str, str] = {
    "in_channels": "channels",
    "in_features": "channels",
    "num_features": "channels",
    "num_channels": "channels",
    "input_size": "size",
}
"""Arguments that the input tells."""

SIGNS: Mapping[str, str] = {
    "out_channels": POSITIVE,
    "out_features": POSITIVE,
    "kernel_size": POSITIVE,
    "stride": POSITIVE,
    "dilation": POSITIVE,
    "groups": POSITIVE,
    "num_groups": POSITIVE,
    "output_size": POSITIVE,
    "size": POSITIVE,
    "scale_factor": POSITIVE,
    "upscale_factor": POSITIVE,
    "downscale_factor": POSITIVE,
    "num_parameters": POSITIVE,
    "normalized_shape": POSITIVE,
    "norm_type": POSITIVE,
    "padding": NOT_NEGATIVE,
    "output_padding": NOT_NEGATIVE,
}
"""Arguments for which torch takes a zero or a negative number and computes nonsense, on the meta device above all."""

CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    # Named in the text above the arguments: "either a string {'valid', 'same'} or an int / a tuple of ints".
    **{(f"Conv{n}d", "padding"): ("valid", "same") for n in (1, 2, 3)},
    # The type hint has all four of Conv2d; __init__ raises `Only "zeros" padding mode is supported`.
    **{(f"ConvTranspose{n}d", "padding_mode"): ("zeros",) for n in (1, 2, 3)},
    # The docstring leaves out two that functional.interpolate takes and documents.
    ("Upsample", "mode"): ("nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"),
}
"""Words that an argument takes, where neither its type hint nor its description has them right."""

DOCUMENTED_BY: Mapping[str, type[nn.Module]] = {
    # The same formula for maps only. It has no docstring.
    "CrossMapLRN2d": nn.LocalResponseNorm,
    # Their docstrings do not describe `inplace`.
    "Mish": nn.ReLU,
    "SiLU": nn.ReLU,
}
"""Classes whose docstring lacks something that another's says."""

ABOUT: Mapping[tuple[str, str], str] = {
    **{(f"ConvTranspose{n}d", "padding_mode"): "``'zeros'``: transposed convolutions have no other." for n in (1, 2, 3)},
    **{(f"ConstantPad{n}d", "value"): "The constant that fills the padding." for n in (1, 2, 3)},
    **{(f"LPPool{n}d", "norm_type"): "The power p: 1 is sum pooling, infinity max pooling." for n in (1, 2, 3)},
}
"""Descriptions of arguments that torch does not describe."""


def layer_classes() -> dict[str, type[nn.Module]]:
    """The class of every layer that a spec can name, by its name, sorted."""
    classes = {name: cls for name, cls in module_classes().items() if name not in EXCLUDED}
    classes |= {cls.__name__: cls for cls in OWN}
    return dict(sorted(classes.items()))


def module_classes() -> dict[str, type[nn.Module]]:
    """The public module classes of torch.nn by their names."""
    return {
        name: value
        for name, value in vars(nn).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not name.startswith("_")
    }


def read(cls: type[nn.Module]) -> LayerType:
    """What a spec has to know of a class of layers."""
    name = cls.__name__
    signature = inspect.signature(cls).parameters.values()
    hints = get_type_hints(cls.__init__)
    described = docstrings.arguments(DOCUMENTED_BY.get(name, cls)) | docstrings.arguments(cls)
    parameters = tuple(_parameter(cls, given, hints[given.name], described) for given in signature if _is_set(given))
    told = {given.name: TOLD[given.name] for given in signature if given.name in TOLD}
    ranks = _ranks(cls, parameters, told)
    return LayerType(
        name,
        docstrings.summary(cls) or docstrings.summary(DOCUMENTED_BY[name]),
        _with_tried_types(cls, parameters, told, ranks),
        told,
        ranks,
        layers.__name__ if cls in OWN else nn.__name__,
    )


def _is_set(given: inspect.Parameter) -> bool:
    """Whether it is an argument that a spec sets."""
    named = given.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return named and given.name not in {*TOLD, *LEFT_OUT} and not given.name.startswith("_")


def _parameter(cls: type, given: inspect.Parameter, hint: Any, described: Mapping[str, str]) -> Parameter:
    key = (cls.__name__, given.name)
    required = given.default is inspect.Parameter.empty
    types = [*_types(hint), *(["null"] if given.default is None else [])]
    rst = ABOUT[key] if key in ABOUT else described[given.name]
    choices: tuple[str, ...] = ()
    if "choice" in types:
        choices = CHOICES.get(key) or _literals(hint) or docstrings.quoted_words(rst)
        if not choices:
            raise LookupError(f"{cls.__name__} does not say which words {given.name} takes")
    # A padding layer crops where its padding is negative; anything else has no use for that.
    crops = cls.__module__ == "torch.nn.modules.padding"
    sign = "" if crops else SIGNS.get(given.name, "")
    default = None if required else given.default
    return Parameter(given.name, tuple(dict.fromkeys(types)), required, default, choices, docstrings.about(rst), sign)


_SCALARS: Mapping[Any, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "choice",
    type(None): "null",
    torch.Size: "int[]",
}


def _types(hint: Any) -> Iterator[str]:
    """A type hint in the words of the vocabulary: `int[2]` for `tuple[int, int]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for alternative in inner:
            yield from _types(alternative)
    elif origin is Literal:
        yield "choice"
    elif origin is list:
        yield f"{_element(inner[0])}[]"
    elif origin is tuple:
        length = "" if inner[-1] is Ellipsis else len(inner)
        yield f"{_element(inner[0])}[{length}]"
    else:
        yield _SCALARS[hint]


def _element(hint: Any) -> str:
    """The type of the elements of a list; `int?` where they may be null."""
    kinds = list(_types(hint))
    return f"{kinds[0]}?" if "null" in kinds else kinds[0]


def _literals(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(word for part in get_args(hint) for word in _literals(part))


def _ranks(cls: type[nn.Module], parameters: tuple[Parameter, ...], told: Mapping[str, str]) -> tuple[int, ...] | None:
    """The ranks of the inputs that the layer takes, as its docstring says, each tried; None where it takes any.

    Trying alone would not do: torch also takes one sample without a batch, and would take the batch for channels.
    """
    everything = tuple(range(1, MAX_RANK + 1))
    exact, possible = _documented_ranks(docstrings.input_forms(cls))
    if not exact and not possible:
        possible = set(everything)
    running = {rank for rank in exact | possible if example(cls, parameters, told, rank) is not None}
    if not running or not exact <= running:
        raise LookupError(f"{cls.__name__} should take inputs of rank {sorted(exact | possible)}, {sorted(running)} run")
    ranks = tuple(sorted(running))
    return None if ranks == everything else ranks


def _documented_ranks(forms: list[list[str]]) -> tuple[set[int], set[int]]:
    """The ranks that the shapes of a docstring name, and those that their stars may stand for."""
    exact: set[int] = set()
    possible: set[int] = set()
    for batch, *axes in forms:
        if batch == "*" and (not axes or "*" in axes):
            possible |= set(range(1, MAX_RANK + 1))
        elif "*" in axes:
            possible |= set(range(max(1, len(axes) - 1), MAX_RANK + 1))
        elif batch in ("N", "*"):
            # A leading star is any number of batch dimensions; a spec has one. So Linear takes features, and no map.
            exact.add(len(axes))
    return exact, possible


def _with_tried_types(
    cls: type[nn.Module], parameters: tuple[Parameter, ...], told: Mapping[str, str], ranks: tuple[int, ...] | None
) -> tuple[Parameter, ...]:
    """The parameters with those of their types that run, tried where the input has one rank: hints promise too much.

    MaxPool2d takes no three sizes, LPPool1d no list, AdaptiveAvgPool2d no null instead of a list of nulls.
    """
    if ranks is None or len(ranks) > 1:
        return parameters

    def runs(name: str, value: Any) -> bool:
        return example(cls, parameters, told, ranks[0], **{name: value}) is not None

    def tried(parameter: Parameter, kind: str) -> Iterator[str]:
        element, length = split_type(kind)
        if length == "":
            counts = [count for count in range(1, MAX_RANK + 1) if any(runs(parameter.name, (size,) * count) for size in (2, 1, 3))]
            if counts:
                yield f"{element}[{max(counts)}]"
        elif kind != "null" or not parameter.required or runs(parameter.name, None):
            yield kind

    return tuple(
        replace(parameter, types=tuple(found for kind in parameter.types for found in tried(parameter, kind)))
        for parameter in parameters
    )


@cache
def vocabulary_text() -> str:
    """What the file should hold."""
    return as_text({name: read(cls) for name, cls in layer_classes().items()})


def as_text(found: Mapping[str, LayerType]) -> str:
    """The vocabulary as JSON with a line for each parameter, so that a new torch makes a readable diff."""
    version = torch.__version__.partition("+")[0]
    entries = ",\n".join(f"    {json.dumps(name)}: {_entry(layer)}" for name, layer in found.items())
    return f'{{\n  "torch": {json.dumps(version)},\n  "layers": {{\n{entries}\n  }}\n}}\n'


def _entry(layer: LayerType) -> str:
    head = {"about": layer.about, "module": layer.module, "ranks": layer.ranks, "told": layer.told}
    lines = [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    parameters = ",\n".join(f"        {json.dumps(_fields(parameter))}" for parameter in layer.parameters)
    lines.append(f'      "parameters": [\n{parameters}\n      ]' if parameters else '      "parameters": []')
    return "{\n" + ",\n".join(lines) + "\n    }"


def _fields(parameter: Parameter) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": parameter.name, "types": parameter.types}
    if parameter.choices:
        fields["choices"] = parameter.choices
    if parameter.sign:
        fields["sign"] = parameter.sign
    if not parameter.required:
        fields["default"] = parameter.default
    return {**fields, "about": parameter.about}


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 where `--check` was asked for and the file is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m cnnprof.nets.signatures", description="Write the vocabulary.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file would change")
    check = parser.parse_args(arguments).check
    text = vocabulary_text()
    if not check:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.read_text(encoding="utf-8") != text:
        print(f"{FILE.name} is not what torch says: run python -m cnnprof.nets.signatures", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
