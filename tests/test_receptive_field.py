"""Receptive fields and strides against the truth: which pixels change an output when they change."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from render_streams import printed, read_table
from torch import Tensor, nn
from torch.nn import functional

import cnnprof
from cnnprof.errors import Source
from cnnprof.fields.table import rule
from cnnprof.nets.layers import LocallyConnected2d
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.render import View

torch.set_num_threads(1)


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


# random networks


class Branches(nn.Module):
    """Branches side by side, cut to the smallest, and joined."""

    def __init__(self, join: str, *branches: nn.Module) -> None:
        super().__init__()
        self.join = join
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        for dim in range(2, x.dim()):
            size = min(output.shape[dim] for output in outputs)
            outputs = [output.narrow(dim, 0, size) for output in outputs]
        if self.join == "cat":
            return torch.cat(outputs, 1)
        return outputs[0] + outputs[1] if self.join == "add" else outputs[0] * outputs[1]


class Program:
    """Draws layers one after the other and keeps count of the channels."""

    def __init__(self, draw: st.DrawFn, rank: int) -> None:
        self.draw = draw
        self.rank = rank

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def sizes(self, *values: int) -> tuple[int, ...]:
        return tuple(self.draw(st.sampled_from(values)) for _ in range(self.rank))

    def layer(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        """A layer of that stride."""
        kinds = [self.convolution, self.max_pool, self.avg_pool, self.spatial_slice]
        if set(stride) == {1}:
            kinds += [self.channel_slice, self.channel_shuffle, self.pad, self.unary, self.views]
        return self.draw(st.sampled_from(kinds))(channels, stride)

    def convolution(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        groups = self.draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
        out = groups * self.integer(1, 2)
        values = {"padding": self.sizes(0, 1, 2), "dilation": self.sizes(1, 1, 2, 3), "groups": groups}
        cls = (nn.Conv1d, nn.Conv2d)[self.rank - 1]
        return cls(channels, out, self.sizes(1, 2, 3, 4), stride, **values), out

    def max_pool(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        kernel = self.sizes(1, 2, 3)
        padding = tuple(self.integer(0, size // 2) for size in kernel)
        cls = (nn.MaxPool1d, nn.MaxPool2d)[self.rank - 1]
        one = self.rank == 1
        values = [v[0] if one else v for v in (kernel, stride, padding, self.sizes(1, 2))]
        return cls(*values, ceil_mode=self.draw(st.booleans())), channels

    def avg_pool(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        kernel = self.sizes(1, 2, 3)
        cls = (nn.AvgPool1d, nn.AvgPool2d)[self.rank - 1]
        return cls(kernel, stride, tuple(self.integer(0, size // 2) for size in kernel)), channels

    def spatial_slice(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        places = [slice(self.integer(0, 2), self.draw(st.sampled_from([None, -1])), step) for step in stride]
        index = (slice(None), slice(None), *places)
        return Do(lambda x: x[index], f"slice {places}"), channels

    def channel_slice(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        start = self.integer(0, channels - 1)
        stop = self.integer(start + 1, channels)
        return Do(lambda x: x[:, start:stop], f"channels {start}:{stop}"), stop - start

    def channel_shuffle(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        groups = self.draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
        return Do(
            lambda x: x.unflatten(1, (groups, channels // groups)).transpose(1, 2).flatten(1, 2), f"shuffle {groups}"
        ), channels

    def pad(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        sides = [self.integer(0, 2) for _ in range(2 * self.rank)]
        mode = self.draw(st.sampled_from(["constant", "reflect", "replicate"]))
        return Do(lambda x: functional.pad(x, sides, mode), f"pad {mode} {sides}"), channels

    def unary(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        cls = (nn.BatchNorm1d, nn.BatchNorm2d)[self.rank - 1]
        layers = [nn.ReLU(), nn.ReLU(inplace=True), cls(channels), nn.Dropout(), nn.Identity(), Do(lambda x: x.add_(1))]
        # The in-place ones must not change the network's input.
        return nn.Sequential(Do(torch.clone), self.draw(st.sampled_from(layers))), channels

    def views(self, channels: int, stride: tuple[int, ...]) -> tuple[nn.Module, int]:
        def there_and_back(x: Tensor) -> Tensor:
            flat = x.flatten(1).relu()
            return flat.unflatten(1, tuple(x.shape[1:])).movedim(1, -1).contiguous().relu().movedim(-1, 1)

        return Do(there_and_back, "there and back"), channels

    def upwards(self, channels: int) -> tuple[nn.Module, int]:
        """A layer that makes the map larger."""
        scale = self.integer(1, 3)
        kind = self.draw(st.sampled_from(["transposed", "nearest", "linear", "repeated", "shuffle"]))
        if kind == "transposed":
            cls = (nn.ConvTranspose1d, nn.ConvTranspose2d)[self.rank - 1]
            out = self.integer(1, 2)
            values = {"padding": self.sizes(0, 1), "dilation": self.sizes(1, 1, 2)}
            return cls(channels, out, self.sizes(1, 2, 3, 4), scale, **values), out
        if kind == "nearest":
            return nn.Upsample(scale_factor=scale), channels
        if kind == "linear":
            return nn.Upsample(scale_factor=scale, mode=("linear", "bilinear")[self.rank - 1]), channels
        if kind == "shuffle" and self.rank == 2:
            out = self.integer(1, 2)
            layers = nn.Conv2d(channels, out * scale**2, 1), nn.PixelShuffle(scale)
            return nn.Sequential(*layers), out
        return Do(lambda x: x.repeat_interleave(scale, -1), f"repeat {scale}"), channels

    def branches(self, channels: int) -> tuple[nn.Module, int]:
        """Two ways of the same stride."""
        strides = [self.sizes(1, 1, 2)]
        if self.draw(st.booleans()):
            strides.append(self.sizes(1))
        join = self.draw(st.sampled_from(["add", "cat", "mul"]))
        made, outs = [], []
        for _ in range(2):
            layers, out = [], channels
            for stride in self.draw(st.permutations(strides)):
                layer, out = self.layer(out, stride)
                layers.append(layer)
            made.append(nn.Sequential(*layers))
            outs.append(out)
        if join != "cat":
            made[1].append(Do(lambda x: x[:, :1]))
        return Branches(join, *made), sum(outs) if join == "cat" else outs[0]


@st.composite
def networks(draw: st.DrawFn, rank: int) -> nn.Module:
    program = Program(draw, rank)
    channels = 2
    layers: list[nn.Module] = []
    for kind in draw(st.lists(st.sampled_from(["layer", "layer", "stride", "branches", "upwards"]), min_size=2, max_size=5)):
        if kind == "branches":
            layer, channels = program.branches(channels)
        elif kind == "upwards":
            layer, channels = program.upwards(channels)
        else:
            layer, channels = program.layer(channels, program.sizes(1) if kind == "layer" else program.sizes(1, 2, 3))
        layers.append(layer)
    return nn.Sequential(*layers)


def some_map_is_left(network: nn.Module, shape: Sequence[int]) -> bool:
    """Whether every kernel is smaller than its map: torch refuses the others."""
    try:
        with torch.no_grad():
            return network.eval()(torch.ones((1, *shape))).numel() > 0
    except RuntimeError:
        return False


@settings(max_examples=300)
@given(networks(1))
def test_networks_of_one_axis(network: nn.Module) -> None:
    assume(some_map_is_left(network, (2, 96)))
    check(network, (2, 96), conclusive=False)


@settings(max_examples=100)
@given(networks(2))
def test_networks_of_two_axes(network: nn.Module) -> None:
    assume(some_map_is_left(network, (2, 40, 36)))
    check(network, (2, 40, 36), conclusive=False)


# layers and blocks one by one


def sequence(*layers: nn.Module | Callable[[Tensor], Tensor]) -> nn.Sequential:
    return nn.Sequential(*(layer if isinstance(layer, nn.Module) else Do(layer) for layer in layers))


class Windows(nn.Module):
    """Everything in a window of 4x4 together: the map is cut into windows, each is mixed, and they become a map again."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        cut = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        mixed = cut + self.mix(cut.transpose(1, 2)).transpose(1, 2)
        return mixed.view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


