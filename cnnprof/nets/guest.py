"""The user's own Python code as a guest in this process: it ends neither the process nor what others measure in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cnnprof.errors import UsageError
from cnnprof.nets.blame import line_of


@contextmanager
def guest() -> Iterator[None]:
    """While the code of one target runs. Afterwards the process is set as before, so that no target depends on another.

    Raises UsageError where the code calls `sys.exit`: nothing else would be checked, and the exit code would be the user's.
    """
    try:
        with settings_kept():
            yield
    except SystemExit as error:
        line = line_of(error)
        given = ", ".join(map(repr, error.args))
        raise UsageError(f"the network's code calls sys.exit({given}){f' at {line}' if line else ''}") from error


@contextmanager
def settings_kept() -> Iterator[None]:
    """Afterwards, what holds for the whole process is as it was."""
    before = [(restore, current()) for current, restore in _SETTINGS]
    try:
        yield
    finally:
        for restore, value in before:
            restore(value)


def _set_device(device: torch.device) -> None:
    """The CPU is what there is without any: naming it would put a mode under every call of torch."""
    torch.set_default_device(None if device.type == "cpu" else device)


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (os.getcwd, os.chdir),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
)
"""What code sets for the whole process, often where it is imported: how it is read, and set."""
