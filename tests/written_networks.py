"""Networks as people write them, each in a style of its own."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


class LeNet(nn.Module):
    """The lecture's, with functions for what has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=5)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=5)
        self.fc1 = nn.Linear(256, 200)
        self.fc2 = nn.Linear(200, 10)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(F.max_pool2d(self.conv1(x), kernel_size=3))
        x = F.relu(F.max_pool2d(self.conv2(x), kernel_size=2))
        x = x.view(-1, 256)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def lenet_in_order() -> nn.Module:
    """A Sequential of named layers, no class at all."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            act1=nn.Sigmoid(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            act2=nn.Sigmoid(),
            pool2=nn.AvgPool2d(2),
            flat=nn.Flatten(),
            head=nn.Sequential(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 10)),
        )
    )


class Pyramid(nn.Module):
    """Loops over a ModuleList and a ModuleDict; the output is a dictionary, one entry a scale."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        sizes = (3, *widths)
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip(sizes, widths, strict=False))
        self.lateral = nn.ModuleDict({f"p{n}": nn.Conv2d(width, 8, 1) for n, width in enumerate(widths)})
        self.head = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        maps = []
        for stage in self.stages:
            x = torch.relu_(stage(x))
            maps.append(x)
        merged: dict[str, Any] = {}
        above: Tensor | None = None
        for (name, conv), found in reversed(list(zip(self.lateral.items(), maps, strict=True))):
            below = conv(found)
            above = below if above is None else below + F.interpolate(above, size=below.shape[-2:], mode="nearest")
            merged[name] = {"logits": self.head(above), "level": len(merged)}
        return {"out": merged, "features": maps}


class Tree(nn.Module):
    """A module that holds two smaller ones of its own kind."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.leaf = depth == 0
        if self.leaf:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            self.left, self.right = Tree(depth - 1, channels), Tree(depth - 1, channels)
            self.join = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Any:
        if self.leaf:
            return self.conv(x).relu()
        left = self.left(x)
        return self.join(torch.cat([left, self.right(left)], dim=1))


class Attention(nn.Module):
    """Attention by scaled_dot_product_attention, with one map for queries, keys and values."""

    def __init__(self, size: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Any:
        batch, length, size = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(y.transpose(1, 2).reshape(batch, length, size))


class Block(nn.Module):
    def __init__(self, size: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attn = Attention(size, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = self.mlp(self.norm2(x))
        return x + y


class ViT(nn.Module):
    """A vision transformer: patches, a class token and positions that are parameters."""

    def __init__(self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Any:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class UNet(nn.Module):
    """Skips that are concatenated, maps that are made larger by interpolation or by a transposed convolution."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        double: Callable[[int, int], nn.Module] = lambda i, o: nn.Sequential(  # noqa: E731 - people do write this
            nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True), nn.Conv2d(o, o, 3, padding=1)
        )
        self.down = nn.ModuleList([double(1, width), double(width, 2 * width), double(2 * width, 4 * width)])
        self.up1, self.up2 = double(6 * width, 2 * width), double(2 * width, width)
        self.transposed = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.down[0](x)
        b = self.down[1](F.max_pool2d(a, 2))
        c = self.down[2](F.max_pool2d(b, 2))
        b = self.up1(torch.cat([F.interpolate(c, scale_factor=2, mode="bilinear", align_corners=False), b], 1))
        return self.out(self.up2(torch.cat([self.transposed(b), a], 1)))


