"""Nodes to grammar: every rule of the language that can be checked before anything is computed is checked here."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cnnprof.errors import Source, Span, SpecError, did_you_mean
from cnnprof.spec import expressions, reader
from cnnprof.spec.expressions import CONSTANTS, FUNCTIONS, Expression, constant
from cnnprof.spec.grammar import (
    Argument,
    Arguments,
    Block,
    BlockCall,
    BlockParameter,
    Body,
    Branch,
    Call,
    Do,
    Item,
    Join,
    LayerCall,
    Named,
    Spec,
    VariableCall,
    bind,
)
from cnnprof.spec.reader import Mapping, Node, Scalar
from cnnprof.spec.vocabulary import EXCLUDED, Parameter, vocabulary

KEYS = ("input", "about", "vars", "variants", "blocks", "layers")
MODIFIERS = ("for", "if", "repeat", "first", "name")
"""In the order in which they act."""
JOINS = ("add", "cat", "mul")
IN_CHANNELS = "in_channels"
RESERVED = ("as", "from")
MAX_CHAIN = 100
"""Blocks that call each other in a row. What is built may be 30 deep, see the builder."""

_OTHER_TRUTHS = {"no": "false", "off": "false", "yes": "true", "on": "true"}
"""Words that YAML 1.1 read as truth values."""

_ELSEWHERE = {
    "Sequential": "a body is a list of layers; do: [ … ] groups some",
    "ModuleList": "a body is a list of layers; do: [ … ] groups some",
    "Dense": 'it is "Linear" here',
    "Conv": 'it is "Conv2d" here',
    "MaxPool": 'it is "MaxPool2d" here',
    "AvgPool": 'it is "AvgPool2d" here',
    "BatchNorm": 'it is "BatchNorm2d" here',
    "BatchNormalization": 'it is "BatchNorm2d" here',
    "GlobalAvgPool": 'it is "AdaptiveAvgPool2d: 1" here',
    "GlobalAveragePooling2D": 'it is "AdaptiveAvgPool2d: 1" here',
    "Concat": "cat: joins branches",
    "Concatenate": "cat: joins branches",
    "Add": "add: joins branches",
}
"""What people write who come from elsewhere."""

_SHAPE = re.compile(r"[0-9]+(x[0-9]+)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_NAMES = "letters, digits and _ make a name, and it starts with no digit"
_VARIANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def parse(source: Source) -> Spec:
    """The spec in a YAML text. Raises SpecError at the first piece that is wrong."""
    root = reader.read(source)
    top = _mapping(root, "a spec", f"it has the keys {', '.join(KEYS)}")
    for entry in top.entries:
        if entry.key.text not in KEYS:
            advice = did_you_mean(entry.key.text, KEYS) or f"a spec has the keys {', '.join(KEYS)}"
            raise SpecError("unknown-key", f'a spec has no key "{entry.key.text}"', entry.key.span, advice)
    for key in ("input", "layers"):
        if top.get(key) is None:
            raise SpecError("missing-key", f'the spec has no "{key}"', root.span, _MISSING[key])
    variables = _variables(top.get("vars"))
    variants = _variants(top.get("variants"), variables)
    known = {*variables, *(name for values in variants.values() for name in values)}
    signatures = _signatures(top.get("blocks"))
    parser = _Parser(signatures, frozenset(known))
    blocks = {name: parser.block(signature) for name, signature in signatures.items()}
    _refuse_recursion(blocks)
    layers = top.get("layers")
    assert layers is not None  # it was looked for above
    spec = Spec(
        source,
        parser.input(top.get("input")),
        _about(top.get("about")),
        variables,
        variants,
        blocks,
        parser.layers(layers),
    )
    _refuse_unused(top, variables)  # last: where a name is misspelt that something reads, that place is the one to name
    return spec


_MISSING = {
    "input": "say what enters the network: input: 3x224x224",
    "layers": "say what the network does: layers: [Flatten, Linear: 10]",
}


def parse_input(text: str, span: Span | None = None) -> tuple[int, ...] | None:
    """The sizes in `3x224x224`; None where the text is no shape."""
    if not _SHAPE.fullmatch(text) or len(text) > 100:
        return None
    return tuple(int(size) for size in text.split("x"))


def _mapping(node: Node | None, what: str, advice: str = "") -> Mapping:
    if not isinstance(node, Mapping):
        span = node.span if node is not None else None
        raise SpecError("type", f"{what} is a mapping, this is {_kind(node)}", span, advice)
    return node


def _kind(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return "empty" if node.value is None and not node.text else f'"{_short(node.text)}"'
    return "a mapping" if isinstance(node, Mapping) else "a list"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _about(node: Node | None) -> dict[str, str]:
    """Whatever the author says about the network: a text, or title, authors, year …"""
    if node is None:
        return {}
    if isinstance(node, Scalar):
        return {"title": node.text}
    texts = {}
    for entry in _mapping(node, "about", "write a text, or title, authors and year").entries:
        if not isinstance(entry.value, Scalar):
            raise SpecError("type", f'"{entry.key.text}" is a text', entry.value.span)
        texts[entry.key.text] = entry.value.text
    return texts


def _new_name(scalar: Scalar, what: str) -> str:
    """A name that the file gives to something of its own."""
    name = scalar.text
    taken = name in FUNCTIONS or name in CONSTANTS or name == IN_CHANNELS or keyword.iskeyword(name)
    if taken:
        raise SpecError("name", f'"{name}" has a meaning of its own and cannot name {what}', scalar.span)
    if not _NAME.fullmatch(name):
        raise SpecError("name", f'"{_short(name)}" cannot name {what}', scalar.span, _OF_NAMES)
    return name


def _variables(node: Node | None) -> dict[str, Argument]:
    values: dict[str, Argument] = {}
    if node is not None:
        for entry in _mapping(node, "vars", "write vars: {classes: 1000}").entries:
            name = _new_name(entry.key, "a variable")
            values[name] = variable_value(entry.value, values)
    return values


def _refuse_unused(top: Mapping, variables: Collection[str]) -> None:
    """A variant that sets what nothing reads has it misspelt: it would be its neighbour under another name."""
    variants = top.get("variants")
    if not isinstance(variants, Mapping):
        return
    read = {word for key in ("input", "vars", "blocks", "layers") for word in _words(top.get(key))}
    read |= {word for entry in variants.entries for _, value in _entries(entry.value) for word in _words(value)}
    for entry in variants.entries:
        for name, _ in _entries(entry.value):
            if name.text not in read:
                advice = did_you_mean(name.text, [*variables, *read])
                raise SpecError("unused", f'nothing reads "{_short(name.text)}", which this variant sets', name.span, advice)


def _entries(node: Node | None) -> Iterator[tuple[Scalar, Node]]:
    if isinstance(node, Mapping):
        yield from ((entry.key, entry.value) for entry in node.entries)


def _words(node: Node | None) -> Iterator[str]:
    """All that could be the name of a variable."""
    if isinstance(node, Scalar):
        yield from _NAME.findall(node.text)
    elif isinstance(node, reader.Sequence):
        for item in node.items:
            yield from _words(item)
    for key, value in _entries(node):
        yield from _words(key)
        yield from _words(value)


def variable_value(node: Node, known: Collection[str]) -> Argument:
    """What a variable is set to: numbers, lists of them, expressions of earlier variables, and words."""
    if isinstance(node, Mapping):
        raise SpecError("type", "a variable is a number, a word or a list of them", node.span)
    if isinstance(node, reader.Sequence):
        return tuple(variable_value(item, known) for item in node.items)
    if node.text in known and not node.quoted:
        return expressions.parse(node)
    if isinstance(node.value, str) and _NAME.fullmatch(node.text) and node.text not in CONSTANTS:
        return constant(node.text, node.span)
    expression = expressions.parse(node)
    expressions.check_names(expression, known)
    return expression


def _variants(node: Node | None, variables: dict[str, Argument]) -> dict[str, dict[str, Argument]]:
    variants: dict[str, dict[str, Argument]] = {}
    if node is None:
        return variants
    for entry in _mapping(node, "variants", "write variants: {small: {depth: 2}, large: {depth: 4}}").entries:
        if not _VARIANT.fullmatch(entry.key.text):
            raise SpecError("name", f'"{_short(entry.key.text)}" cannot name a variant', entry.key.span)
        values: dict[str, Argument] = {}
        if not (isinstance(entry.value, Scalar) and entry.value.value is None):
            for value in _mapping(entry.value, "a variant", "write small: {depth: 2}").entries:
                name = _new_name(value.key, "a variable")
                values[name] = variable_value(value.value, {*variables, *values} - {name})
        variants[entry.key.text] = values
    if not variants:
        raise SpecError("empty", "variants is empty", node.span, "remove it, or name one")
    return variants


@dataclass(frozen=True, slots=True)
class _Signature:
    name: str
    parameters: tuple[BlockParameter, ...]
    span: Span
    body: Node


def _signatures(node: Node | None) -> dict[str, _Signature]:
    signatures: dict[str, _Signature] = {}
    if node is None:
        return signatures
    for entry in _mapping(node, "blocks", "write blocks: {conv_bn(out, k): [ … ]}").entries:
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


def _signature(key: Scalar, body: Node) -> _Signature:
    """A block's key is read as Python reads `def name(out, k, s=1)`."""
    advice = "write it as conv_bn(out, k, s=1)"
    text = key.text if "(" in key.text else f"{key.text}()"
    refused = SpecError("signature", f'"{_short(key.text)}" is no signature of a block', key.span, advice)
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
    if tree.name[0].isupper() or tree.name in (*JOINS, "do", *RESERVED):
        raise SpecError(
            "name",
            f'"{tree.name}" cannot name a block',
            key.inner.part(0, len(tree.name)),
            "blocks have lower-case names, so that they never collide with a layer's",
        )
    _new_name(replace(key, text=tree.name), "a block")
    defaults: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    parameters: list[BlockParameter] = []
    for argument, default in zip(given.args, defaults, strict=True):
        part = key.inner.part(argument.col_offset - 4, len(argument.arg))
        _new_name(Scalar(argument.arg, argument.arg, part), "a parameter")
        if any(argument.arg == parameter.name for parameter in parameters):
            raise SpecError("signature", f'the parameter "{argument.arg}" stands here twice', part)
        value = None
        if default is not None:
            start, stop = default.col_offset - 4, (default.end_col_offset or 0) - 4
            piece = text[start:stop]
            value = expressions.parse(Scalar(piece, reader.resolve(piece), key.inner.part(start, stop - start)))
        parameters.append(BlockParameter(argument.arg, value))
    return _Signature(tree.name, tuple(parameters), key.inner.part(0, len(tree.name)), body)


