"""The parts of a spec, as they were written: nothing is computed yet, but every name is known to mean something."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from cnnprof.errors import Source, Span, SpecError, did_you_mean
from cnnprof.spec.expressions import Expression
from cnnprof.spec.vocabulary import LayerType

MODIFIERS = ("for", "if", "repeat", "first", "name")
"""What stands beside a call, in the order in which they act."""
JOINS = ("add", "cat", "mul")
"""Calls that join branches."""
RESERVED = ("as", "from")
"""For later versions."""
IN_CHANNELS = "in_channels"
"""The variable that has the channels of what enters a layer."""

Argument: TypeAlias = "Expression | tuple[Argument, ...]"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call was given, by position or by name."""

    span: Span
    positional: tuple[Argument, ...] = ()
    named: Mapping[str, tuple[Span, Argument]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlockParameter:
    name: str
    default: Expression | None

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True)
class Block:
    """A function of the user's: `conv_bn(out, k, s=1)`."""

    name: str
    parameters: tuple[BlockParameter, ...]
    body: Body
    span: Span


@dataclass(frozen=True, slots=True)
class LayerCall:
    layer: LayerType
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class BlockCall:
    block: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class VariableCall:
    """`$name`: the layer or block that a variable names."""

    variable: str
    span: Span
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Join:
    """`add`, `cat` or `mul` of named branches."""

    kind: str
    branches: tuple[tuple[str, Span, Branch], ...]
    """Each with its name and where that stands."""


@dataclass(frozen=True, slots=True)
class Do:
    body: Body


Call: TypeAlias = LayerCall | BlockCall | VariableCall | Join | Do


@dataclass(frozen=True, slots=True)
class Item:
    """One call with its modifiers."""

    call: Call
    span: Span
    loops: tuple[tuple[str, Argument], ...] = ()
    loop_span: Span | None = None
    condition: Expression | None = None
    repeat: Expression | None = None
    first: Mapping[str, tuple[Span, Argument]] = field(default_factory=dict)
    name: str | None = None
    name_span: Span | None = None


Body: TypeAlias = tuple[Item, ...]
Branch: TypeAlias = Body | Item
"""A lone item disappears with its `if`; a body whose items all disappear is the identity."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole file."""

    source: Source
    input: tuple[Expression, ...]
    about: Mapping[str, str]
    vars: Mapping[str, Argument]
    variants: Mapping[str, Mapping[str, Argument]]
    blocks: Mapping[str, Block]
    layers: Body


class Named(Protocol):
    """A parameter of a layer or of a block."""

    @property
    def name(self) -> str: ...
    @property
    def required(self) -> bool: ...


def bind(callee: str, parameters: Sequence[Named], given: Arguments, call: Span, told: Collection[str] = ()) -> dict[str, Argument]:
    """The arguments by parameter name. Raises SpecError for one too many, unknown or missing.

    `told` are those that the input gives, which torch's users are used to write.
    """
    names = [parameter.name for parameter in parameters]
    if len(given.positional) > len(names):
        extra = given.positional[len(names)]
        place = span_of(extra) or given.span
        takes = f"takes {', '.join(names)}" if names else "takes no arguments"
        advice = f"a list is read by position: write {{{names[0]}: […]}} for a value that is a list" if names else ""
        raise SpecError("too-many-arguments", f"{callee} {takes}; this is one too many", place, advice)
    for name, (span, _) in given.named.items():
        if name in told:
            raise SpecError("unknown-argument", f"the input tells {callee} its {name}", span, "leave it out")
        if name not in names:
            advice = did_you_mean(name, names) or (f"it takes {', '.join(names)}" if names else "it takes none")
            raise SpecError("unknown-argument", f'{callee} has no argument "{name}"', span, advice)
    bound = dict(zip(names, given.positional, strict=False))
    bound.update({name: value for name, (_, value) in given.named.items()})
    missing = [parameter.name for parameter in parameters if parameter.required and parameter.name not in bound]
    if missing:
        listed = " and ".join(missing)
        raise SpecError("missing-argument", f"{callee} needs {listed}", call, f"it takes {', '.join(names)}")
    return bound


def span_of(argument: Argument) -> Span | None:
    """Where an argument stands; None for an empty list."""
    while isinstance(argument, tuple):
        if not argument:
            return None
        argument = argument[0]
    return argument.span
