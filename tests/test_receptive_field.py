"""Receptive fields and strides against the truth, of random networks and of blocks of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from field_truth import Do, check, sequence
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from cnnprof.nets.layers import LocallyConnected2d

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
    "gaps": (sequence(nn.ConvTranspose1d(2, 3, 1, 3), nn.MaxPool1d(3, 1), lambda x: x[..., 2::3]), (2, 40)),
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
