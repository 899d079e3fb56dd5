"""Whether a pass hands work to other threads: what runs there no mode sees, and no hook but those of modules."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def noticed(note: Callable[[], None]) -> Iterator[None]:
    """Calls `note` when this thread starts another one, or gives a pool of threads something to do."""
    here = threading.get_ident()
    pools = sys.modules.get("concurrent.futures.thread")  # if it is not there, nobody has one
    with ExitStack() as stack:
        stack.enter_context(_told_of(threading.Thread, "start", here, note))
        if pools is not None:
            stack.enter_context(_told_of(pools.ThreadPoolExecutor, "submit", here, note))
        yield


@contextmanager
def _told_of(cls: Any, name: str, here: int, note: Callable[[], None]) -> Iterator[None]:
    method = getattr(cls, name)

    def telling(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == here:
            note()
        return method(*args, **kwargs)

    setattr(cls, name, telling)
    try:
        yield
    finally:
        setattr(cls, name, method)
