"""What each number means, said once and printed wherever the number is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Definition:
    """The meaning of a metric."""

    label: str
    """Its name in a text for people."""
    short: str
    """Fits beside a number in 80 columns."""
    full: str
    """Exact; for `--help` and for machine formats."""


DEFINITIONS: Mapping[str, Definition] = {
    "params": Definition(
        "parameters",
        "elements; a shared one counts once",
        "elements of the distinct parameters; a shared one counts once, at its first owner; buffers are no parameters",
    ),
    "trainable_params": Definition(
        "trainable",
        "parameters that require a gradient",
        "those of params that require a gradient",
    ),
    "products": Definition(
        "products",
        "of convolutions, linear, matmul, RNN",
        "scalar multiplications of convolutions (all kinds), linear maps, matrix products, attention and recurrent "
        "cells, at the given batch size; none of bias additions, normalisation, pooling, activations or element-wise "
        "products",
    ),
    "output_bytes": Definition(
        "activations",
        "bytes that layers write; views: none",
        "bytes of the tensors that layers write; a view or an in-place operator writes none",
    ),
    "inference_peak_bytes": Definition(
        "inference peak",
        "most live bytes, parameters apart",
        "largest sum of live bytes during one inference pass, input included, parameters not",
    ),
    "peak_bytes": Definition(
        "peak of a layer",
        "live bytes when the layer allocates, at most",
        "largest sum of live bytes when the layer allocates in an inference pass; 0 where it allocates nothing",
    ),
    "retained_bytes": Definition(
        "retained for training",
        "alive when backward begins",
        "bytes that a layer allocates in a training pass and that live until the backward pass begins: what it costs in training",
    ),
    "saved_bytes": Definition(
        "saved for backward",
        "what autograd keeps",
        "bytes of the distinct tensors that autograd keeps for the backward pass, without parameters, buffers and input",
    ),
    "live_bytes": Definition(
        "live after forward",
        "all that lives when backward begins",
        "bytes that live when output and loss are there and the backward pass begins, parameters, buffers and input included",
    ),
    "training_peak_bytes": Definition(
        "training peak",
        "most live bytes in an iteration",
        "largest sum of live bytes over an iteration of training that is not the first: forward, loss, backward and optimizer "
        "step, with parameters, gradients and the optimizer's state",
    ),
    "param_bytes": Definition(
        "parameter size",
        "bytes of the parameters",
        "bytes of params",
    ),
    "buffer_bytes": Definition(
        "buffers",
        "bytes of, say, BatchNorm statistics",
        "bytes of the distinct buffers (BatchNorm statistics), which are no parameters",
    ),
    "model_bytes": Definition(
        "model size",
        "bytes of parameters and buffers",
        "bytes of parameters and buffers: what a checkpoint holds",
    ),
    "output_shape": Definition(
        "output size",
        "without the batch dimension",
        "sizes of the output tensor without the batch dimension; a list of such where there are several tensors",
    ),
    "receptive_field": Definition(
        "field",
        "input pixels that one output can depend on",
        "pixels of the (first) input that one element of the output can depend on, per spatial axis from the first to the last, as "
        "if there were no borders; all after an operator that reads a whole axis",
    ),
    "stride": Definition(
        "stride",
        "input pixels between neighbouring outputs",
        "pixels of the input between neighbouring elements of the output, per spatial axis",
    ),
    "complete": Definition(
        "complete",
        "every operator is known",
        "whether every operator that ran is in the table of operators; if not, products is a lower bound",
    ),
}

LOWER_BOUND = "a lower bound, for these operators are in no table:"
"""Stands before the names of the unknown operators."""

GLOSSARY = "\n\n".join(
    f"{DEFINITIONS[key].label}: {DEFINITIONS[key].full}."
    for key in DEFINITIONS
    if key not in ("trainable_params", "param_bytes", "peak_bytes", "live_bytes", "complete")
)
"""The definitions, for `--help`."""
