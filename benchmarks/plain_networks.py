"""A few networks as torchvision builds them, in torch alone: no cnnprof is imported, so no side starts with it warmed up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


def lenet5() -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with every map connected: 61,706 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def alexnet() -> nn.Module:
    """AlexNet in one tower (Krizhevsky 2014): 61,100,840 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)),
    )


def vgg16() -> nn.Module:
    """VGG-16 (Simonyan & Zisserman 2015): 138,357,544 parameters."""
    layers: list[nn.Module] = []
    entering = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(entering, width, 3, padding=1), nn.ReLU()]
            entering = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)),
    )


class Bottleneck(nn.Module):
    """A bottleneck of ResNet (He et al. 2016), with the stride on the 3x3 as torchvision has it."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = 4 * width
        self.main = nn.Sequential(
            *(nn.Conv2d(entering, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, leaving, 1, bias=False), nn.BatchNorm2d(leaving)),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or entering != leaving:
            self.skip = nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both branches, rectified."""
        y: Tensor = self.relu(self.main(x) + self.skip(x))
        return y


def _resnet(depths: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    entering = 64
    for width, stride, depth in zip((64, 128, 256, 512), (1, 2, 2, 2), depths, strict=True):
        for index in range(depth):
            layers.append(Bottleneck(entering, width, 1 if index else stride))
            entering = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, 1000))


def resnet50() -> nn.Module:
    """ResNet-50: 25,557,032 parameters."""
    return _resnet((3, 4, 6, 3))


def resnet152() -> nn.Module:
    """ResNet-152: 60,192,808 parameters."""
    return _resnet((3, 8, 36, 3))


class SqueezeExcitation(nn.Module):
    """A weight for each channel, computed from the channels' means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.SiLU()),
            *(nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The channels, weighed."""
        y: Tensor = self.weigh(x) * x
        return y


def _conv_bn(entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(leaving)]


class MBConv(nn.Module):
    """An inverted bottleneck of EfficientNet (Tan & Le 2019)."""

    def __init__(self, entering: int, leaving: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = entering * expansion
        expand = [*_conv_bn(entering, wide, 1), nn.SiLU()] if expansion > 1 else []
        self.main = nn.Sequential(
            *(*expand, *_conv_bn(wide, wide, kernel, stride, wide), nn.SiLU()),
            *(SqueezeExcitation(wide, entering // 4), *_conv_bn(wide, leaving, 1)),
        )
        self.skips = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        """The bottleneck's output, added to its input where they have the same shape."""
        y: Tensor = self.main(x)
        return x + y if self.skips else y


def efficientnet_b7() -> nn.Module:
    """EfficientNet-B7, twice as wide and 3.1 times as deep as B0: 66,347,960 parameters."""

    def wide(channels: int) -> int:
        scaled = 2.0 * channels
        rounded = int(scaled + 4) // 8 * 8
        return rounded if rounded >= 0.9 * scaled else rounded + 8

    entering = wide(32)
    layers = [*_conv_bn(3, entering, 3, 2), nn.SiLU()]
    stages = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5))
    for expansion, channels, depth, stride, kernel in (*stages, (6, 320, 1, 1, 3)):
        for index in range(math.ceil(3.1 * depth)):
            layers.append(MBConv(entering, wide(channels), expansion, kernel, 1 if index else stride))
            entering = wide(channels)
    last = 4 * entering
    head = [*_conv_bn(entering, last, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(last, 1000)]
    return nn.Sequential(*layers, *head)


@dataclass(frozen=True)
class Plain:
    """How to make a network, and the size of its image."""

    make: Callable[[], nn.Module]
    size: tuple[int, int, int] = (3, 224, 224)


NETWORKS: Mapping[str, Plain] = {
    "lenet5": Plain(lenet5, (1, 32, 32)),
    "alexnet": Plain(alexnet),
    "vgg16": Plain(vgg16),
    "resnet50": Plain(resnet50),
    "resnet152": Plain(resnet152),
    "efficientnet_b7": Plain(efficientnet_b7, (3, 600, 600)),
}
