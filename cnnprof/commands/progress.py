"""What is going on, on a terminal, for what takes longer than a second; on stderr, and gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

DELAY = 1.0
"""Seconds before anything is shown."""


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Gives a function that is told the next step; in a pipe it does nothing."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    status = Console(stderr=True).status("")
    timer = Timer(DELAY, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda step: status.update(f"{step} …")
    finally:
        timer.cancel()
        timer.join()
        status.stop()
