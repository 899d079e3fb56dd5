"""Where a pass on the meta device is known to allocate other than a pass on the CPU does, and why."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from cnnprof.profiling.ledger import History

RECURRENT = (
    "LSTM, GRU and RNN are traced step by step; on the CPU one kernel runs an LSTM over the whole sequence, with a workspace of "
    "its own, and a GRU or RNN multiplies all steps of the input at once"
)
ATTENTION = "attention is traced with its matrix of weights in full; the fused kernels of the CPU never hold that matrix"
STATISTICS = (
    "in half precision BatchNorm's statistics of a batch are traced as float32, as CUDA has them; the CPU keeps them in half"
)

_HALF = 2
"""Bytes of an element."""


def deviations(modules: Iterable[nn.Module], history: History) -> tuple[str, ...]:
    """One sentence for each reason why a real pass would not allocate the same; none where it would, to the byte."""
    parts = list(modules)
    operators = {made.operator for made in history.allocations}
    half = any(p.element_size() == _HALF for part in parts for p in part._parameters.values() if p is not None)
    reasons = {
        RECURRENT: any(isinstance(part, nn.RNNBase) for part in parts),
        # Only attention that is taken apart has a softmax that is safe where a row is masked in full.
        ATTENTION: "_safe_softmax" in operators or any(isinstance(part, nn.MultiheadAttention) for part in parts),
        STATISTICS: half and "native_batch_norm" in operators,
    }
    return tuple(reason for reason, applies in reasons.items() if applies)
