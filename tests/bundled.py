"""Bundled networks, as the tests take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cnnprof.nets.builder import Network
from cnnprof.nets.targets import network
from cnnprof.spec import target


def built(
    name: str, settings: Sequence[str] = (), shape: tuple[int, ...] | None = None, dtype: torch.dtype = torch.float32
) -> Network:
    """The network of that name, with `name=value` settings."""
    found = target.find(name)
    assert isinstance(found, target.SpecTarget)
    return network(found, target.settings(settings), shape, dtype)
