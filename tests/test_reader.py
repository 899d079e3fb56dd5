"""YAML 1.2 scalars, and the place of everything that was read."""

from __future__ import annotations

import pytest

from cnnprof.errors import Source, SpecError
from cnnprof.spec.reader import Mapping, Scalar, Sequence, read


def value_of(text: str) -> object:
    node = read(Source("x.yaml", f"key: {text}"))
    assert isinstance(node, Mapping)
    value = node.get("key")
    assert isinstance(value, Scalar)
    return value.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),  # a word in YAML 1.1
        ("1.0E+3", 1000.0),
        (".5", 0.5),
        ("007", 7),  # 7 in YAML 1.1 too, but 010 is 8 there
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("-3", -3),
        ("1_000", "1_000"),  # 1000 in YAML 1.1
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("no", "no"),  # false in YAML 1.1
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'true'", "true"),
        ('"3"', "3"),
        ("2001-01-01", "2001-01-01"),
        ("<<", "<<"),
        (".inf", ".inf"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_everything_keeps_its_place() -> None:
    text = "input: 3x8x8\nlayers:\n  - Conv2d: [8, k//2]   # a comment\n  - été\n"
    root = read(Source("x.yaml", text))
    assert isinstance(root, Mapping)
    layers = root.get("layers")
    assert isinstance(layers, Sequence)
    conv = layers.items[0]
    assert isinstance(conv, Mapping)
    arguments = conv.entries[0].value
    assert isinstance(arguments, Sequence)
    half = arguments.items[1].span
    assert str(half) == "x.yaml:3:17"
    assert text.splitlines()[half.line - 1][half.column - 1 :][: half.width] == "k//2"
    assert layers.items[1].span.width == 3


def test_an_alias_is_the_node_itself() -> None:
    root = read(Source("x.yaml", "a: &a [1, 2]\nb: *a\n"))
    assert isinstance(root, Mapping)
    assert root.get("a") is root.get("b")


def test_line_ends_of_other_systems() -> None:
    root = read(Source("x.yaml", "a: 1\r\nb: 2\r\n"))
    assert isinstance(root, Mapping)
    assert str(root.entries[1].key.span) == "x.yaml:2:1"
    assert root.span.source.line(2) == "b: 2"


def test_an_alias_counts_as_often_as_it_is_used() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 4)]
    assert isinstance(read(Source("x.yaml", "\n".join(lines))), Mapping)  # 10^4 nodes
    lines.append(f"a4: [{', '.join(['*a3'] * 10)}]")
    with pytest.raises(SpecError, match="20,000 nodes"):
        read(Source("x.yaml", "\n".join(lines)))
