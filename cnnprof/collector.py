"""Python's garbage collector, kept out of the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection meanwhile: one takes longer than a pass. What has no references any more is freed, cycles are not."""
    if not gc.isenabled():
        yield  # it is for somebody else, another thread perhaps, to switch it on again
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
