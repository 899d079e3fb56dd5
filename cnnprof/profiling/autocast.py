"""Autocast, which the meta device does not tell of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch

from cnnprof.errors import CnnprofError


class UntraceableError(CnnprofError):
    """What would run on the meta device, but as something that it is not."""


@contextmanager
def honest_on(device: torch.device) -> Iterator[None]:
    """On meta, raises UntraceableError where autocast is on or is switched on, in a module's forward say: there it does nothing."""
    if device.type != "meta":
        yield
        return
    if torch._C._is_any_autocast_enabled():
        raise UntraceableError(_REASON)
    autocast: Any = torch.amp.autocast_mode.autocast
    thread = get_ident()
    make, enter = autocast.__init__, autocast.__enter__

    def refuse_to_make(
        self: Any, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if enabled and get_ident() == thread:
            raise UntraceableError(_REASON)
        make(self, device_type, dtype, enabled, cache_enabled)

    def refuse_to_enter(self: Any) -> Any:
        if self._enabled and get_ident() == thread:
            raise UntraceableError(_REASON)
        return enter(self)

    # The dispatcher shows a mode no trace of autocast, so it has to be met where it begins.
    autocast.__init__, autocast.__enter__ = refuse_to_make, refuse_to_enter
    try:
        yield
    finally:
        autocast.__init__, autocast.__enter__ = make, enter


_REASON = (
    "autocast does nothing on the meta device, so that the figures would be those of the full precision: choose a dtype instead"
)
