"""What a trace needs to know of each operator, found once: its rule, its products, what it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cnnprof.operators import writes
from cnnprof.operators.table import RULES
from cnnprof.profiling.profile import Term
from cnnprof.profiling.receptive_field import Followed, followed


class Operator(NamedTuple):
    """What a trace needs to know of an operator."""

    name: str
    make: Callable[..., Any]
    """The rule of its output. It returns None where it has no answer."""
    products: Callable[..., tuple[Term, ...]] | None
    """The terms of its products; None where it has none, or where it is not known."""
    known: bool
    """Whether its products are known."""
    writes: bool
    """Whether it returns new storage."""
    moves: bool
    """Whether what it returns may be a storage that is new, or has another size, although it does not write."""
    followed: Followed | None


class _Operators(dict[Any, Operator]):
    """The operators, each looked up when it first runs."""

    def __missing__(self, func: Any) -> Operator:
        name, known = func.__name__.partition(".")[0], RULES[func]
        # A tensor that is made of numbers in Python comes to light as the input and the output of lift_fresh.
        new = name == "lift_fresh" or (writes(func) if known is None else known.writes)
        moves = known is None or name.startswith(("resize", "set_"))
        make = (known and known.output) or _no_answer
        products = None if known is None else known.products
        made = self[func] = Operator(name, make, products, known is not None, new, moves, followed(func))
        return made


def _no_answer(*args: Any, **kwargs: Any) -> None:
    return None


OPERATORS = _Operators()
