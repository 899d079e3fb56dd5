"""What a network is given: an example in a structure of any kind is what its `forward` gets, without data."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from module_pieces import Of
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import cnnprof


class Repeats(nn.Module):
    """Runs a layer as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, times: Any) -> Tensor:
        for _ in times:
            x = self.conv(x)
        return x


@pytest.mark.parametrize("times", [(1, 1, 2), [4, 7, 2], (0, 1, 2), [5]])
def test_numbers_beside_a_tensor_are_numbers(times: Any) -> None:
    once = 3 * 8 * 8 * 3 * 3 * 3
    x = torch.zeros(1, 3, 8, 8)
    assert cnnprof.profile(Repeats(), (x, times)).products == len(times) * once
    assert cnnprof.profile(Repeats(), {"x": x, "times": times}).products == len(times) * once


@dataclass(frozen=True)
class Sample:
    x: Tensor
    label: int = 3


@pytest.mark.parametrize(
    ("given", "get"),
    [
        ({"x": torch.zeros(2, 4)}, lambda one: one["x"]),
        (UserDict(x=torch.zeros(2, 4)), lambda one: one["x"]),
        (Sample(torch.zeros(2, 4)), lambda one: one.x),
        ([(torch.zeros(2, 4), "name")], lambda one: one[0][0]),
    ],
    ids=["dict", "UserDict", "dataclass", "list of tuples"],
)
def test_tensors_in_structures(given: Any, get: Any) -> None:
    found = cnnprof.profile(Of(lambda m, one: m.linear(get(one)), linear=nn.Linear(4, 5)), (given,))
    assert (found.products, found.batch) == (2 * 4 * 5, 2)
    assert found.input_shapes == ((4,),)
    assert found.root.output_shape == (5,)
    assert found.inference_peak is not None
    assert found.inference_peak.bytes == 2 * (4 + 5) * 4
    assert not get(given).is_meta


@pytest.mark.parametrize("ordered", [True, False])
def test_a_packed_sequence(ordered: bool) -> None:
    """Its batch sizes are values."""
    packed = pack_sequence([torch.zeros(5, 8), torch.zeros(3, 8)], enforce_sorted=ordered)
    for given in (packed, (packed,), {"input": packed}):
        found = cnnprof.profile(nn.LSTM(8, 6), given)
        assert found.products == (5 + 3) * 4 * 6 * (8 + 6)
        assert found.input_shapes[0] == (8,)
    assert packed.batch_sizes.tolist() == [2, 2, 2, 1, 1]
