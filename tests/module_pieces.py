"""What the table of modules is made of: a case, and small modules as people write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


@dataclass(frozen=True)
class Case:
    """A module, what it is given, and what it costs. A product of a weight that is computed in the pass counts too."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Any
    products: int
    params: int
    fixed: int = 0
    """Those of `products` that do not grow with the batch."""
    torch_differs: str = ""
    """Why torch's counter, which is the second opinion, says something else."""


VECTORS = "it does not count products of a matrix and a vector"


class Of(nn.Module):
    """These members, and that function for a `forward`."""

    def __init__(self, run: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.run = run
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def param(*sizes: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(sizes))


def ids(*sizes: int) -> Tensor:
    return torch.zeros(sizes, dtype=torch.int64)


class Buffered(nn.Module):
    """A fixed projection and a scale that is in no state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.projection: Tensor
        self.scale: Tensor
        self.register_buffer("projection", torch.zeros(8, 5))
        self.register_buffer("scale", torch.ones(5), persistent=False)
        self.register_buffer("absent", None)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.projection * self.scale


class Square(torch.autograd.Function):
    """x·xᵀ with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.mT

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return (grads[0] + grads[0].mT) @ x


square: Callable[[Tensor], Tensor] = Square.apply


class StandardizedConv2d(nn.Conv2d):
    """Weight standardization: the weights are computed in each call."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class LoRALinear(nn.Linear):
    """A linear layer with a low-rank update beside it; its own weights are frozen."""

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__(in_features, out_features)
        self.requires_grad_(False)
        self.down = nn.Parameter(torch.zeros(rank, in_features))
        self.up = nn.Parameter(torch.zeros(out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.down.T @ self.up.T


class NamedConv2d(nn.Conv2d):
    """A subclass that changes nothing."""


class Product(nn.Module):
    """A parametrization: the weight is A·B."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.zeros(rank, size))

    def forward(self, weight: Tensor) -> Tensor:
        return weight @ weight.mT @ weight @ self.other.mT @ self.other


@dataclass
class Boxes:
    scores: Tensor
    count: int


class Pair(NamedTuple):
    mean: Tensor
    spread: Tensor


class Output(dict[str, Tensor]):
    """A dictionary of a class that torch's pytrees do not know."""


class MadeAtFirst(nn.Module):
    """Caches its positions on itself, as rotary embeddings do, and counts its calls in a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.positions: Tensor | None = None
        self.cache: dict[int, Tensor] = {}
        self.calls = torch.zeros((), device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.positions is None:
            self.positions = torch.arange(x.shape[1], device=x.device)
        self.cache[x.shape[1]] = self.positions * 2
        y: Tensor = self.linear(x)
        return y + self.positions
