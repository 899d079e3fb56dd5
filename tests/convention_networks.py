"""Small modules on which other tools count differently, each with its input: one per rule of theirs that differs from products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as everybody writes it


class Written(nn.Module):
    """A module whose `forward` is the function that it is given."""

    def __init__(self, forward: Callable[..., Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.written = forward
        self.layer = layer if layer is not None else nn.Linear(1, 1)  # ptflops wants a parameter

    def forward(self, x: Tensor) -> Tensor:
        return self.written(x) if not _takes_two(self.written) else self.written(x, self.layer)


def _takes_two(function: Callable[..., Any]) -> bool:
    return function.__code__.co_argcount == 2


class TwoPlaces(nn.Module):
    """Two containers that share a block."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.first = nn.Sequential(block, nn.LayerNorm(8))
        self.second = nn.Sequential(block, block)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


class KeptFunction(nn.Module):
    """A function that was looked up when the module was made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.activation = F.gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layer(x))


class Transformer(nn.Module):
    """A vision transformer of two layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
        self.patches = nn.Conv2d(4, 8, 2, 2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))
        return out


class SubclassedLinear(nn.Linear):
    """thop and ptflops go by the exact class."""


def attention(batch_first: bool = True, **kwargs: Any) -> nn.Module:
    return nn.MultiheadAttention(8, 2, batch_first=batch_first, **kwargs)


IMAGE = (4, 6, 8)
SEQUENCE = (5, 8)

NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2d(4, 6, 3), IMAGE),
    "conv_grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False, stride=2, padding=1), IMAGE),
    "conv_same": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding="same"), nn.Conv2d(6, 2, 4, padding="valid")), IMAGE),
    "conv_same_reflected": (lambda: nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"), IMAGE),
    "conv1d_same": (lambda: nn.Conv1d(5, 6, 3, padding="same"), SEQUENCE),
    "conv_transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), IMAGE),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (2, 3, 4, 5)),
    "linear_on_sequence": (lambda: nn.Linear(8, 3), SEQUENCE),
    "batch_norm": (lambda: nn.BatchNorm2d(4), IMAGE),
    "batch_norm_plain": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "batch_norm_of_the_batch": (lambda: nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "instance_norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "layer_norm": (lambda: nn.LayerNorm(8), SEQUENCE),
    "layer_norm_plain": (lambda: nn.LayerNorm(8, elementwise_affine=False), SEQUENCE),
    "group_norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "local_response_norm": (lambda: nn.LocalResponseNorm(5), IMAGE),
    "relu": (lambda: nn.ReLU(inplace=True), IMAGE),
    "relu6": (nn.ReLU6, IMAGE),
    "leaky_relu": (nn.LeakyReLU, IMAGE),
    "prelu": (nn.PReLU, IMAGE),
    "silu": (nn.SiLU, IMAGE),
    "gelu": (nn.GELU, IMAGE),
    "softmax": (lambda: nn.Softmax(-1), SEQUENCE),
    "max_pool": (lambda: nn.MaxPool2d(2), IMAGE),
    "avg_pool": (lambda: nn.AvgPool2d(2), IMAGE),
    "adaptive_avg_pool_1": (lambda: nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_avg_pool_4x5": (lambda: nn.AdaptiveAvgPool2d((4, 5)), IMAGE),
    "adaptive_avg_pool1d": (lambda: nn.AdaptiveAvgPool1d(3), SEQUENCE),
    "upsample_nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "upsample_bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "upsample_bicubic": (lambda: nn.Upsample(size=(7, 9), mode="bicubic"), IMAGE),
    "upsample_by_two_factors": (lambda: nn.Upsample(scale_factor=(1.5, 2.5)), IMAGE),
    "lstm": (lambda: nn.LSTM(8, 3, 2, bidirectional=True, batch_first=True), SEQUENCE),
    "gru": (lambda: nn.GRU(8, 3, 2, bias=False), SEQUENCE),
    "rnn": (lambda: nn.RNN(8, 3), SEQUENCE),
    "lstm_cell": (lambda: nn.LSTMCell(8, 3), (8,)),
    "gru_cell": (lambda: nn.GRUCell(8, 3), (8,)),
    "attention": (lambda: Written(lambda x, layer: layer(x, x, x)[0], attention()), SEQUENCE),
    "attention_fused": (lambda: Written(lambda x, layer: layer(x, x, x, need_weights=False)[0], attention(False)), SEQUENCE),
    "attention_masked": (
        lambda: Written(lambda x, layer: layer(x, x, x, attn_mask=torch.zeros(5, 5, device=x.device))[0], attention(bias=False)),
        SEQUENCE,
    ),
    "transformer_layer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), SEQUENCE),
    "vision_transformer": (Transformer, IMAGE),
    "dot_product_attention": (lambda: Written(lambda x: F.scaled_dot_product_attention(x, x, x)), SEQUENCE),
    "torch_matmul": (lambda: Written(lambda x: torch.matmul(x, x.mT)), SEQUENCE),
    "matmul_operator": (lambda: Written(lambda x: x @ x.mT), SEQUENCE),
    "matmul_broadcast": (lambda: Written(lambda x: x[:, :1] @ x[:, None].mT), SEQUENCE),
    "bmm": (lambda: Written(lambda x: torch.bmm(x, x.mT)), SEQUENCE),
    "baddbmm": (lambda: Written(lambda x: torch.baddbmm(x[:, :, :5], x, x.mT)), SEQUENCE),
    "einsum": (lambda: Written(lambda x: torch.einsum("b i d, b j d -> b i j", x, x)), (197, 771)),
    "einsum_exact": (lambda: Written(lambda x: torch.einsum("abc,abd->acd", x, x)), SEQUENCE),
    "tensordot": (lambda: Written(lambda x: torch.tensordot(x, x, dims=([2], [2]))), SEQUENCE),
    "torch_add": (lambda: Written(lambda x: torch.add(x, x)), SEQUENCE),
    "add_operator": (lambda: Written(lambda x: x + x), SEQUENCE),
    "torch_mul_broadcast": (lambda: Written(lambda x: torch.mul(x, x[0, 0])), SEQUENCE),
    "functional_linear": (lambda: Written(lambda x, layer: F.linear(x, layer.weight, layer.bias), nn.Linear(8, 3)), SEQUENCE),
    "functional_conv": (lambda: Written(lambda x, layer: F.conv2d(x, layer.weight, layer.bias), nn.Conv2d(4, 3, 3)), IMAGE),
    "functional_relu": (lambda: Written(lambda x: F.relu(x - 1)), IMAGE),
    "functional_softmax": (lambda: Written(lambda x: F.softmax(x, -1)), IMAGE),
    "functional_max_pool": (lambda: Written(lambda x: F.max_pool2d(x, 2)), IMAGE),
    "functional_adaptive_pool": (lambda: Written(lambda x: F.adaptive_avg_pool2d(x, 1)), IMAGE),
    "functional_resize_by_area": (lambda: Written(lambda x: F.interpolate(x, size=3, mode="area")), IMAGE),
    "grid_sample": (
        lambda: Written(lambda x: F.grid_sample(x, torch.zeros(1, 3, 5, 2, device=x.device), align_corners=False)),
        IMAGE,
    ),
    "bilinear": (lambda: Written(lambda x, layer: layer(x, x), nn.Bilinear(8, 8, 3)), SEQUENCE),
    "two_places": (TwoPlaces, SEQUENCE),
    "called_twice": (lambda: Written(lambda x, layer: layer(layer(x)), nn.Linear(8, 8)), SEQUENCE),
    "subclassed": (lambda: nn.Sequential(SubclassedLinear(8, 8), nn.Linear(8, 2)), SEQUENCE),
    "weight_norm": (lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), SEQUENCE),
    "kept_function": (KeptFunction, SEQUENCE),
}
"""Modules and the shape of their input, without the batch."""

BUNDLED = ("resnet50", "resnet18", "vgg16", "alexnet", "lenet5", "efficientnet_b0")
"""The bundled networks whose counts are recorded too."""
