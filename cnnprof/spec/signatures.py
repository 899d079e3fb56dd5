"""`blocks`: their keys, which are read as the first line of a function, and which of them call which."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from cnnprof.errors import Span, SpecError
from cnnprof.spec import expressions, reader
from cnnprof.spec.grammar import JOINS, MODIFIERS, RESERVED, Block, BlockCall, BlockParameter, Branch, Do, Item, Join
from cnnprof.spec.reader import Node, Scalar
from cnnprof.spec.wanted import mapping_of, new_name, short, taken_name

MAX_CHAIN = 100
"""Blocks that call each other in a row. What is built may be 30 deep, see the builder."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A block whose body is still to be read: for that, all of them have to be known."""

    name: str
    parameters: tuple[BlockParameter, ...]
    span: Span
    body: Node


def signatures_of(node: Node | None) -> dict[str, Signature]:
    """What is under `blocks`, by name. Raises SpecError."""
    signatures: dict[str, Signature] = {}
    if node is None:
        return signatures
    for entry in mapping_of(node, "blocks", "write blocks: {conv_bn(out, k): [ … ]}").entries:
        signature = _signature(entry.key, entry.value)
        if signature.name in signatures:
            first = signatures[signature.name].span
            raise SpecError(
                "duplicate-key",
                f'the block "{signature.name}" stands here twice',
                signature.span,
                f"it is also on line {first.line}",
            )
        signatures[signature.name] = signature
    return signatures


def _signature(key: Scalar, body: Node) -> Signature:
    """A block's key is read as Python reads `def name(out, k, s=1)`."""
    name = key.text.partition("(")[0]
    if name in (*JOINS, "do", *MODIFIERS, *RESERVED):
        raise taken_name(name, "a block", key.inner.part(0, len(name)))
    advice = "write it as conv_bn(out, k, s=1)"
    text = key.text if "(" in key.text else f"{key.text}()"
    refused = SpecError("signature", f'"{short(key.text)}" is no signature of a block', key.span, advice)
    if len(text) > expressions.MAX_LENGTH:
        raise refused
    try:
        tree = ast.parse(f"def {text}: 0").body[0]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise refused from None
    if not isinstance(tree, ast.FunctionDef) or [ast.unparse(line) for line in tree.body] != ["0"] or tree.returns:
        raise refused
    given = tree.args
    if given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg or any(arg.annotation for arg in given.args):
        raise refused
    if tree.name[0].isupper():
        why = "blocks have lower-case names, so that they never collide with a layer's"
        raise SpecError("name", f'"{tree.name}" cannot name a block', key.inner.part(0, len(tree.name)), why)
    new_name(replace(key, text=tree.name), "a block")
    defaults: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    parameters: list[BlockParameter] = []
    for argument, default in zip(given.args, defaults, strict=True):
        part = key.inner.part(argument.col_offset - 4, len(argument.arg))
        new_name(Scalar(argument.arg, argument.arg, part), "a parameter")
        if any(argument.arg == parameter.name for parameter in parameters):
            raise SpecError("signature", f'the parameter "{argument.arg}" stands here twice', part)
        value = None
        if default is not None:
            start, stop = default.col_offset - 4, (default.end_col_offset or 0) - 4
            piece = text[start:stop]
            value = expressions.parse(Scalar(piece, reader.resolve(piece), key.inner.part(start, stop - start)))
        parameters.append(BlockParameter(argument.arg, value))
    return Signature(tree.name, tuple(parameters), key.inner.part(0, len(tree.name)), body)


def refuse_recursion(blocks: dict[str, Block]) -> None:
    """Refuses a block that calls itself, directly or through others. A call by variable is only known when it is built."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            through = way[way.index(name) + 1 :]
            by = f" through {', '.join(through)}" if through else ""
            raise SpecError("recursion", f'the block "{name}" calls itself{by}', blocks[name].span)
        if len(way) > MAX_CHAIN:
            raise SpecError("nesting", f"blocks call blocks, more than {MAX_CHAIN} deep", blocks[name].span)
        if name not in done:
            for called in _called(blocks[name].body):
                visit(called, (*way, name))
            done.add(name)

    for name in blocks:
        visit(name, ())


def _called(branch: Branch) -> list[str]:
    items = (branch,) if isinstance(branch, Item) else branch
    names: list[str] = []
    for item in items:
        call = item.call
        if isinstance(call, BlockCall):
            names.append(call.block)
        elif isinstance(call, Do):
            names += _called(call.body)
        elif isinstance(call, Join):
            for _, _, inner in call.branches:
                names += _called(inner)
    return names