class _Parser:
    """Bodies, in which the file's blocks and variables are known."""

    def __init__(self, signatures: dict[str, _Signature], variables: frozenset[str]) -> None:
        self.signatures = signatures
        self.variables = variables
        self.callables = {*vocabulary(), *signatures}

    def input(self, node: Node | None) -> tuple[Expression, ...]:
        """`3x224x224`, or a list of sizes in which variables stand."""
        assert node is not None
        advice = "write channels x height x width, 3x224x224, or a list [3, resolution, resolution]"
        if isinstance(node, Scalar):
            shape = parse_input(node.text)
            if shape is None:
                raise SpecError("input", f'"{_short(node.text)}" is no shape', node.span, advice)
            return tuple(constant(size, node.span) for size in shape)
        if not isinstance(node, reader.Sequence) or not node.items:
            raise SpecError("input", f"input is a shape, this is {_kind(node)}", node.span, advice)
        sizes = [self.argument(item, self.variables) for item in node.items]
        if any(isinstance(size, tuple) for size in sizes):
            raise SpecError("input", "a size is a number", node.span, advice)
        return tuple(size for size in sizes if isinstance(size, Expression))

    def layers(self, node: Node) -> Body:
        body = self.body(node, self.variables | {IN_CHANNELS})
        if not body:
            raise SpecError("empty", "the network has no layers", node.span, _MISSING["layers"])
        return body

    def block(self, signature: _Signature) -> Block:
        """Its body sees its parameters and the variables at the top; a default sees the parameters before it."""
        known = self.variables | {IN_CHANNELS}
        parameters: list[BlockParameter] = []
        for parameter in signature.parameters:
            default = None if parameter.default is None else self.checked(parameter.default, known)
            parameters.append(replace(parameter, default=default))
            known |= {parameter.name}
        return Block(signature.name, tuple(parameters), self.body(signature.body, known), signature.span)

    def body(self, node: Node, known: frozenset[str]) -> Body:
        if isinstance(node, reader.Sequence):
            return tuple(self.item(item, known) for item in node.items)
        if isinstance(node, Scalar) and node.value is None:
            return ()
        raise SpecError("type", f"a list of layers is wanted here, this is {_kind(node)}", node.span, 'start each with "- "')

    def item(self, node: Node, known: frozenset[str]) -> Item:
        if isinstance(node, Scalar):
            return Item(self.call(node, None, known), node.span)
        if not isinstance(node, Mapping):
            raise SpecError("type", "a layer is wanted here, this is a list", node.span, "group layers with do: [ … ]")
        key, value = self.call_entry(node)
        given = {entry.key.text: entry.value for entry in node.entries if entry.key is not key}
        loops, loop_span = self.loops(given["for"], known) if "for" in given else ((), None)
        inner = known | {name for name, _ in loops}
        call = self.call(key, value, inner)
        item = Item(
            call,
            key.span,
            loops,
            loop_span,
            self.expression(given["if"], inner) if "if" in given else None,
            self.expression(given["repeat"], inner) if "repeat" in given else None,
            self.first(given["first"], call, inner) if "first" in given else {},
            self.name(given["name"]) if "name" in given else None,
            given["name"].span if "name" in given else None,
        )
        if item.first and item.repeat is None:
            raise SpecError("modifier", '"first" needs a "repeat"', given["first"].span)
        return item

    def call_entry(self, node: Mapping) -> tuple[Scalar, Node]:
        """The one entry of an item that is no modifier: the call."""
        calls = [entry for entry in node.entries if entry.key.text not in MODIFIERS]
        if not calls:
            raise SpecError("missing-layer", "no layer is named here", node.span, "write - Conv2d: [64, 3]")
        for entry in calls:
            if entry.key.text in RESERVED:
                raise SpecError("reserved", f'"{entry.key.text}" is reserved for later versions', entry.key.span)
        if len(calls) > 1:
            unknown = [entry for entry in calls if not self.is_call(entry.key.text)]
            if unknown and len(unknown) < len(calls):
                key = unknown[0].key
                advice = did_you_mean(key.text, MODIFIERS) or f"beside a layer stand {', '.join(MODIFIERS)}; arguments go inside it"
                raise SpecError("unknown-modifier", f'"{key.text}" is no modifier', key.span, advice)
            names = " and ".join(entry.key.text for entry in calls[:2])
            raise SpecError("two-layers", f"one item has one layer, not {names}", calls[1].key.span, 'start each with "- "')
        return calls[0].key, calls[0].value

    def is_call(self, name: str) -> bool:
        return name in self.callables or name in (*JOINS, "do") or name.startswith("$")

    def call(self, key: Scalar, value: Node | None, known: frozenset[str]) -> Call:
        name = key.text
        if name in JOINS:
            return Join(name, self.branches(key, value, known))
        if name == "do":
            if value is None:
                raise SpecError("missing-argument", "do needs a list of layers", key.span)
            return Do(self.body(value, known))
        if name.startswith("$"):
            variable = name[1:]
            if variable not in (words := known - {IN_CHANNELS}):
                if error := self.without_space(key, {f"${word}" for word in words}):
                    raise error
                raise expressions.unknown_name(variable, key.inner.part(1, len(variable)), words, functions=())
            return VariableCall(variable, key.span, self.arguments(value, key.span, known, None))
        if name in self.signatures:
            parameters = self.signatures[name].parameters
            arguments = self.arguments(value, key.span, known, None)
            bind(name, parameters, arguments, key.span)
            return BlockCall(name, arguments)
        layer = vocabulary().get(name)
        if layer is None:
            raise self.unknown_call(key)
        arguments = self.arguments(value, key.span, known, layer.parameters)
        bind(name, layer.parameters, arguments, key.span, layer.told)
        return LayerCall(layer, arguments)

    def without_space(self, key: Scalar, words: Container[str]) -> SpecError | None:
        """What to say of `Conv2d:[8, 3]`, which is one word to YAML."""
        name, colon, rest = key.text.partition(":")
        if not (colon and rest[:1].strip() and name in words) or key.quoted or key.span.width != len(key.text):
            return None
        message, advice = "the space after the colon is missing", f'write "{name}: …"'
        return SpecError("yaml", message, key.span.part(len(name), 1), advice)

    def unknown_call(self, key: Scalar) -> SpecError:
        if error := self.without_space(key, {*self.callables, *JOINS, "do"}):
            return error
        excluded = EXCLUDED.get(key.text)
        reason = f"torch's {key.text} {excluded}; profile a Python module: package.module:callable" if excluded else ""
        advice = (
            _ELSEWHERE.get(key.text) or reason or did_you_mean(key.text, [*sorted(self.signatures), *vocabulary(), *JOINS, "do"])
        )
        is_layer = key.text[:1].isupper()
        what = "layer" if is_layer else "block"
        if not advice:
            advice = "cnnprof schema lists the layers" if is_layer else "the file's blocks stand under blocks:"
        if isinstance(key.value, int | float | None):
            return SpecError("type", f"a layer is wanted here, this is {_kind(key)}", key.span)
        return SpecError(f"unknown-{what}", f'unknown {what} "{_short(key.text)}"', key.span, advice)

    def branches(self, key: Scalar, node: Node | None, known: frozenset[str]) -> tuple[tuple[str, Span, Branch], ...]:
        advice = f"write {key.text}: {{main: [ … ], skip: []}}"
        if node is None:
            raise SpecError("missing-argument", f"{key.text} needs branches", key.span, advice)
        branches: list[tuple[str, Span, Branch]] = []
        for entry in _mapping(node, f"what {key.text} joins", advice).entries:
            name = _new_name(entry.key, "a branch")
            lone = isinstance(entry.value, Mapping) or (isinstance(entry.value, Scalar) and entry.value.value is not None)
            branch = self.item(entry.value, known) if lone else self.body(entry.value, known)
            branches.append((name, entry.key.span, branch))
        if not branches:
            raise SpecError("missing-argument", f"{key.text} needs branches", node.span, advice)
        return tuple(branches)

    def arguments(self, node: Node | None, call: Span, known: frozenset[str], parameters: Sequence[Parameter] | None) -> Arguments:
        by_name = {parameter.name: parameter for parameter in parameters or ()}
        in_order = list(parameters or ())
        if node is None or (isinstance(node, Scalar) and node.value is None and not node.text):
            return Arguments(call)
        if isinstance(node, Mapping):
            named = {
                entry.key.text: (entry.key.span, self.argument(entry.value, known, by_name.get(entry.key.text)))
                for entry in node.entries
            }
            return Arguments(node.span, (), named)
        nodes = node.items if isinstance(node, reader.Sequence) else (node,)
        for item in nodes:
            if isinstance(item, Mapping) and all(entry.key.text in by_name for entry in item.entries):
                raise SpecError("type", "arguments stand in order or by name, not both", item.span, _all_by_name(nodes, in_order))
        values = [
            self.argument(item, known, in_order[index] if index < len(in_order) else None) for index, item in enumerate(nodes)
        ]
        return Arguments(node.span, tuple(values))

    def argument(self, node: Node, known: frozenset[str], parameter: Parameter | None = None) -> Argument:
        if isinstance(node, reader.Sequence):
            return tuple(self.argument(item, known, parameter) for item in node.items)
        if isinstance(node, Mapping):
            raise SpecError("type", "a value is wanted here, this is a mapping", node.span)
        return self.expression(node, known, parameter)

    def expression(self, node: Node, known: frozenset[str], parameter: Parameter | None = None) -> Expression:
        """An expression all of whose names are known, or a word: one of the parameter's choices, a layer, a block."""
        if not isinstance(node, Scalar):
            raise SpecError("type", f"a value is wanted here, this is {_kind(node)}", node.span)
        choices = parameter.choices if parameter else ()
        if isinstance(node.value, str) and node.text in choices:
            return constant(node.text, node.span)
        expression = expressions.parse(node)
        word = expression.word
        if word is not None and word not in known and word not in self.callables:
            if word in _OTHER_TRUTHS:
                raise SpecError("type", f'"{word}" is a word', node.span, f"YAML 1.2 writes {_OTHER_TRUTHS[word]}")
            if choices and (advice := did_you_mean(word, choices)) and parameter:
                raise SpecError("type", f"{parameter.name} has no choice {word}", node.span, advice)
            if parameter and parameter.types == ("choice",):
                advice = did_you_mean(word, choices)
                message = f"{parameter.name} is one of {', '.join(choices)}, not {word}"
                raise SpecError("type", message, node.span, advice)
        return self.checked(expression, known)

    def checked(self, expression: Expression, known: frozenset[str]) -> Expression:
        """The expression, whose names are all known; a word of its own that names a layer or a block is that word."""
        word = expression.word
        if word is not None and word not in known and word in self.callables:
            return constant(word, expression.span)
        expressions.check_names(expression, known)
        return expression

    def loops(self, node: Node, known: frozenset[str]) -> tuple[tuple[tuple[str, Argument], ...], Span]:
        mapping = _mapping(node, "for", "write for: {w: [64, 128], s: [1, 2]}")
        if not mapping.entries:
            raise SpecError("empty", '"for" names no variable', node.span, "write for: {w: [64, 128]}")
        loops = [(_new_name(entry.key, "a variable"), self.argument(entry.value, known)) for entry in mapping.entries]
        return tuple(loops), mapping.entries[0].key.span

    def first(self, node: Node, call: Call, known: frozenset[str]) -> dict[str, tuple[Span, Argument]]:
        mapping = _mapping(node, "first", "write first: {s: 2}")
        parameters = self.parameters(call)
        if parameters is None and not isinstance(call, VariableCall):
            raise SpecError("modifier", '"first" changes the arguments of a layer or a block', node.span)
        names = [parameter.name for parameter in parameters or ()]
        by_name = {parameter.name: parameter for parameter in parameters or () if isinstance(parameter, Parameter)}
        values = {}
        for entry in mapping.entries:
            name = entry.key.text
            if parameters is not None and name not in names:
                raise SpecError("unknown-argument", f'there is no argument "{name}"', entry.key.span, did_you_mean(name, names))
            values[name] = (entry.key.span, self.argument(entry.value, known, by_name.get(name)))
        return values

    def parameters(self, call: Call) -> Sequence[Named] | None:
        if isinstance(call, LayerCall):
            return call.layer.parameters
        return self.signatures[call.block].parameters if isinstance(call, BlockCall) else None

    def name(self, node: Node) -> str:
        if not isinstance(node, Scalar) or not _NAME.fullmatch(node.text):
            raise SpecError("name", f"{_kind(node)} cannot name a layer", node.span, _OF_NAMES)
        return node.text


def _refuse_recursion(blocks: dict[str, Block]) -> None:
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


def _all_by_name(nodes: Iterable[Node], parameters: Iterable[Parameter]) -> str:
    """How the same arguments are written by name."""
    texts: list[tuple[str, Node]] = []
    for node, parameter in zip(nodes, parameters, strict=False):
        if isinstance(node, Mapping):
            texts += [(entry.key.text, entry.value) for entry in node.entries]
        else:
            texts.append((parameter.name, node))
    return f"name them all: {{{', '.join(f'{name}: {node.text}' for name, node in texts if isinstance(node, Scalar))}}}"
