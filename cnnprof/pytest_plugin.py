"""The pytest plugin: a fixture `assert_cost`. It imports torch only where a test asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def assert_cost() -> Callable[..., Any]:
    """`assert_cost(net, (3, 224, 224), params=61_100_840, max_products=10**9)`: see `cnnprof.testing.assert_cost`."""
    from cnnprof.testing import assert_cost

    return assert_cost
