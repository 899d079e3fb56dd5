"""What others would count for the same pass: one convention per entry, each a function from what a trace holds to terms.

`CONVENTIONS` is the table. What each of them means in words stands in `cnnprof.render.definitions`, where no torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from torch import nn
from torch.nn import functional

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.nets.layers import LocallyConnected2d
from cnnprof.operators.products import term
from cnnprof.profiling import as_fvcore, as_ptflops, as_thop
from cnnprof.profiling.calls import AnyCall
from cnnprof.profiling.counting import Counted, Counting, products_of_call
from cnnprof.profiling.trace import Trace
from cnnprof.profiling.witness import Invocation, Seen, Witness

_T = TypeVar("_T", bound=Trace)
Maker: TypeAlias = Callable[[_T, nn.Module], Counting]


@dataclass(frozen=True, slots=True)
class Convention:
    """A way to count."""

    count: Callable[..., Counting]
    """From a trace and the module that it ran to the function that counts a row."""
    trace: Callable[[nn.Module], Trace]
    """The kind of trace that it needs."""


def products(trace: Trace, module: nn.Module) -> Counting:
    """Scalar multiplications: the terms that the operators themselves note."""
    return products_of_call


def flops(trace: Trace, module: nn.Module) -> Counting:
    """Two for each product: the multiplication and the addition after it."""

    def count(call: AnyCall) -> Counted:
        terms, unknown = products_of_call(call)
        return tuple([(2, *factors) for factors in terms]), unknown

    return count


def with_biases(trace: Witness, module: nn.Module) -> Counting:
    """Products, and one addition for each element of an output to which a bias is added."""

    def count(call: AnyCall) -> Counted:
        terms, unknown = products_of_call(call)
        local = isinstance(call.callee, LocallyConnected2d)
        sums = [added for operation in call.operations() for added in _biases(operation.operator, trace.seen(operation), local)]
        return (*terms, *sums), unknown

    return count


_WITH_SUMMAND: Mapping[str, Callable[[Invocation], bool]] = {
    "convolution": lambda call: call.size(2, "bias") is not None,
    "addmm": lambda call: True,
    "addmv": lambda call: True,
    "conv_tbc": lambda call: True,
}
"""Operators that add a bias to their products, and whether a call of them does."""

_ADDING_A_BIAS = frozenset({functional.linear, functional.multi_head_attention_forward, functional.bilinear})
"""Functions that add a bias of one dimension by an operator of its own, where the input's layout asks for it."""


def _biases(operator: str, seen: Seen, local: bool) -> tuple[tuple[int, ...], ...]:
    call = seen.operator
    adds = operator in _WITH_SUMMAND and _WITH_SUMMAND[operator](call)
    if operator in ("add", "add_") and not adds:
        summand = call.size(1, "other")
        within = seen.function.called if seen.function else None
        adds = summand is not None and (local or (within in _ADDING_A_BIAS and len(summand) == 1))
    return (term(*call.outputs[0]),) if adds else ()


CONVENTIONS: Mapping[str, Convention] = {
    "products": Convention(products, Trace),
    "flops": Convention(flops, Trace),
    "mac+bias": Convention(with_biases, Witness),
    "fvcore": Convention(as_fvcore.counting, Witness),
    "thop": Convention(as_thop.counting, Witness),
    "ptflops": Convention(as_ptflops.counting, Witness),
}
"""Every convention by its name."""


def find(name: str) -> Convention:
    """The convention of that name. Raises UsageError where there is none."""
    if name not in CONVENTIONS:
        advice = did_you_mean(name, list(CONVENTIONS)) or f"there are: {', '.join(CONVENTIONS)}"
        raise UsageError(f'there is no convention "{name}"; {advice}')
    return CONVENTIONS[name]
