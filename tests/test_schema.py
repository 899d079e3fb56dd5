"""The JSON Schema: in step with vocabulary and torch, open to all that the reader reads, closed to common mistakes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from torch import nn

from cnnprof.errors import Source, SpecError
from cnnprof.nets import layers, signatures
from cnnprof.spec.parser import parse
from cnnprof.spec.schema import MODIFIERS, json_schema, schema_text
from cnnprof.spec.vocabulary import vocabulary

CONFIGS = Path(__file__).parent.parent / "configs"
SCHEMA = json_schema()
VALIDATOR = Draft7Validator(SCHEMA)

RESNET = """
input: 3x224x224
vars: {classes: 1000}                     # --set classes=10 overrides
variants:                                 # the first is the default; a name is unique over all bundled files
  resnet18: {block: basic, depth: [2, 2, 2, 2]}
  resnet50: {block: bottleneck, depth: [3, 4, 6, 3]}
blocks:                                   # a block is a function, its signature is the key
  conv_bn(out, k, s=1):
    - Conv2d: {out_channels: out, kernel_size: k, stride: s, padding: k//2, bias: false}
    - BatchNorm2d
  shortcut(out, s):
    - conv_bn: [out, 1, s]
      if: s > 1 or in_channels != out
  basic(w, s=1):
    - add: {main: [conv_bn: [w, 3, s], ReLU, conv_bn: [w, 3]], skip: [shortcut: [w, s]]}
    - ReLU
  bottleneck(w, s=1):
    - add:                                # add, cat, mul join NAMED branches; [] is the identity
        main: [conv_bn: [w, 1], ReLU, conv_bn: [w, 3, s], ReLU, conv_bn: [4*w, 1]]
        skip: [shortcut: [4*w, s]]
    - ReLU
layers:
  - conv_bn: [64, 7, 2]
  - ReLU
  - MaxPool2d: [3, 2, 1]                  # by position: kernel_size, stride, padding
  - $block: w                             # $name: the layer or block that a variable names
    name: stage                           # rows become stage1, stage2 …: --depth 1 is the paper's table
    for: {w: [64, 128, 256, 512], s: [1, 2, 2, 2], n: depth}
    repeat: n
    first: {s: s}                         # arguments that differ in the first repetition
  - AdaptiveAvgPool2d: 1
  - Flatten
  - Linear: classes
"""


def mistakes(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_the_file_is_what_is_printed() -> None:
    assert (CONFIGS / "spec.schema.json").read_text(encoding="utf-8") == schema_text(), (
        "run cnnprof schema > configs/spec.schema.json"
    )
    assert json.loads(schema_text()) == SCHEMA


def test_printing_it_needs_no_torch() -> None:
    code = "import sys; from cnnprof.spec.schema import schema_text; schema_text(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_reference_leads_to_a_definition_and_every_definition_is_used() -> None:
    found = set(references(SCHEMA))
    for reference in found:
        node = SCHEMA
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    used = {reference.split("/")[2] for reference in found}
    bare = {name for name, layer in vocabulary().items() if not layer.parameters}
    assert used | bare == set(SCHEMA["definitions"])


@pytest.mark.parametrize("name", sorted(vocabulary()))
def test_schema_vocabulary_and_signature_agree(name: str) -> None:
    """The defaults and names that an editor shows are those that torch has."""
    layer = vocabulary()[name]
    signature = inspect.signature(getattr(layers if layer.module.startswith("cnnprof") else nn, name)).parameters
    shown = SCHEMA["definitions"][name]
    assert list(shown["properties"]) == [
        key
        for key, given in signature.items()
        if given.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD")
        and not {key} & {*signatures.TOLD, *signatures.LEFT_OUT}
        and key[0] != "_"
    ]
    for key, entry in shown["properties"].items():
        default = signature[key].default
        assert ("default" in entry) == (default is not inspect.Parameter.empty)
        assert entry.get("default") == (default if "default" in entry else None)
        assert (key in shown.get("required", ())) == (default is inspect.Parameter.empty)
        assert entry["description"]
    [item] = [way for way in SCHEMA["definitions"]["layer"]["anyOf"] if way.get("type") == "object"]
    assert item["properties"][name]["description"] == layer.about


def test_the_example_of_the_design() -> None:
    assert mistakes(RESNET) == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_networks(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert mistakes(text) == []
    assert text.startswith("# yaml-language-server: $schema=spec.schema.json\n")


def spec(layers_: str, top: str = "") -> str:
    return f"input: 3x32x32\nvars: {{w: 8, order: [2, 1, 0], act: ReLU, mode: reflect}}\n{top}layers:\n{layers_}\n"


RIGHT = {
    "a layer without arguments": spec("- ReLU"),
    "a layer with nothing behind it": spec("- ReLU:\n  if: w > 4"),
    "an empty list of arguments": spec("- ReLU: []"),
    "by name": spec("- Conv2d: {out_channels: w, kernel_size: [3, 5], padding: same}"),
    "by position": spec("- Conv2d: [2*w, 3, 1, 1]"),
    "one value": spec("- Dropout: 0.1"),
    "one expression": spec("- MaxPool2d: w // 4"),
    "an expression for a truth value": spec("- Conv2d: {out_channels: 4, kernel_size: 1, bias: w > 4}"),
    "a function of two in quotes": spec('- Conv2d: ["max(w, 16)", 1]'),
    "a word": spec("- Conv2d: {out_channels: 4, kernel_size: 3, padding: 1, padding_mode: reflect}"),
    "a variable that holds a word": spec("- Conv2d: {out_channels: 4, kernel_size: 3, padding_mode: mode}"),
    "a variable that holds a list": spec("- Permute: order"),
    "a list in a list": spec("- Permute: [[2, 1, 0]]"),
    "null": spec("- BatchNorm2d: {momentum: null}"),
    "null in a list": spec("- AdaptiveAvgPool2d: [[null, 7]]"),
    "padding that crops": spec("- ZeroPad2d: -1"),
    "an integer written as a float": spec("- Conv2d: [8.0, 3]"),
    "joins": spec("- cat: {a: [ReLU, Conv2d: [w, 1]], b: Identity, c: {MaxPool2d: [3, 1, 1]}, d: []}"),
    "a branch with a condition": spec("- add:\n    main: [ReLU]\n    skip: {Identity: , if: w > 4}"),
    "a group": spec("- do: [ReLU, ReLU]\n  repeat: 2*w\n  name: twice"),
    "all modifiers": spec(
        "- Conv2d: [8, 3]\n  if: w > 4\n  for: {a: [1, 2], b: order[:2]}\n".replace("order[:2]", "[3, 4]")
        + "  repeat: a\n  first: {kernel_size: 1}\n  name: all"
    ),
    "a variable that names a layer": spec("- $act\n- $act: {inplace: true}\n- $act: []"),
    "blocks": spec("- b: 3\n- c\n- b: [1, 2]\n- b: {x: 1}", "blocks:\n  b(x, y=w//2): [ReLU]\n  c: [ReLU]\n"),
    "an input of features": "input: 784\nlayers: [Linear: 10]",
    "an input with variables": "input: [3, size, 2*size]\nvars: {size: 224}\nlayers: [ReLU]",
    "about as a text": "input: 3x4\nabout: a test\nlayers: [ReLU]",
    "about in parts": "input: 3x4\nabout: {title: A, authors: B, year: 2015, paper: C}\nlayers: [ReLU]",
    "a variant without values": "input: 3x4\nvariants: {a: , b: {w: 3}}\nvars: {w: 1}\nlayers: [ReLU]",
}

WRONG = {
    "no input": "layers: [ReLU]",
    "no layers": "input: 3x32x32",
    "an empty list of layers": "input: 3x32x32\nlayers: []",
    "an unknown key": spec("- ReLU", "blcoks: {}\n"),
    "an input that is no shape": "input: 3 by 32\nlayers: [ReLU]",
    "an unknown layer": spec("- Conv2D: [8, 3]"),
    "an unknown bare layer": spec("- Relu6"),
    "an unknown argument": spec("- Conv2d: {out_channels: 8, kernel: 3, kernel_size: 3}"),
    "what the input tells": spec("- Conv2d: {in_channels: 3, out_channels: 8, kernel_size: 3}"),
    "a missing argument by name": spec("- Conv2d: {out_channels: 8}"),
    "a missing argument by position": spec("- Conv2d: [8]"),
    "a missing argument beside one value": spec("- Conv2d: 8"),
    "a bare layer that needs arguments": spec("- Linear"),
    "a layer that needs arguments with nothing behind it": spec("- Linear:"),
    "too many arguments": spec("- Dropout: [0.5, true, 3]"),
    "arguments where there are none": spec("- Sigmoid: 3"),
    "70.4 for an integer": spec("- Conv2d: {out_channels: 70.4, kernel_size: 3}"),
    "a truth value for an integer": spec("- Conv2d: [true, 3]"),
    "an integer for a truth value": spec("- Conv2d: {out_channels: 8, kernel_size: 3, bias: 1}"),
    "a list of three for two sizes": spec("- MaxPool2d: {kernel_size: [2, 2, 2]}"),
    "no channels": spec("- Conv2d: [0, 3]"),
    "a negative stride": spec("- MaxPool2d: [2, -1]"),
    "negative padding": spec("- Conv2d: {out_channels: 8, kernel_size: 3, padding: -1}"),
    "a null for an integer": spec("- Conv2d: [null, 3]"),
    "code": spec("- Linear: __import__('os').system('true')"),
    "two layers in one item": spec("- Conv2d: [8, 3]\n  ReLU:"),
    "two layers beside a modifier": spec("- Conv2d: [8, 3]\n  ReLU: []\n  if: w > 1\n  name: both"),
    "modifiers alone": spec("- if: w > 1\n  name: nothing"),
    "an empty item": spec("- {}"),
    "a list as an item": spec("- [ReLU]"),
    "a number as an item": spec("- 3"),
    "first without repeat": spec("- Conv2d: [8, 3]\n  first: {kernel_size: 1}"),
    "for without lists": spec("- Conv2d: [w, 3]\n  for: {w: 3}"),
    "a join of a list": spec("- add: [ReLU, ReLU]"),
    "a join of nothing": spec("- add: {}"),
    "a reserved word": spec("- ReLU:\n  as: x"),
    "a block that looks like a layer": spec("- ReLU", "blocks: {Conv(x): [ReLU]}\n"),
    "a block that is a join": spec("- ReLU", "blocks: {add(x): [ReLU]}\n"),
    "a block without a body": spec("- ReLU", "blocks: {b(x): 3}\n"),
    "a variable that is a mapping": "input: 3x4\nvars: {w: {a: 1}}\nlayers: [ReLU]",
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_it_accepts(text: str) -> None:
    parse(Source("right.yaml", text))
    assert mistakes(text) == []


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_it_refuses(text: str) -> None:
    assert mistakes(text)


def test_one_call_and_any_modifiers_make_an_item() -> None:
    """Each number of calls beside each set of modifiers: only one call is right."""
    values: dict[str, Any] = {"if": True, "for": {"w": [1]}, "repeat": 2, "first": {"inplace": True}, "name": "x"}
    assert set(values) == set(MODIFIERS)
    calls: dict[str, Any] = {"ReLU": None, "add": {"a": []}, "block": 1}
    for bits in range(2 ** len(values)):
        modifiers = {key: value for index, (key, value) in enumerate(values.items()) if bits >> index & 1}
        if "first" in modifiers and "repeat" not in modifiers:
            continue
        for count in range(len(calls) + 1):
            item = {**dict(list(calls.items())[:count]), **modifiers}
            assert VALIDATOR.is_valid({"input": "3x4", "layers": [item]}) == (count == 1), item


@pytest.mark.parametrize("name", sorted(vocabulary()))
def test_a_layer_needs_what_the_reader_says_it_needs(name: str) -> None:
    """With nothing behind the name, schema and reader agree on every layer."""
    text = f"input: 3x8x8\nlayers: [{name}]"
    if mistakes(text):
        with pytest.raises(SpecError) as caught:
            parse(Source("bare.yaml", text))
        assert caught.value.code == "missing-argument"
    else:
        parse(Source("bare.yaml", text))
