"""Python's garbage collector, kept out of the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection meanwhile: one takes longer than a pass. What has no references any more is freed, cycles are not."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                # All that was made meanwhile is young: the next allocation would have it looked through. This makes it old.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
