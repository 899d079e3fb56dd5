"""Costs as assertions, for tests of one's own: `assert_cost`."""

from __future__ import annotations

from io import StringIO
from typing import Any

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.profile import Profile
from cnnprof.profiling.profiler import profile
from cnnprof.render import View, write

FIGURES = ("params", "trainable_params", "products", "output_bytes", "model_bytes")
"""What can be asserted; `max_` before one makes it a limit."""

_ROWS = 5


def assert_cost(net: Any, inputs: Any = None, *, batch: int = 1, **figures: int) -> Profile:
    """The profile of a module, or of a profile itself, whose figures are as given: `params=61_100_840, max_products=10**9`.

    Raises AssertionError with the rows that weigh most where one is not.

    >>> import cnnprof
    >>> from cnnprof.testing import assert_cost
    >>> assert_cost(cnnprof.load("lenet"), (1, 28, 28), params=105_506, max_products=2_000_000).complete
    True
    """
    if not figures:
        raise UsageError(
            f"assert_cost asserts nothing without a figure: params=61_100_840, or max_ before one of {', '.join(FIGURES)}"
        )
    found = net if isinstance(net, Profile) else profile(net, inputs, batch=batch)
    for key, expected in figures.items():
        figure = key.removeprefix("max_")
        if figure not in FIGURES:
            hint = did_you_mean(figure, FIGURES) or f"there are {', '.join(FIGURES)}"
            raise UsageError(f'assert_cost knows no "{key}"; {hint}')
        value: int = getattr(found, figure)
        limit = key.startswith("max_")
        if value > expected if limit else value != expected:
            relation = f"more than the {expected:,} allowed" if limit else f"not {expected:,}"
            sentence = f"{found.network}: {figure} is {value:,}, {relation} ({value - expected:+,})"
            raise AssertionError(f"{sentence}\n\n{_rows(found, figure)}")
    return found


def _rows(found: Profile, figure: str) -> str:
    table = StringIO()
    write(found, View(("path", "layer", "output", figure), sort=figure, top=_ROWS), table)
    return table.getvalue().partition("\n\n")[2].partition("\n\n")[0]
