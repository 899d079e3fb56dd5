"""The JSON Schema of a spec file, by which an editor completes layers and arguments, explains and checks them.

It is draft-07, which editors know best. It never refuses what the reader accepts: an expression is any text that could
be one, and what only the reader can know, such as the names of blocks, is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from cnnprof.spec.vocabulary import LayerType, Parameter, split_type, vocabulary

Schema = dict[str, Any]

MODIFIERS: Mapping[str, Schema] = {
    "for": {
        "description": "Repeats the layer for the values of one list or several together: {w: [64, 128], s: [1, 2]}.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"$ref": "#/definitions/name"},
        "additionalProperties": {
            "anyOf": [
                {"$ref": "#/definitions/expression"},
                {"type": "array", "items": {"$ref": "#/definitions/value"}},
            ]
        },
    },
    "if": {"$ref": "#/definitions/boolean", "description": "Leaves the layer out unless this is true; for each value of a loop."},
    "repeat": {"$ref": "#/definitions/integer_not_negative", "description": "How many times the layer stands here."},
    "first": {
        "description": "Arguments that differ in the first repetition: {s: 2}.",
        "type": "object",
        "additionalProperties": {"$ref": "#/definitions/value"},
    },
    "name": {"$ref": "#/definitions/name", "description": "What the row is called; a loop adds a number."},
}

JOINS: Mapping[str, str] = {
    "add": "Adds what its branches give. A branch is a list of layers; an empty one is the input itself.",
    "cat": "Concatenates what its branches give along the channels.",
    "mul": "Multiplies what its branches give; sizes of 1 are stretched.",
}

_RESERVED = (*JOINS, "do", *MODIFIERS, "as", "from")
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_BLOCK = f"(?!(?:{'|'.join(_RESERVED)})(?:\\(|$))[a-z_][A-Za-z0-9_]*"
_CALL = rf"^(?:{_BLOCK}|\${_NAME})$"
"""The name of a block, or a variable that names a layer or a block."""


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(json_schema(), indent=2, sort_keys=False) + "\n"


def json_schema() -> Schema:
    """The schema as an object that `json` writes."""
    layers = vocabulary()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A network, as cnnprof reads it",
        "type": "object",
        "required": ["input", "layers"],
        "additionalProperties": False,
        "properties": _TOP,
        "definitions": {
            **_SHAPES,
            **_types(layers),
            "body": _BODY,
            "layer": _layer(layers),
            "branches": _BRANCHES,
            "arguments": _ARGUMENTS,
            "one_call": _one_call(),
            **{name: _by_name(layer) for name, layer in layers.items()},
        },
    }


_TOP: Mapping[str, Schema] = {
    "input": {
        "description": "The shape that enters, without the batch: 3x224x224, or a list in which variables can stand.",
        "anyOf": [
            {"type": "string", "pattern": "^[0-9]+(?:x[0-9]+)*$"},
            {"type": "integer", "minimum": 1},
            {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/integer_positive"}},
        ],
    },
    "about": {
        "description": "What network this is.",
        "anyOf": [
            {"$ref": "#/definitions/text"},
            {
                "type": "object",
                "properties": {
                    "title": {"$ref": "#/definitions/text", "description": "The title of the paper."},
                    "authors": {"$ref": "#/definitions/text", "description": "Who wrote it."},
                    "year": {"$ref": "#/definitions/text", "description": "When it appeared."},
                    "paper": {"$ref": "#/definitions/text", "description": "Where to find it."},
                },
                "additionalProperties": {"$ref": "#/definitions/text"},
            },
        ],
    },
    "vars": {
        "description": "Variables with their defaults; --set name=value overrides them.",
        "$ref": "#/definitions/variables",
    },
    "variants": {
        "description": "Networks of the family, each with its variables; the first is the default.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
        "additionalProperties": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/variables"}]},
    },
    "blocks": {
        "description": "Functions made of layers; the key is the signature: conv_bn(out, k, s=1).",
        "type": "object",
        "propertyNames": {"pattern": rf"^{_BLOCK}(?:\(.*\))?$"},
        "additionalProperties": {"$ref": "#/definitions/body"},
    },
    "layers": {
        "description": "The network, from its input on.",
        "allOf": [{"$ref": "#/definitions/body"}, {"type": "array", "minItems": 1}],
    },
}

_EXPRESSION = {"$ref": "#/definitions/expression"}
_SHAPES: Mapping[str, Schema] = {
    "name": {"type": "string", "pattern": f"^{_NAME}$"},
    "text": {"type": ["string", "number", "boolean", "null"]},
    "expression": {
        "description": ("Numbers, names, + - * / // %, comparisons, and, or, not, a if c else b, ceil floor round round8 min max."),
        "type": "string",
        "pattern": r"^[^\"'\[\]{}:;@#\\`$&|^~]+$",
    },
    "value": {
        "description": "A number, a word, an expression, or a list of them.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "array", "items": {"$ref": "#/definitions/value"}},
        ],
    },
    "variables": {
        "type": "object",
        "propertyNames": {"$ref": "#/definitions/name"},
        "additionalProperties": {"$ref": "#/definitions/value"},
    },
    "integer": {"anyOf": [{"type": "integer"}, _EXPRESSION]},
    "integer_positive": {"anyOf": [{"type": "integer", "minimum": 1}, _EXPRESSION]},
    "integer_not_negative": {"anyOf": [{"type": "integer", "minimum": 0}, _EXPRESSION]},
    "number": {"anyOf": [{"type": "number"}, _EXPRESSION]},
    "number_positive": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _EXPRESSION]},
    "boolean": {"anyOf": [{"type": "boolean"}, _EXPRESSION]},
    "null": {"type": "null"},
    "nothing": {
        "description": "It takes no arguments.",
        "anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}, {"type": "object", "maxProperties": 0}],
    },
}

_BODY: Schema = {
    "description": "Layers, one after the other.",
    "anyOf": [{"type": "array", "items": {"$ref": "#/definitions/layer"}}, {"type": "null"}],
}

_BRANCHES: Schema = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"$ref": "#/definitions/name"},
    "additionalProperties": {"anyOf": [{"$ref": "#/definitions/body"}, {"$ref": "#/definitions/layer"}]},
}

_ARGUMENTS: Schema = {
    "description": "Arguments of a block: the first one, a list by position, or a mapping by name.",
    "anyOf": [
        {"$ref": "#/definitions/value"},
        {"type": "object", "additionalProperties": {"$ref": "#/definitions/value"}},
    ],
}


def _layer(layers: Mapping[str, LayerType]) -> Schema:
    """One item of a body: a bare name, or a call with its modifiers."""
    bare = [name for name, layer in layers.items() if not _required(layer)]
    calls: Schema = {name: _call(layer) for name, layer in layers.items()}
    calls |= {name: {"$ref": "#/definitions/branches", "description": about} for name, about in JOINS.items()}
    calls["do"] = {"$ref": "#/definitions/body", "description": "Layers as a group, for a modifier to apply to."}
    return {
        "anyOf": [
            {"enum": bare},
            {"type": "string", "pattern": _CALL},
            {
                "type": "object",
                "properties": {**calls, **MODIFIERS},
                "patternProperties": {_CALL: {"$ref": "#/definitions/arguments"}},
                "additionalProperties": False,
                "dependencies": {"first": ["repeat"]},
                "allOf": [{"$ref": "#/definitions/one_call"}],
            },
        ]
    }


def _one_call() -> Schema:
    """Exactly one key is no modifier. draft-07 can only say so by counting, for each set of modifiers."""
    subsets = [chosen for count in range(len(MODIFIERS) + 1) for chosen in combinations(MODIFIERS, count)]
    return {
        "description": "One layer, and modifiers beside it.",
        "not": {"propertyNames": {"enum": list(MODIFIERS)}},
        "anyOf": [{"required": list(chosen), "maxProperties": len(chosen) + 1} for chosen in subsets],
    }


def _call(layer: LayerType) -> Schema:
    """What can stand behind the name of a layer."""
    if not layer.parameters:
        return {"description": layer.about, "$ref": "#/definitions/nothing"}
    by_name = f"#/definitions/{layer.name}"
    required = len(_required(layer))
    by_position: Schema = {
        "type": "array",
        "minItems": required,
        "items": [{"$ref": f"{by_name}/properties/{parameter.name}"} for parameter in layer.parameters],
        "additionalItems": False,
    }
    ways: list[Schema] = [{"$ref": by_name}, by_position]
    if required <= 1:
        first = layer.parameters[0]
        # A list would be read by position.
        ways += _alternatives(first, [kind for kind in first.types if split_type(kind)[1] is None])
    if not required:
        ways.append({"type": "null"})
    return {"description": layer.about, "anyOf": ways}


def _by_name(layer: LayerType) -> Schema:
    """The arguments of a layer by their names."""
    found: Schema = {
        "type": "object",
        "properties": {parameter.name: _parameter(parameter) for parameter in layer.parameters},
        "additionalProperties": False,
    }
    if required := _required(layer):
        found["required"] = required
    return found


def _required(layer: LayerType) -> list[str]:
    """The arguments that have to be given; in a signature they come first."""
    return [parameter.name for parameter in layer.parameters if parameter.required]


def _parameter(parameter: Parameter) -> Schema:
    """Its description and default stand beside the reference: a validator passes over them, an editor shows them."""
    said: Schema = {"description": parameter.about}
    if not parameter.required:
        said["default"] = parameter.default
    if parameter.choices:
        return {**said, "anyOf": _alternatives(parameter, parameter.types)}
    return {**said, "$ref": f"#/definitions/{_type_name(parameter)}"}


_WORDS = {"int": "integer", "float": "number", "bool": "boolean", "null": "null"}
_PLURALS = {"int": "integers", "float": "numbers", "int?": "integers_or_nulls"}


def _scalar_name(element: str, sign: str) -> str:
    """The definition of one value: `integer_positive`."""
    signed = f"_{sign.replace(' ', '_')}" if sign and element in ("int", "float") else ""
    return _WORDS[element] + signed


def _type_name(parameter: Parameter) -> str:
    """The definition of all that a parameter takes, which many share: `integer_or_2_integers_positive`."""
    parts = []
    for kind in parameter.types:
        element, length = split_type(kind)
        parts.append(_WORDS[element] if length is None else f"{length}_{_PLURALS[element]}".lstrip("_"))
    return "_or_".join(parts) + (f"_{parameter.sign.replace(' ', '_')}" if parameter.sign else "")


def _types(layers: Mapping[str, LayerType]) -> dict[str, Schema]:
    """The definitions of what parameters take, each once."""
    parameters = [parameter for layer in layers.values() for parameter in layer.parameters if not parameter.choices]
    named = {_type_name(parameter): parameter for parameter in parameters}
    return {
        name: {"anyOf": _alternatives(parameter, parameter.types)}
        for name, parameter in sorted(named.items())
        if name not in _SHAPES
    }


def _alternatives(parameter: Parameter, kinds: Sequence[str]) -> list[Schema]:
    """What a parameter takes where it is of one of these types. An expression can always stand for it."""
    found: list[Schema] = []
    for kind in kinds:
        element, length = split_type(kind)
        if kind == "choice":
            found.append({"enum": list(parameter.choices)})
        elif length is None:
            found.append({"$ref": f"#/definitions/{_scalar_name(element, parameter.sign)}"})
        else:
            found.append(_list(element, length, parameter.sign))
    return found if any(kind in _SCALARS for kind in kinds) else [*found, _EXPRESSION]


_SCALARS = ("int", "float", "bool")
"""Types whose definitions have the expression in them."""


def _list(element: str, length: str, sign: str) -> Schema:
    items: Schema = {"$ref": f"#/definitions/{_scalar_name(element.removesuffix('?'), sign)}"}
    if element.endswith("?"):
        items = {"anyOf": [items, {"type": "null"}]}
    size = {"minItems": int(length), "maxItems": int(length)} if length else {"minItems": 1}
    return {"type": "array", **size, "items": items}
