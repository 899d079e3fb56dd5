"""What can stand somewhere, a mapping or a new name, and what is said where it does not."""

from __future__ import annotations

import keyword
import re

from cnnprof.errors import Span, SpecError
from cnnprof.spec.expressions import CONSTANTS, FUNCTIONS
from cnnprof.spec.grammar import IN_CHANNELS
from cnnprof.spec.reader import Mapping, Node, Scalar

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OF_NAMES = "letters, digits and _ make a name, and it starts with no digit"


def mapping_of(node: Node | None, what: str, advice: str = "") -> Mapping:
    """The node, which has to be one: SpecError says that `what` is."""
    if not isinstance(node, Mapping):
        span = node.span if node is not None else None
        raise SpecError("type", f"{what} is a mapping, this is {described(node)}", span, advice)
    return node


def described(node: Node | None) -> str:
    """What it is, for "this is …"."""
    if node is None:
        return "empty"
    if isinstance(node, Scalar):
        return "empty" if node.value is None and not node.text else f'"{short(node.text)}"'
    if isinstance(node, Mapping):
        return "a mapping"
    return "a list" if node.items else "an empty list"


def short(text: str) -> str:
    """A text of the file as a message quotes it."""
    return text if len(text) <= 40 else text[:39] + "…"


def taken_name(name: str, what: str, span: Span) -> SpecError:
    """What to say where `what` is to get a name that means something else."""
    return SpecError("name", f'"{name}" has a meaning of its own and cannot name {what}', span)


def new_name(scalar: Scalar, what: str) -> str:
    """A name that the file gives to something of its own, `what`. Raises SpecError where it is none."""
    name = scalar.text
    taken = name in FUNCTIONS or name in CONSTANTS or name == IN_CHANNELS or keyword.iskeyword(name)
    if taken:
        raise taken_name(name, what, scalar.span)
    if not NAME.fullmatch(name):
        raise SpecError("name", f'"{short(name)}" cannot name {what}', scalar.span, OF_NAMES)
    return name
