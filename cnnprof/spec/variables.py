"""`vars` and `variants`: what a spec's names stand for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from cnnprof.errors import SpecError, did_you_mean
from cnnprof.spec import expressions, reader
from cnnprof.spec.expressions import CONSTANTS, constant
from cnnprof.spec.grammar import Argument
from cnnprof.spec.reader import Mapping, Node, Scalar
from cnnprof.spec.wanted import NAME, mapping_of, new_name, short

_VARIANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def variables_of(node: Node | None) -> dict[str, Argument]:
    """What is under `vars`: the default of each. Raises SpecError."""
    values: dict[str, Argument] = {}
    if node is not None:
        for entry in mapping_of(node, "vars", "write vars: {classes: 1000}").entries:
            name = new_name(entry.key, "a variable")
            values[name] = variable_value(entry.value, values)
    return values


def variable_value(node: Node, known: Collection[str]) -> Argument:
    """What a variable is set to: numbers, lists of them, expressions of earlier variables, and words. Raises SpecError."""
    if isinstance(node, Mapping):
        raise SpecError("type", "a variable is a number, a word or a list of them", node.span)
    if isinstance(node, reader.Sequence):
        return tuple(variable_value(item, known) for item in node.items)
    if node.text in known and not node.quoted:
        return expressions.parse(node)
    if isinstance(node.value, str) and NAME.fullmatch(node.text) and node.text not in CONSTANTS:
        return constant(node.text, node.span)
    expression = expressions.parse(node)
    expressions.check_names(expression, known)
    return expression


def variants_of(node: Node | None, variables: dict[str, Argument]) -> dict[str, dict[str, Argument]]:
    """What is under `variants`: what each one sets. Raises SpecError."""
    variants: dict[str, dict[str, Argument]] = {}
    if node is None:
        return variants
    for entry in mapping_of(node, "variants", "write variants: {small: {depth: 2}, large: {depth: 4}}").entries:
        if not _VARIANT.fullmatch(entry.key.text):
            raise SpecError("name", f'"{short(entry.key.text)}" cannot name a variant', entry.key.span)
        values: dict[str, Argument] = {}
        if not (isinstance(entry.value, Scalar) and entry.value.value is None):
            for value in mapping_of(entry.value, "a variant", "write small: {depth: 2}").entries:
                name = new_name(value.key, "a variable")
                values[name] = variable_value(value.value, {*variables, *values} - {name})
        variants[entry.key.text] = values
    if not variants:
        raise SpecError("empty", "variants is empty", node.span, "remove it, or name one")
    return variants


def refuse_unused(top: Mapping, variables: Collection[str]) -> None:
    """Raises SpecError for a variant that sets what nothing reads: it is misspelt, or it would be its neighbour."""
    variants = top.get("variants")
    if not isinstance(variants, Mapping):
        return
    read = {word for key in ("input", "vars", "blocks", "layers") for word in _words(top.get(key))}
    read |= {word for entry in variants.entries for _, value in _entries(entry.value) for word in _words(value)}
    for entry in variants.entries:
        for name, _ in _entries(entry.value):
            if name.text not in read:
                advice = did_you_mean(name.text, [*variables, *read])
                raise SpecError("unused", f'nothing reads "{short(name.text)}", which this variant sets', name.span, advice)


def _entries(node: Node | None) -> Iterator[tuple[Scalar, Node]]:
    if isinstance(node, Mapping):
        yield from ((entry.key, entry.value) for entry in node.entries)


def _words(node: Node | None) -> Iterator[str]:
    """All that could be the name of a variable."""
    if isinstance(node, Scalar):
        yield from NAME.findall(node.text)
    elif isinstance(node, reader.Sequence):
        for item in node.items:
            yield from _words(item)
    for key, value in _entries(node):
        yield from _words(key)
        yield from _words(value)
