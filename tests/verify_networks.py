"""Python modules for `cnnprof verify`: some that every source understands, and some that lie to one of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Sequence(nn.Module):
    """Attention and recurrence, of which fvcore knows nothing."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(size, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.memory = nn.LSTM(size, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.memory(self.encoder(x))[0][:, -1])
        return out


class Vector(nn.Module):
    """A product with a vector, for which torch's counter has no rule, and at which fvcore stops."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Mixed(nn.Module):
    """Inputs by position and by name, values in a buffer and in an attribute, outputs in a dict."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.linear = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.linear.weight
        self.scale = torch.ones(4, 4)
        self.register_buffer("places", torch.arange(7))

    def forward(self, ids: Tensor, image: Tensor) -> dict[str, Tensor]:
        x = self.embedding(ids + self.places) @ self.scale
        return {"words": self.tied(self.linear(x)), "mean": image.mean((1, 2, 3))}


class OtherShape(nn.Module):
    """Gives another shape where there is data."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x if x.is_meta else x[:, :2]


class NotWithData(nn.Module):
    """Runs without data only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise ValueError("this one wants no data")
        out: Tensor = self.inner(x)
        return out


trained = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
"""A module on the CPU, in training mode."""
