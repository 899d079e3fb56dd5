"""Whole layers under the dispatch mode: what they return and cost, on the meta device and on the CPU, and what they import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from agreement import Counting, meta
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

x1, x2, x3 = meta(2, 6, 16), meta(2, 6, 12, 12), meta(2, 6, 8, 8, 8)
new: dict[str, Any] = {"device": "meta"}
LAYERS: list[tuple[nn.Module, Tensor]] = [
    *[(getattr(nn, f"Conv{rank}d")(6, 4, 3, padding=1, groups=2, **new), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"ConvTranspose{rank}d")(6, 4, 3, stride=2, **new), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"BatchNorm{rank}d")(6, **new), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"InstanceNorm{rank}d")(6, affine=True, **new), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"MaxPool{rank}d")(3, 2, 1), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"AvgPool{rank}d")(3, 2, 1), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"AdaptiveAvgPool{rank}d")(3), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"AdaptiveAvgPool{rank}d")(1), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"AdaptiveMaxPool{rank}d")(3), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[(getattr(nn, f"LPPool{rank}d")(2, 3), x) for rank, x in enumerate((x1, x2, x3), 1)],
    *[
        (getattr(nn, f"{kind}Pad2d")(2), x2)
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        if kind != "Constant"
    ],
    *[(nn.Upsample(scale_factor=2, mode=mode), x2) for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")],
    *[(layer(), x2) for layer in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.Hardswish)],
    *[(layer(), x2) for layer in (nn.Hardsigmoid, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softsign, nn.Softplus)],
    *[(layer(), x2) for layer in (nn.Softshrink, nn.Hardshrink, nn.LeakyReLU, nn.RReLU, nn.Hardtanh, nn.Softmax2d, nn.Dropout)],
    *[(layer(dim=1), x2) for layer in (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU)],
    (nn.PReLU(6, **new), x2),
    (nn.Threshold(0.1, 0.0), x2),
    (nn.GroupNorm(3, 6, **new), x2),
    (nn.LayerNorm([12, 12], **new), x2),
    (nn.RMSNorm(12, **new), x2),
    (nn.LocalResponseNorm(3), x2),
    (nn.FractionalMaxPool2d(2, output_size=4), x2),
    (nn.PixelShuffle(2), meta(2, 8, 5, 5)),
    (nn.PixelUnshuffle(2), x2),
    (nn.ChannelShuffle(3), x2),
    (nn.Unfold(3, padding=1), x2),
    (nn.Fold((6, 6), 3), meta(2, 18, 16)),
    (nn.Flatten(), x2),
    (nn.Linear(12, 5, **new), x2),
    (nn.Linear(12, 5, bias=False, **new), x2),
    (nn.Linear(6, 5, **new), x2.movedim(1, 3)),
    (nn.Sequential(nn.Conv2d(6, 8, 3, padding="same", padding_mode="reflect", **new), nn.ReLU(inplace=True)), x2),
    (nn.LSTM(16, 5, num_layers=2, bidirectional=True, proj_size=3, **new), x1),
    (nn.GRU(16, 5, **new), x1),
    (nn.RNN(16, 5, **new), x1),
    (nn.LSTMCell(16, 5, **new), meta(3, 16)),
    (nn.GRUCell(16, 5, **new), meta(3, 16)),
    (nn.RNNCell(16, 5, **new), meta(3, 16)),
    (nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, **new), x1),
    (nn.TransformerEncoderLayer(16, 2, 24, norm_first=True, activation="gelu", **new), x1),
]


def shapes(output: Any) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in tree_leaves(output)]


@pytest.mark.parametrize(("layer", "x"), LAYERS, ids=[f"{type(layer).__name__}-{i}" for i, (layer, _) in enumerate(LAYERS)])
@pytest.mark.parametrize("mode", ["inference", "no_grad", "train"])
def test_layers(layer: nn.Module, x: Tensor, mode: str) -> None:
    layer.train(mode == "train")
    x = x.clone().requires_grad_(mode == "train")

    def run() -> Any:
        output = layer(x * 1)
        if mode == "train":
            sum(y.sum() for y in tree_leaves(output)).backward()
        return output

    with torch.inference_mode() if mode == "inference" else torch.set_grad_enabled(mode == "train"):
        with Counting() as counting:
            ours = run()
        with FlopCounterMode(display=False) as counter:
            theirs = run()
    assert shapes(ours) == shapes(theirs)
    assert not counting.unknown
    if mode != "train" or not hasattr(layer, "kernel_size") or getattr(layer, "groups", 1) == 1:
        assert counting.products == counter.get_total_flops() // 2
    else:  # torch's counter forgets the groups
        assert 0 < counting.products < counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (nn.LSTM(16, 5, num_layers=2, bidirectional=True), (7, 2, 16), "mkldnn_rnn_layer"),
        (nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), (2, 7, 16), "_transformer_encoder_layer_fwd"),
        (nn.TransformerEncoderLayer(16, 2, 24), (7, 2, 16), ""),
    ],
)
def test_kernels_that_hide_products_on_the_cpu(layer: nn.Module, shape: tuple[int, ...], kernel: str) -> None:
    with torch.no_grad():
        with Counting() as real:
            layer.eval()(torch.zeros(shape))
        with Counting() as without_data:
            layer.to("meta")(meta(*shape))
    assert not kernel or f"aten::{kernel}" in real.seen
    assert not real.unknown
    assert real.products == without_data.products > 0


def test_multi_head_attention_in_one_kernel() -> None:
    layer = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    with torch.no_grad():
        x = torch.zeros(2, 7, 16)
        with Counting() as real:
            layer(x, x, x)
        with Counting() as without_data:
            layer.to("meta")(*[meta(2, 7, 16)] * 3)
    assert "aten::_native_multi_head_attention" in real.seen
    assert real.products == without_data.products > 0


def test_attention_on_the_cpu() -> None:
    x = torch.zeros(2, 3, 7, 4)
    with Counting() as real:
        scaled_dot_product_attention(x, x, x)
    with Counting() as without_data:
        x = x.to("meta")
        scaled_dot_product_attention(x, x, x)
    assert real.products == without_data.products == 2 * 2 * 3 * 7 * 7 * 4
    assert not without_data.unknown


CLEAN = """
import sys, torch
from torch import nn
from cnnprof.operators import MetaMode

