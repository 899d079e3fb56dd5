"""Runs what is written, whatever torch would make of it: what it compiles, and what it chooses by looking at numbers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import transformer as _transformer

transformer: Any = _transformer


@contextmanager
def eagerly() -> Iterator[None]:
    """Without `torch.compile`, which would compile the profiler too, and without attention that leaves out what is padding.

    A transformer looks at its mask to find out whether that is the causal one. Without data, each one of the right size is: the
    products are the same.
    """
    mha = torch.backends.mha
    fast, detect = mha.get_fastpath_enabled(), transformer._detect_is_causal_mask

    def detected(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
        if is_causal is not None or mask is None or not mask.is_meta:
            return bool(detect(mask, is_causal, size))
        length = mask.shape[-2] if size is None else size
        return mask.shape == (length, length)

    mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = detected
    try:
        with warnings.catch_warnings():
            for message in _IRRELEVANT:
                warnings.filterwarnings("ignore", message)
            if "torch._dynamo" in sys.modules:
                with torch.compiler.set_stance("force_eager"):
                    yield
            else:
                yield
    finally:
        mha.set_fastpath_enabled(fast)
        transformer._detect_is_causal_mask = detect


_IRRELEVANT = (
    r"Using `torch.compile\(module\)` when there are global hooks",
    "None of the inputs have requires_grad=True",  # a checkpoint, without gradients
)
