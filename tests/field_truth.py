"""The true receptive fields: which pixels change an output when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from hypothesis import assume
from torch import Tensor, nn

import cnnprof


class Do(nn.Module):
    """A function of tensors as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], what: str = "") -> None:
        super().__init__()
        self.function = function
        self.what = what

    def extra_repr(self) -> str:
        return self.what

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def sequence(*layers: nn.Module | Callable[[Tensor], Tensor]) -> nn.Sequential:
    return nn.Sequential(*(layer if isinstance(layer, nn.Module) else Do(layer) for layer in layers))


@dataclass(frozen=True)
class Truth:
    """Along one axis of the input: for each channel and each position along the axis of the output the first and the last pixel
    that it depends on, in rows; 0 and -1 where there is none."""

    pixels: int
    first: Tensor
    last: Tensor

    @property
    def size(self) -> int:
        return int((self.last - self.first + 1).max())


def positive(module: nn.Module) -> nn.Module:
    """The same with weights that let nothing cancel."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(0.1 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
            parameter.div_(parameter[0].numel())
    return module.double().eval()


def truths(module: nn.Module, shape: Sequence[int]) -> list[Truth]:
    """Of each axis, from what changes in the output when a row of pixels across the axis becomes huge.

    All weights are positive and all functions grow with their argument, so no change cancels; what is huge is the largest in each
    of its pools.
    """
    module = positive(module)
    x = torch.rand((1, *shape), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
    rank = len(shape) - 1
    found = []
    with torch.no_grad():
        before = module(x)
        before = before.reshape(*before.shape, *(1,) * (rank + 2 - before.dim()))
        for axis in range(rank):
            count = shape[1 + axis]
            huge = x.repeat(count, *(1,) * (rank + 1))
            for pixel in range(count):
                huge[pixel].select(1 + axis, pixel).mul_(1e12)
            after = module(huge).reshape(count, *before.shape[1:])
            changed = (after - before).abs() > 1e-6 * before.abs()
            # For each pixel, channel, and position along the axis: whether any element there changes.
            changed = changed.movedim(2 + axis, 2).reshape(*changed.shape[:2], changed.shape[2 + axis], -1).any(3)
            pixels = torch.arange(count).view(-1, 1, 1)
            first = torch.where(changed, pixels, count).amin(0)
            last = torch.where(changed, pixels, -1).amax(0)
            found.append(Truth(count, torch.where(last < 0, 0, first), last))
    return found


def elsewhere(found: Truth) -> tuple[int, int, int] | None:
    """In the middle of the output, where no border is seen: the period after which everything repeats, how many pixels on, and the
    largest number of pixels that an element depends on. None where there is no such middle, or where it is too short to tell."""
    n = found.first.shape[1]
    start, stop = n // 4, n - n // 4
    first, last = found.first[:, start:stop], found.last[:, start:stop]
    some = last >= 0
    if stop - start < 8 or not some.any() or (some & ((first == 0) | (last == found.pixels - 1))).any():
        return None
    for period in range(1, (stop - start) // 2 + 1):
        both = some[:, period:] & some[:, :-period]
        steps = (first[:, period:] - first[:, :-period])[both].unique()
        ends = (last[:, period:] - last[:, :-period])[both].unique()
        if torch.equal(some[:, period:], some[:, :-period]) and len(steps) == 1 and torch.equal(steps, ends):
            return period, int(steps), int((last - first + 1).max())
    return None


def check(module: nn.Module, shape: Sequence[int], *, conclusive: bool = True) -> None:
    """The field and the stride that are reported are the true ones."""
    layer = cnnprof.profile(module, tuple(shape)).root
    assert layer.receptive_field is not None
    assert len(layer.receptive_field) == len(shape) - 1
    told = 0
    for axis, found in enumerate(truths(module, shape)):
        size = layer.receptive_field[axis]
        assert isinstance(size, int)
        # Zeros as a border only ever take pixels away; other borders put pixels in other places.
        assert found.size <= size or any(border in str(module) for border in ("reflect", "replicate", "circular"))
        middle = elsewhere(found)
        if middle is not None:
            period, step, largest = middle
            assert size == largest
            assert layer.stride is not None
            assert layer.stride[axis] == Fraction(step, period)
            told += 1
    if conclusive:
        assert told == len(shape) - 1, "the truth cannot be told from so small an input"
    else:
        assume(told)