class Block(nn.Module):
    def __init__(self, channels, size, stride=1):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, size, 1, bias=False), nn.BatchNorm2d(size), nn.ReLU(inplace=True),
            nn.Conv2d(size, size, 3, stride, 1, groups=2, bias=False), nn.BatchNorm2d(size), nn.SiLU(),
            nn.Conv2d(size, 4 * size, 1, bias=False), nn.BatchNorm2d(4 * size))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * size, 4 * size, 1), nn.Sigmoid())
        self.skip = nn.Conv2d(channels, 4 * size, 1, stride)

    def forward(self, x):
        y = self.main(x)
        y = self.gate(y) * y
        y += self.skip(x)
        return torch.relu(torch.cat([y, y.chunk(2, 1)[0]], 1)[:, : y.shape[1]])

with MetaMode(), torch.device("meta"):
    net = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        Block(64, 32), Block(128, 64, 2), nn.ConvTranspose2d(256, 64, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.GroupNorm(4, 64), nn.Hardswish(), nn.Flatten(2), nn.TransformerEncoderLayer(12544, 4, 64, batch_first=True),
        nn.LayerNorm(12544), nn.AvgPool1d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(200704, 10))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    x = torch.empty(2, 3, 224, 224)
    for training in (False, True):
        net.train(training)
        with torch.no_grad():
            assert net(x).shape == (2, 10)
print(*[name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_pass_imports_no_compiler() -> None:
    result = subprocess.run([sys.executable, "-c", CLEAN], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout == "\n"