class Patches(nn.Module):
    """Patches of 4x4 pixels as vectors, a linear map of each, and the map of them."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4 * 4 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        patches = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        return self.project(patches).transpose(1, 2).unflatten(2, (h // 4, w // 4))


class Shuffled(nn.Module):
    """The unit of ShuffleNet v2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Conv2d(channels // 2, channels // 2, 3, padding=1, groups=channels // 2)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, 1)
        return self.shuffle(torch.cat((one, self.branch(two)), 1))


class UNet(nn.Module):
    """Two levels down and up again, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2, 2, 2, 2) for _ in range(2))
        self.join = nn.ModuleList(nn.Conv2d(4, 2, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down[:2]:
            x = layer(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.down[2](x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat((skips.pop(), up(x)), 1))
        return x


def reversible(x: Tensor) -> Tensor:
    """Two streams that stay apart: only the second has seen a window when it comes to the end."""
    one, two = torch.cat((x, functional.max_pool2d(x, 3, 1, 1)), 1).chunk(2, 1)
    return torch.cat((one, functional.max_pool2d(two, 5, 1, 2)), 1)[:, :2]


def put_into_zeros(x: Tensor) -> Tensor:
    """Two rows of zeros above and a column on both sides."""
    made = torch.zeros((len(x), x.shape[1], x.shape[2] + 2, x.shape[3] + 2), dtype=x.dtype, device=x.device)
    made[:, :, 2:, 1:-1] = functional.max_pool2d(x, 3, 1, 1)
    return made


MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "asymmetric": (nn.Conv2d(2, 3, (5, 3), (2, 1), (2, 1), (1, 2)), (2, 30, 40)),
    "transposed smaller than its stride": (sequence(nn.ConvTranspose1d(2, 3, 2, 3), nn.MaxPool1d(2, 1)), (2, 40)),
    "transposed with all arguments": (nn.ConvTranspose1d(2, 4, 4, 3, 2, 1, 2, dilation=2), (2, 60)),
    "adaptive pool": (sequence(nn.AdaptiveAvgPool1d(28), nn.AvgPool1d(2, 1)), (2, 80)),
    "adaptive max pool": (nn.AdaptiveMaxPool2d((18, 40)), (2, 45, 40)),
    "bilinear up": (nn.Upsample(size=(60, 45), mode="bilinear"), (2, 24, 18)),
    "bilinear down": (nn.Upsample(scale_factor=0.4, mode="bilinear"), (2, 50, 45)),
    "bilinear aligned": (nn.Upsample(size=(51, 31), mode="bilinear", align_corners=True), (2, 26, 46)),
    "bicubic": (nn.Upsample(scale_factor=1.5, mode="bicubic"), (2, 32, 40)),
    "nearest": (sequence(nn.Upsample(scale_factor=1.5), nn.MaxPool2d(2, 1)), (2, 32, 40)),
    "nearest exact": (sequence(nn.Upsample(size=(40, 16), mode="nearest-exact"), nn.AvgPool2d(2, 1)), (2, 25, 40)),
    "antialias linear": (Do(lambda x: functional.interpolate(x, size=(16, 50), mode="bilinear", antialias=True)), (2, 40, 40)),
    "antialias cubic to the same size": (
        sequence(lambda x: functional.interpolate(x, size=(40, 40), mode="bicubic", antialias=True), nn.MaxPool2d(2)),
        (2, 40, 40),
    ),
    "two kinds of nearest": (
        Do(
            lambda x: (
                functional.interpolate(x, scale_factor=0.5, mode="nearest-exact") + functional.interpolate(x, scale_factor=0.5)
            )
        ),
        (2, 40, 40),
    ),
    "gaps": (sequence(nn.ConvTranspose1d(2, 3, 1, 3), nn.MaxPool1d(3, 1)), (2, 40)),
    "antialias cubic": (Do(lambda x: functional.interpolate(x, size=(16, 60), mode="bicubic", antialias=True)), (2, 40, 40)),
    "area": (Do(lambda x: functional.interpolate(x, size=(20, 16), mode="area")), (2, 50, 40)),
    "trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), (1, 9, 10, 11)),
    "convolution in space": (sequence(nn.Conv3d(1, 2, (3, 1, 2), 1, (1, 0, 1)), nn.AvgPool3d((1, 2, 1))), (1, 20, 36, 22)),
    "space to depth": (sequence(nn.PixelUnshuffle(2), nn.Conv2d(8, 3, 3, padding=1)), (2, 40, 36)),
    "space to depth alone": (nn.PixelUnshuffle(2), (2, 40, 36)),
    "focus": (
        sequence(
            lambda x: torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1),
            nn.Conv2d(8, 3, 3, padding=1),
        ),
        (2, 40, 36),
    ),
    "depth to space": (sequence(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2), nn.MaxPool2d(2, 1)), (2, 20, 24)),
    "unfold": (sequence(nn.Unfold((3, 5), padding=(1, 2)), lambda x: x.sum(1).unflatten(1, (20, 24))[:, None]), (2, 20, 24)),
    "unfold as a view": (Do(lambda x: x.unfold(2, 5, 2).amax(-1)), (2, 60)),
    "circular padding": (nn.Conv2d(2, 3, (5, 3), padding=(2, 1), padding_mode="circular"), (2, 30, 20)),
    "a border by hand": (sequence(put_into_zeros, nn.MaxPool2d(3, 1)), (2, 30, 24)),
    "locally connected": (LocallyConnected2d(2, 3, (40, 24), (5, 3), (2, 1)), (2, 40, 24)),
    "patches": (Patches(), (2, 96, 80)),
    "windows": (Windows(), (2, 48, 40)),
    "window after window": (sequence(Windows(), nn.MaxPool2d(3, 1, 1), Windows()), (2, 96, 80)),
    "shuffle units": (sequence(Shuffled(4), Shuffled(4), Shuffled(4)), (4, 24, 24)),
    "u-net": (UNet(), (2, 128, 96)),
    "streams that stay apart": (Do(reversible), (2, 24, 24)),
    "the other stream": (sequence(reversible, lambda x: x[:, 1:]), (2, 24, 24)),
    "gate of channels": (sequence(lambda x: x * x.sum(1, keepdim=True), nn.AvgPool2d(3, 1)), (2, 20, 20)),
    "shortcut padded with zeros": (
        Do(
            lambda x: (
                functional.avg_pool2d(functional.pad(x, (0, 0, 0, 0, 1, 1)), 3, 2, 1)
                + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
            )
        ),
        (2, 30, 30),
    ),
    "padded channels alone": (sequence(lambda x: functional.pad(x, (0, 0, 0, 0, 1, 1)), nn.MaxPool2d(3, 1, 1)), (2, 20, 20)),
    "response norm": (
        sequence(lambda x: torch.cat((x, functional.avg_pool2d(x, 3, 1, 1)), 1), nn.LocalResponseNorm(2, beta=-1.0)),
        (2, 20, 20),
    ),
    "channels last": (
        sequence(lambda x: x.permute(0, 2, 3, 1), nn.Linear(2, 5), lambda x: x.permute(0, 3, 1, 2), nn.MaxPool2d(2)),
        (2, 30, 30),
    ),
    "groups that see different things": (
        sequence(lambda x: torch.cat((x, functional.max_pool2d(x, 7, 1, 3)), 1), nn.Conv2d(4, 4, 3, groups=2), lambda x: x[:, :2]),
        (2, 40, 40),
    ),
    "concatenated zeros": (sequence(lambda x: torch.cat((torch.zeros_like(x[..., :2]), x), -1), nn.AvgPool2d(3, 1)), (2, 24, 24)),
    "in place on itself": (
        sequence(torch.clone, lambda x: x.add_(functional.max_pool2d(x, 5, 1, 2)), nn.ReLU(True), nn.AvgPool2d(2)),
        (2, 40, 40),
    ),
    "cumulative sum of channels": (
        Do(lambda x: torch.cat((x, functional.max_pool2d(x, 3, 1, 1)), 1).cumsum(1)[:, :3]),
        (2, 20, 20),
    ),
    "repeated": (sequence(lambda x: x.repeat(1, 3, 1, 1), nn.Conv2d(6, 2, 3)), (2, 20, 20)),
    "glu": (sequence(nn.Conv2d(2, 4, 3), lambda x: x[:, :2] * x[:, 2:], nn.AvgPool2d(2)), (2, 40, 40)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    check(*MODULES[name])


# published numbers


def fields(name: str) -> dict[str, tuple[object, object]]:
    """The field and the stride of every layer of a bundled network by its path; the maps are square, and so are these."""
    found: dict[str, tuple[object, object]] = {}
    waiting = [cnnprof.profile(cnnprof.load(name), SHAPES.get(name, (3, 224, 224))).root]
    while waiting:
        layer = waiting.pop()
        waiting += layer.children
        size, stride = (set(values) if values else {None} for values in (layer.receptive_field, layer.stride))
        assert len(size) == len(stride) == 1
        found[layer.path] = (size.pop(), stride.pop())
    return found


SHAPES = {
    "lenet": (1, 28, 28),
    "conv5x5": (64, 56, 56),
    "conv3x3_twice": (64, 56, 56),
    "locally_connected": (1, 1000, 1000),
    "convolutional": (1, 1000, 1000),
}

LAST_MAPS = {
    # Araujo, Norris and Sim 2019, table 1; their ResNets are the paper's, ours have the paper's stride under the name of v1.
    "alexnet": (195, 32),
    "vgg16": (212, 32),
    "resnet50_v1": (483, 32),
    "resnet101_v1": (1027, 32),
    "resnet152_v1": (1507, 32),
    # By hand: kernel - 1 times the stride before it, summed up. With the stride on the 3x3 of a stage's first block, that kernel
    # sees half as much: 7x7 and pool 1+6+4 = 11; 3*2*4 = 24; 2*4 + 3*2*8 = 56; 2*8 + 5*2*16 = 176; 2*16 + 2*2*32 = 160.
    "resnet50": (427, 32),
    # 11; 2*2*2*4 = 32; 2*4 + 3*2*8 = 56; 2*8 + 3*2*16 = 112; 2*16 + 3*2*32 = 224.
    "resnet18": (435, 32),
    # 7x7: 7; pool: 11; 3x3: 19; pool: 27; two modules, of which the 5x5 sees most: 2*4*8 = 64; pool: 107; five: 5*4*16 = 320;
    # pool: 459; two: 2*4*32 = 256.
    "googlenet": (715, 32),
    "conv5x5": (5, 1),
    "conv3x3_twice": (5, 1),
    "locally_connected": (10, 1),
    "convolutional": (10, 1),
}


@pytest.mark.parametrize("name", LAST_MAPS)
def test_published_networks(name: str) -> None:
    numbers = [(size, stride) for size, stride in fields(name).values() if isinstance(size, int) and isinstance(stride, int)]
    assert max(numbers) == LAST_MAPS[name]


def test_lenet_layer_by_layer() -> None:
    profile = cnnprof.profile(cnnprof.load("lenet"), (1, 28, 28))
    # conv 5x5, pool 3 by 3, ReLU, conv 5x5, pool 2 by 2, ReLU, Flatten, three layers of everything
    assert [layer.receptive_field for layer in profile.layers] == [(n, n) for n in (5, 7, 7, 19, 22, 22, 22)] + [("all", "all")] * 3
    assert [layer.stride for layer in profile.layers] == [(n, n) for n in (1, 3, 3, 3, 6, 6, 6)] + [None] * 3


def test_a_container_has_the_field_of_its_output() -> None:
    found = fields("resnet50")
    assert [found[f"stage{n}"] for n in (1, 2, 3, 4)] == [(35, 4), (91, 8), (267, 16), (427, 32)]
    assert found[""] == ("all", None)


# global operators, and those that look as if they were


def field(*layers: nn.Module | Callable[[Tensor], Tensor], shape: Sequence[int] = (4, 24, 20)) -> object:
    """The receptive field of the last of these layers."""
    return cnnprof.profile(sequence(*layers), tuple(shape)).root.receptive_field


CONV = nn.Conv2d(4, 4, 3, padding=1)
BOTH = ("all", "all")


def axial(x: Tensor) -> Tensor:
    """Attention along the last dimension but one of a map with its channels last."""
    return (x @ x.mT).softmax(-1) @ x


GLOBAL: dict[str, tuple[nn.Module | Callable[[Tensor], Tensor], object]] = {
    "global average": (nn.AdaptiveAvgPool2d(1), BOTH),
    "global maximum": (nn.AdaptiveMaxPool2d(1), BOTH),
    "one row": (nn.AdaptiveAvgPool2d((1, None)), ("all", 3)),
    "mean": (lambda x: x.mean((2, 3)), BOTH),
    "mean of columns": (lambda x: x.mean(3), (3, "all")),
    "sum of all": (lambda x: x.sum(), BOTH),
    "amax": (lambda x: x.amax((-1, -2)), BOTH),
    "max and its place": (lambda x: x.max(2)[1].float(), ("all", 3)),
    "variance": (lambda x: x.var((2, 3), keepdim=True), BOTH),
    "linear of all": (sequence(nn.Flatten(), nn.Linear(1920, 3)), BOTH),
    "linear of rows": (nn.Linear(20, 3), (3, "all")),
    "softmax of columns": (lambda x: x.softmax(2), ("all", 3)),
    "sorted rows": (lambda x: x.sort(3)[0], (3, "all")),
    "instance norm": (nn.InstanceNorm2d(4), BOTH),
    "group norm": (nn.GroupNorm(2, 4), BOTH),
    "layer norm of the map": (nn.LayerNorm([24, 20]), BOTH),
    "layer norm of rows": (nn.LayerNorm(20), (3, "all")),
    "batch norm by the batch": (nn.BatchNorm2d(4, track_running_stats=False), BOTH),
    "squeeze and excitation": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), BOTH),
    "attention": (sequence(lambda x: x.flatten(2).transpose(1, 2), lambda x: (x @ x.mT).softmax(-1) @ x), BOTH),
    "fused attention": (lambda x: functional.scaled_dot_product_attention(*[x.flatten(2).mT[:, None]] * 3), BOTH),
    "encoder": (sequence(lambda x: x.flatten(2).mT, nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), BOTH),
    "attention along rows": (lambda x: axial(x.permute(0, 2, 3, 1)), (3, "all")),
    "attention along columns": (lambda x: axial(x.permute(0, 3, 2, 1)), ("all", 3)),
    # not global
    "batch norm by stored statistics": (nn.BatchNorm2d(4), (3, 3)),
    "softmax of channels": (nn.Softmax2d(), (3, 3)),
    "layer norm of channels": (sequence(lambda x: x.permute(0, 2, 3, 1), nn.LayerNorm(4), lambda x: x.permute(0, 3, 1, 2)), (3, 3)),
    "norm of channels": (lambda x: functional.normalize(x, dim=1), (3, 3)),
    "flatten": (nn.Flatten(), (3, 3)),
    "linear of tokens": (sequence(lambda x: x.flatten(2).mT, nn.Linear(4, 9), nn.GELU()), (3, 3)),
    "tokens with a position": (lambda x: x.flatten(2).mT + torch.zeros(1, 480, 4, device=x.device), (3, 3)),
    "two pools that leave one pixel": (sequence(nn.AvgPool2d(4), nn.AvgPool2d((6, 5)), nn.Flatten(), nn.Linear(4, 2)), (26, 22)),
    "einsum of channels": (lambda x: torch.einsum("nchw,dc->ndhw", x, torch.ones(3, 4, device=x.device)), (3, 3)),
    "one pixel": (lambda x: x[:, :, 5, 7], (3, 3)),
    "a row and a column": (lambda x: x[:, :, 5].mean(-1), (3, "all")),
    "mean of the first rows": (lambda x: x[:, :, :5].mean(2), (7, 3)),
    # after an unknown order, everything together is everything all the same
    "flipped": (lambda x: x.flip(3), (3, 3)),
    "flipped, then a window": (sequence(lambda x: x.flip(3), CONV), (5, None)),
    "side by side twice": (lambda x: x.repeat(1, 1, 1, 2), (3, 3)),
    "side by side twice, then a window": (sequence(lambda x: x.repeat(1, 1, 1, 2), CONV), (5, None)),
    "some rows and all rows": (lambda x: (functional.pad(x[:, :, :5], (0, 0, 0, 19)) + x).mean(2), ("all", 3)),
    "some rows of those that were flipped": (lambda x: x.flip(2)[:, :, :5].mean(2), (None, 3)),
    "some rows, twice": (lambda x: (x[:, :, :5] + x[:, :, 1:6]).mean(2), (8, 3)),
    "columns chosen": (lambda x: x[..., torch.tensor([1, 1, 3], device=x.device)].mean(3), (3, None)),
    "channels chosen": (lambda x: x[:, torch.tensor([1, 1, 3], device=x.device)], (3, 3)),
    "flipped, then the mean": (lambda x: x.flip(3).mean((2, 3)), BOTH),
    "rolled, then a window, then the mean": (sequence(lambda x: x.roll(1, 2), CONV, nn.AdaptiveAvgPool2d(1)), BOTH),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_is_global_and_what_is_not(name: str) -> None:
    layer, expected = GLOBAL[name]
    assert field(CONV, layer) == expected


def shuffled(x: Tensor) -> Tensor:
    """The map in an order that mixes rows and columns."""
    return x.reshape(1, 4, 16, 30)


def written_piece_by_piece(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :, :7] = x[:, :, 5:12]
    made[:, :, 7:14] = x[:, :, :7]
    return made


def swapped_within_itself(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :, 4:] = x[:, :, 4:]
    made[:, :, :7] = made[:, :, 14:21]
    return made


def seen_by_another(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    corner = made[:, :, :7, :7]
    made[:, :, :10] = x[:, :, :10]
    return corner


def some_channels_written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :2] = x[:, :2]
    return made


def changed_behind_its_back(x: Tensor) -> Tensor:
    y = x * 1
    view = y[:, :, 2:]
    view += functional.max_pool2d(x, 5, 1, 2)[:, :, 2:]
    return y


UNKNOWN: dict[str, Sequence[nn.Module | Callable[[Tensor], Tensor]]] = {
    "two strides added": [lambda x: x[..., ::2, ::2] + x[..., :12, :10]],
    "two strides side by side": [lambda x: torch.cat((x[..., ::2, ::2], x[..., :12, :10]), 1), nn.Conv2d(8, 1, 1)],
    "transposed and added": [lambda x: x[..., :20, :] + x[..., :20, :].mT],
    "a window after a reshape": [shuffled, CONV],
    "flipped and added": [lambda x: x + x.flip(2, 3)],
    "rolled": [lambda x: x.roll((1, 2), (2, 3)), CONV],
    "halves side by side": [lambda x: torch.cat((x[:, :, 9:], x[:, :, :9]), 2)[..., torch.arange(19, -1, -1, device="meta")]],
    "columns in another order": [lambda x: x[..., torch.arange(20, device="meta")][:, :, torch.arange(24, device="meta")]],
    "the spectrum": [lambda x: torch.fft.fft2(x).abs()],
    "written piece by piece": [written_piece_by_piece],
    "swapped within itself": [swapped_within_itself],
    "seen by another tensor": [seen_by_another],
    "some channels written": [some_channels_written],
    "changed behind its back": [changed_behind_its_back],
    "a grid that is sampled": [lambda x: functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)],
    "unpooled": [lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2)],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_told(name: str) -> None:
    assert field(CONV, *UNKNOWN[name]) is None


def test_a_reshape_keeps_what_each_element_has_seen() -> None:
    assert field(CONV, shuffled) == (3, 3)
    assert field(CONV, shuffled, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1)) == BOTH


# inputs and modules of other kinds


def test_a_vector_has_no_axes() -> None:
    layers = cnnprof.profile(sequence(nn.Linear(8, 4), nn.ReLU()), (8,)).layers
    assert [(layer.receptive_field, layer.stride) for layer in layers] == [((), ())] * 2


def test_several_inputs_count_as_the_first() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return functional.max_pool2d(x, 3) + y

    assert cnnprof.profile(Two(), [(2, 12, 12), (2, 4, 4)]).root.receptive_field == (3, 3)
    assert cnnprof.profile(Two(), {"x": (2, 12, 12), "y": (2, 4, 4)}).root.receptive_field == (3, 3)


def test_what_depends_on_no_pixel() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.relu() + torch.zeros_like(x)

    assert cnnprof.profile(Constant(), (2, 4, 4)).root.receptive_field is None


def test_the_last_step_of_a_causal_network() -> None:
    layers = [layer for n in range(4) for layer in (nn.ConstantPad1d((2**n * 2, 0), 0.0), nn.Conv1d(2, 2, 3, dilation=2**n))]
    layer = cnnprof.profile(sequence(*layers, lambda x: x[:, :, -1], nn.Linear(2, 1)), (2, 100)).root
    assert layer.receptive_field == (31,)  # 1 + 2 * (1 + 2 + 4 + 8)
    assert layer.stride is None


def test_a_recurrent_layer_has_seen_what_came_before() -> None:
    # 5 steps of 6 numbers: an axis of 6 that the layer reads whole.
    assert cnnprof.profile(nn.LSTM(6, 3, batch_first=True), (5, 6)).root.receptive_field == ("all",)


def test_an_image_that_is_smaller_than_the_field() -> None:
    small, large = (cnnprof.profile(cnnprof.load("resnet18"), (3, n, n)).layers[-4].receptive_field for n in (32, 224))
    assert small == large == (435, 435)


def test_nothing_is_left_on_tensors() -> None:
    kept: list[Tensor] = []

    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1, 2, 8, 8, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            seen = self.get_buffer("seen")
            seen.copy_(functional.max_pool2d(x, 3, 1, 1))
            kept.append(seen + 1)
            return kept[-1]

    module = Keeps()
    x = torch.zeros(1, 2, 8, 8, device="meta")
    for _ in range(2):
        assert cnnprof.profile(module, x).root.receptive_field == (3, 3)
        assert all(vars(tensor) == {} for tensor in (module.get_buffer("seen"), *kept, x))
    assert kept


# the table of rules


def overloads() -> list[torch._ops.OpOverload]:
    """Every overload of aten that has a rule."""
    found = []
    for name in sorted(set(dir(torch.ops.aten))):
        packet = getattr(torch.ops.aten, name)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            found += [getattr(packet, overload) for overload in packet.overloads()]
    return [func for func in found if rule(func.name().partition("::")[2]) is not None and takes_tensors(func)]


def takes_tensors(func: torch._ops.OpOverload) -> bool:
    """Whether it does, and not one to write to, `out=`: those have no rules."""
    arguments = func._schema.arguments
    return any("Tensor" in str(one.type) for one in arguments) and not any(one.is_out for one in arguments)


def test_every_rule_takes_the_arguments_of_its_operators() -> None:
    found = overloads()
    assert len(found) > 300
    for func in found:
        taken = inspect.signature(rule(func.name().partition("::")[2]) or check)
        arguments = func._schema.arguments
        positional = [one.name for one in arguments if not one.kwarg_only]
        required = [one.name for one in arguments if not one.kwarg_only and not one.has_default_value()]
        named = {one.name: one for one in arguments if one.kwarg_only}
        taken.bind("look", "made", *positional, **named)
        taken.bind("look", "made", *required)


# what is printed


class Decoder(nn.Sequential):
    """Half a pixel on, and differently high and wide."""

    def __init__(self) -> None:
        last = Do(lambda x: functional.max_pool2d(x.roll(1, 3), (1, 2), 1)), nn.AdaptiveAvgPool2d(1)
        super().__init__(nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 2, (3, 1)), *last)


def decoder() -> cnnprof.Profile:
    return cnnprof.profile(Decoder(), (2, 8, 8))


def test_the_columns_of_a_table() -> None:
    table = read_table(printed(decoder(), View(columns=("kind", "field", "stride"))))
    assert table.headings == ["kind", "field", "stride"]
    assert table.rows == [["1", "1/2"], ["2x1", "1/2"], ["2x-", "1/2x-"], ["all", "-"]]


def test_the_columns_are_defined_where_they_are_shown() -> None:
    for name in ("table", "markdown", "latex"):
        shown, hidden = (printed(decoder(), View(columns=columns), name) for columns in (("layer", "field"), ()))
        assert "as if there were no borders" in " ".join(shown.split())
        assert "as if there were no borders" not in " ".join(hidden.split())


def test_machine_formats() -> None:
    rows = json.loads(printed(decoder(), format="json"))
    assert [row["receptive_field"] for row in rows["layers"]] == [[1, 1], [2, 1], [2, None], ["all", "all"]]
    assert [row["stride"] for row in rows["layers"]] == [["1/2", "1/2"], ["1/2", "1/2"], ["1/2", None], None]
    assert rows["containers"][0]["receptive_field"] == ["all", "all"]
    assert printed(decoder(), View(columns=("kind", "receptive_field", "stride")), "csv").splitlines()[:4] == [
        "kind,receptive_field,stride",
        "ConvTranspose2d,1x1,1/2x1/2",
        "Conv2d,2x1,1/2x1/2",
        "Do,2x-,1/2x-",
    ]


def test_a_saved_profile_has_them() -> None:
    profile = decoder()
    read = read_profile(Source("net.json", printed(profile, format="json")))
    for before, after in zip(profile.layers, read.layers, strict=True):
        assert (after.receptive_field, after.stride) == (before.receptive_field, before.stride)
    assert read.root.receptive_field == ("all", "all")


def test_sorting_by_the_field() -> None:
    table = read_table(printed(decoder(), View(columns=("kind", "field"), sort="field")))
    assert [row[0] for row in table.rows] == ["all", "2x1", "2x-", "1"]


def test_equal_blocks_in_one_row_show_the_field_of_the_last() -> None:
    profile = cnnprof.profile(cnnprof.load("resnet50"), (3, 224, 224))
    lines = printed(profile, View(columns=("layer", "field"))).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("stage1.1 x2:", "stage3.1 x5:"))] == ["35", "267"]
