"""Parameters and products of every network against the paper or torchvision."""

from __future__ import annotations

import pytest
from bundled import built
from facts import PUBLISHED

import cnnprof


@pytest.mark.parametrize("row", PUBLISHED, ids=[row["network"] for row in PUBLISHED])
def test_params_and_products(row: dict[str, str]) -> None:
    net = built(row["network"])
    assert "x".join(map(str, net.input_shape)) == row["input"]
    found = cnnprof.profile(net.module, net.input_shape)
    assert (found.params, found.products) == (int(row["params"]), int(row["products"]))
    assert found.complete


def test_alexnet_with_one_channel() -> None:
    net = built("alexnet", shape=(1, 224, 224))
    found = cnnprof.profile(net.module, net.input_shape)
    assert (found.params, found.products) == (61_085_352, 667_337_280)
