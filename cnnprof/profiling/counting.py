"""What a row counts: the terms of a sum, and what it could not count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from torch import nn

from cnnprof.operators.products import term
from cnnprof.profiling.calls import AnyCall, LayerCall
from cnnprof.profiling.profile import Term

Terms: TypeAlias = tuple[Term, ...]

Counted: TypeAlias = "tuple[Terms, tuple[str, ...]]"
"""The terms of a count, and the names of what makes it a lower bound."""

Counting: TypeAlias = Callable[[AnyCall], Counted]
"""Counts a row."""

NOTHING: Counted = ((), ())


class InexpressibleError(Exception):
    """What a tool counts here does not follow from what a trace sees. Says for what: `einsum`."""


def products_of_call(call: AnyCall) -> Counted:
    """The terms of a row's products, and the operators that are in no table."""
    if isinstance(call, LayerCall) and call.known:  # nearly always
        return call.terms, ()
    terms: list[tuple[int, ...]] = []
    unknown: dict[str, None] = {}
    for operation in call.operations():
        terms += operation.terms
        if not operation.known:
            unknown[operation.operator] = None
    return tuple(terms), tuple(unknown)


def times(factor: int, size: Sequence[int]) -> Terms:
    """So many for each element of a tensor of that size, batch included; none for none."""
    if factor == 0:
        return ()
    return (term(*size) if size else (1,),) if factor == 1 else ((factor, *size),)


def several(number: int, terms: Terms) -> Terms:
    """That many times the terms."""
    return terms if number == 1 else tuple([(number, *factors) for factors in terms])


def plain(number: float) -> Terms:
    """A number without arithmetic to show, rounded down as `int` does."""
    return ((int(number),),) if int(number) else ()


def total(terms: Terms) -> int:
    """The sum of the terms."""
    return sum(map(math.prod, terms))


def counted(tool: str, rule: Callable[..., Terms], *args: object) -> Counted:
    """What a rule of a tool gives, or the name of what it cannot count."""
    try:
        return rule(*args), ()
    except InexpressibleError as error:
        return (), (f"{error} as {tool} counts it",)


def together(counts: Iterable[Counted]) -> Counted:
    """The sum of several counts; what makes it a lower bound is named once."""
    terms: list[Term] = []
    unknown: dict[str, None] = {}
    for more, names in counts:
        terms += more
        unknown |= dict.fromkeys(names)
    return tuple(terms), tuple(unknown)


class Places(dict[nn.Module, int]):
    """In how many places below `root` each module stands: more than one where several modules share it."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__({root: 1})
        self.parents: dict[nn.Module, list[nn.Module]] = defaultdict(list)
        for module in root.modules():
            for child in module.children():
                self.parents[child].append(module)

    def __missing__(self, module: nn.Module) -> int:
        count = self[module] = sum([self[parent] for parent in self.parents[module]])
        return count