class Generator(nn.Module):
    """A GAN's: noise to an image, by transposed convolutions."""

    def __init__(self, noise: int = 16, width: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [noise, 4 * width, 2 * width, width]
        for i, (entering, leaving) in enumerate(pairwise(sizes)):
            layers += [
                nn.ConvTranspose2d(entering, leaving, 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False),
                nn.BatchNorm2d(leaving),
                nn.ReLU(True),
            ]
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Any:
        return self.main(z.view(z.size(0), -1, 1, 1))


class Siamese(nn.Module):
    """Two inputs through the same layers, then how far they are apart."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(128, 16))
        self.judge = nn.Linear(16, 1)

    def forward(self, one: Tensor, other: Tensor) -> Any:
        return torch.sigmoid(self.judge((self.embed(one) - self.embed(other)).abs()))


class Classifier(nn.Module):
    """Text as ids: an embedding, an LSTM in both directions with a state of zeros, the mean over time."""

    def __init__(self, words: int = 100) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.fc = nn.Linear(20, 3)

    def forward(self, ids: Tensor) -> Any:
        x = self.embedding(ids)
        zeros = torch.zeros(4, ids.size(0), 10, dtype=x.dtype, device=x.device)
        out, (_hidden, _cell) = self.lstm(x, (zeros, zeros))
        return self.fc(out.mean(dim=1))


class InvertedResidual(nn.Module):
    def __init__(self, entering: int, leaving: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = entering * expansion
        self.skip = stride == 1 and entering == leaving
        self.conv = nn.Sequential(
            nn.Conv2d(entering, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, leaving, 1, bias=False),
            nn.BatchNorm2d(leaving),
        )

    def forward(self, x: Tensor) -> Any:
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNet(nn.Module):
    """Depthwise separable convolutions from a list of settings, and the mean of a map by `mean`."""

    def __init__(self) -> None:
        super().__init__()
        settings = [(8, 1, 1), (12, 2, 4), (12, 1, 4), (16, 2, 4)]
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        entering = 8
        for number, (width, stride, expansion) in enumerate(settings):
            self.features.add_module(f"block{number}", InvertedResidual(entering, width, stride, expansion))
            entering = width
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(entering, 10))

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.features(x).mean([2, 3]))


class DenseNet(nn.Module):
    """Every layer sees all that came before; layers by setattr and getattr, found by name."""

    def __init__(self, growth: int = 6, layers: int = 4) -> None:
        super().__init__()
        self.layers = layers
        for i in range(layers):
            entering = 3 + i * growth
            setattr(self, f"norm{i}", nn.BatchNorm2d(entering))
            setattr(self, f"conv{i}", nn.Conv2d(entering, growth, 3, padding=1, bias=False))
        self.fc = nn.Linear(3 + layers * growth, 7)

    def forward(self, x: Tensor) -> Any:
        features = [x]
        for i in range(self.layers):
            y = torch.relu(getattr(self, f"norm{i}")(torch.cat(features, 1)))
            features.append(getattr(self, f"conv{i}")(y))
        return self.fc(F.adaptive_avg_pool2d(torch.cat(features, 1), 1).flatten(1))


class Mixer(nn.Module):
    """An MLP over the pixels, one over the channels, by permuting; residuals in place."""

    def __init__(self, patches: int = 16, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        mlp: Callable[[int], nn.Module] = lambda size: nn.Sequential(  # noqa: E731 - people do write this
            nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size)
        )
        self.mixers: Any = nn.ModuleList(nn.ModuleList([mlp(patches), mlp(width), nn.LayerNorm(width)]) for _ in range(depth))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x).flatten(2).permute(0, 2, 1)
        for tokens, channels, norm in self.mixers:
            x = x + tokens(norm(x).permute(0, 2, 1)).permute(0, 2, 1)
            x += channels(norm(x))
        return self.head(x.mean(1))


class GPT(nn.Module):
    """A causal language model whose output map is the embedding of its words; returns logits and no loss."""

    def __init__(self, words: int = 65, length: int = 16, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        embedding = nn.Embedding(words, width)
        self.transformer: Any = nn.ModuleDict(
            {
                "wte": embedding,
                "wpe": nn.Embedding(length, width),
                "h": nn.ModuleList([Block(width, 4, causal=True) for _ in range(depth)]),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, words, bias=False)
        self.lm_head.weight = embedding.weight

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Any, Any]:
        positions = torch.arange(ids.shape[1], dtype=torch.long, device=ids.device)
        x = self.transformer["wte"](ids) + self.transformer["wpe"](positions)
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x)) / math.sqrt(2)
        return logits, None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Bottleneck(nn.Module):
    """A residual block, with a squeeze and excitation by convolutions of 1x1 maps, and stochastic depth that eval() leaves out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(width, width // 2, 1), nn.ReLU(), nn.Conv2d(width // 2, width, 3, padding=1))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Any:
        y = self.convs(x)
        y = y * self.squeeze(y)
        if self.training and torch.rand(()) < 0.5:
            return x
        return F.relu(x + y)


class Recurrent(nn.Module):
    """A convolutional recurrence: one block for every step, its state a tuple, steps on a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        self.block = Bottleneck(16)
        self.cell = nn.GRUCell(16, 12)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(12, n)) for n in (2, 3)])

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        x = self.stem(x)
        state = None
        steps = []
        for _ in range(3):
            x = self.block(x)
            state = self.cell(x.mean((2, 3)), state)
            steps.append((state @ self.heads[0], torch.einsum("bi,ij->bj", state, self.heads[1])))
        return steps


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[tuple[int, ...], torch.dtype]]]] = {
    "lenet": (LeNet, {"x": ((1, 28, 28), torch.float32)}),
    "lenet in order": (lenet_in_order, {"input": ((1, 28, 28), torch.float32)}),
    "pyramid": (Pyramid, {"x": ((3, 40, 48), torch.float32)}),
    "tree": (lambda: Tree(3, 6), {"x": ((6, 9, 9), torch.float32)}),
    "vision transformer": (ViT, {"x": ((3, 32, 32), torch.float32)}),
    "u-net": (UNet, {"x": ((1, 16, 24), torch.float32)}),
    "generator": (Generator, {"z": ((16,), torch.float32)}),
    "siamese": (Siamese, {"one": ((1, 12, 12), torch.float32), "other": ((1, 14, 14), torch.float32)}),
    "text classifier": (Classifier, {"ids": ((9,), torch.int64)}),
    "mobilenet": (MobileNet, {"x": ((3, 33, 33), torch.float32)}),
    "densenet": (DenseNet, {"x": ((3, 8, 8), torch.float32)}),
    "mixer": (Mixer, {"x": ((3, 32, 32), torch.float32)}),
    "gpt": (GPT, {"ids": ((16,), torch.int64)}),
    "gpt with a loss": (GPT, {"ids": ((16,), torch.int64), "targets": ((16,), torch.int64)}),
    "recurrent convolutions": (Recurrent, {"x": ((3, 21, 21), torch.float32)}),
}
"""How each is made, and its inputs by name, without the batch."""
