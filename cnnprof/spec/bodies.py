"""Bodies: lists of layers, calls of blocks and branches, in which the file's blocks and variables are known."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from cnnprof.errors import Span, SpecError, did_you_mean
from cnnprof.spec import expressions, reader
from cnnprof.spec.expressions import Expression, constant
from cnnprof.spec.grammar import (
    IN_CHANNELS,
    JOINS,
    MODIFIERS,
    RESERVED,
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
    VariableCall,
    bind,
)
from cnnprof.spec.input import parse_shape
from cnnprof.spec.reader import Mapping, Node, Scalar
from cnnprof.spec.signatures import Signature
from cnnprof.spec.vocabulary import EXCLUDED, Parameter, vocabulary
from cnnprof.spec.wanted import NAME, OF_NAMES, described, mapping_of, new_name, short

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

NO_LAYERS = "say what the network does: layers: [Flatten, Linear: 10]"


class Bodies:
    """Reads bodies, with what the file's blocks and variables are called. Its methods raise SpecError where that is wrong."""

    def __init__(self, signatures: dict[str, Signature], variables: frozenset[str]) -> None:
        self.signatures = signatures
        self.variables = variables
        self.callables = {*vocabulary(), *signatures}

    def input(self, node: Node | None) -> tuple[Expression, ...]:
        """`3x224x224`, or a list of sizes in which variables stand."""
        assert node is not None
        advice = "write channels x height x width, 3x224x224, or a list [3, resolution, resolution]"
        if isinstance(node, Scalar):
            shape = parse_shape(node.text)
            if shape is None:
                raise SpecError("input", f'"{short(node.text)}" is no shape', node.span, advice)
            return tuple(constant(size, node.span) for size in shape)
        if not isinstance(node, reader.Sequence) or not node.items:
            raise SpecError("input", f"input is a shape, this is {described(node)}", node.span, advice)
        sizes = [self.argument(item, self.variables) for item in node.items]
        if any(isinstance(size, tuple) for size in sizes):
            raise SpecError("input", "a size is a number", node.span, advice)
        return tuple(size for size in sizes if isinstance(size, Expression))

    def layers(self, node: Node) -> Body:
        body = self.body(node, self.variables | {IN_CHANNELS})
        if not body:
            raise SpecError("empty", "the network has no layers", node.span, NO_LAYERS)
        return body

    def block(self, signature: Signature) -> Block:
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
        raise SpecError("type", f"a list of layers is wanted here, this is {described(node)}", node.span, 'start each with "- "')

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
            return SpecError("type", f"a layer is wanted here, this is {described(key)}", key.span)
        return SpecError(f"unknown-{what}", f'unknown {what} "{short(key.text)}"', key.span, advice)

    def branches(self, key: Scalar, node: Node | None, known: frozenset[str]) -> tuple[tuple[str, Span, Branch], ...]:
        advice = f"write {key.text}: {{main: [ … ], skip: []}}"
        if node is None:
            raise SpecError("missing-argument", f"{key.text} needs branches", key.span, advice)
        branches: list[tuple[str, Span, Branch]] = []
        for entry in mapping_of(node, f"what {key.text} joins", advice).entries:
            name = new_name(entry.key, "a branch")
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
            raise SpecError("type", f"a value is wanted here, this is {described(node)}", node.span)
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
        mapping = mapping_of(node, "for", "write for: {w: [64, 128], s: [1, 2]}")
        if not mapping.entries:
            raise SpecError("empty", '"for" names no variable', node.span, "write for: {w: [64, 128]}")
        loops = [(new_name(entry.key, "a variable"), self.argument(entry.value, known)) for entry in mapping.entries]
        return tuple(loops), mapping.entries[0].key.span

    def first(self, node: Node, call: Call, known: frozenset[str]) -> dict[str, tuple[Span, Argument]]:
        mapping = mapping_of(node, "first", "write first: {s: 2}")
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
        if not isinstance(node, Scalar) or not NAME.fullmatch(node.text):
            raise SpecError("name", f"{described(node)} cannot name a layer", node.span, OF_NAMES)
        return node.text


def _all_by_name(nodes: Iterable[Node], parameters: Iterable[Parameter]) -> str:
    """How the same arguments are written by name."""
    texts: list[tuple[str, Node]] = []
    for node, parameter in zip(nodes, parameters, strict=False):
        if isinstance(node, Mapping):
            texts += [(entry.key.text, entry.value) for entry in node.entries]
        else:
            texts.append((parameter.name, node))
    return f"name them all: {{{', '.join(f'{name}: {node.text}' for name, node in texts if isinstance(node, Scalar))}}}"
