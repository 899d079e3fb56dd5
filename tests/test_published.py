"""Parameters and products of every network against the paper or torchvision."""

from __future__ import annotations

import pytest
from facts import PUBLISHED

import cnnprof
from cnnprof.nets.targets import network
from cnnprof.spec import target


@pytest.mark.parametrize("row", PUBLISHED, ids=[row["network"] for row in PUBLISHED])
def test_params_and_products(row: dict[str, str]) -> None:
    built = network(target.find(row["network"]))
    assert "x".join(map(str, built.input_shape)) == row["input"]
    found = cnnprof.profile(built.module, built.input_shape)
    assert (found.params, found.products) == (int(row["params"]), int(row["products"]))
    assert found.complete


def test_alexnet_with_one_channel() -> None:
    built = network(target.find("alexnet"), input_shape=(1, 224, 224))
    found = cnnprof.profile(built.module, built.input_shape)
    assert (found.params, found.products) == (61_085_352, 667_337_280)
