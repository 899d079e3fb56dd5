"""Small modules with the number of their products and parameters, as one would write it on the blackboard: torch's own layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from module_pieces import Case, Of, ids, param
from module_table_code import CODE
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

zeros = torch.zeros
Conv1d, Conv2d, Conv3d, Linear = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear
T1d, T2d, T3d = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
MHA = nn.MultiheadAttention

CONVOLUTIONS = [
    Case("conv1d", lambda: Conv1d(4, 6, 3), (4, 20), 6 * 18 * 4 * 3, 6 * (4 * 3 + 1)),
    Case("conv2d", lambda: Conv2d(3, 8, 3, stride=2, padding=1), (3, 32, 32), 8 * 16 * 16 * 3 * 9, 8 * (3 * 9 + 1)),
    Case("conv3d", lambda: Conv3d(2, 4, 3), (2, 6, 7, 8), 4 * 4 * 5 * 6 * 2 * 27, 4 * (2 * 27 + 1)),
    Case("conv without bias", lambda: Conv2d(3, 8, 5, bias=False), (3, 12, 12), 8 * 8 * 8 * 3 * 25, 8 * 3 * 25),
    Case("dilated conv", lambda: Conv2d(4, 4, 3, dilation=2), (4, 12, 12), 4 * 8 * 8 * 4 * 9, 4 * (4 * 9 + 1)),
    Case("dilated conv1d", lambda: Conv1d(4, 4, 3, dilation=4), (4, 20), 4 * 12 * 4 * 3, 4 * (4 * 3 + 1)),
    Case("grouped conv", lambda: Conv2d(8, 12, 3, groups=4), (8, 10, 10), 12 * 8 * 8 * 2 * 9, 12 * (2 * 9 + 1)),
    Case("grouped dilated conv3d", lambda: Conv3d(4, 6, 2, dilation=3, groups=2), (4, 5, 5, 5), 6 * 8 * 2 * 8, 6 * (2 * 8 + 1)),
    Case("depthwise conv", lambda: Conv2d(8, 8, 3, groups=8), (8, 10, 10), 8 * 8 * 8 * 1 * 9, 8 * 9 + 8),
    Case("depthwise conv, two filters each", lambda: Conv2d(8, 16, 3, groups=8), (8, 10, 10), 16 * 8 * 8 * 1 * 9, 16 * 9 + 16),
    Case("pointwise conv", lambda: Conv2d(16, 32, 1), (16, 7, 7), 32 * 7 * 7 * 16, 32 * 17),
    Case("conv 1x7", lambda: Conv2d(4, 4, (1, 7), padding=(0, 3)), (4, 9, 9), 4 * 9 * 9 * 4 * 7, 4 * (4 * 7 + 1)),
    Case("conv, padding same", lambda: Conv2d(3, 4, 5, padding="same"), (3, 9, 9), 4 * 9 * 9 * 3 * 25, 4 * (3 * 25 + 1)),
    Case("conv, circular padding", lambda: Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (3, 8, 8), 4 * 64 * 27, 4 * 28),
    Case("conv, reflected padding", lambda: Conv1d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 8), 4 * 8 * 9, 4 * 10),
    Case("conv without a batch", lambda: Conv2d(3, 4, 3), zeros(3, 8, 8), 4 * 6 * 6 * 27, 4 * 28),
    Case("conv of float16", lambda: Conv2d(3, 4, 3).half(), (3, 8, 8), 4 * 6 * 6 * 27, 4 * 28),
    Case("conv of bfloat16", lambda: Conv2d(3, 4, 3, dtype=torch.bfloat16), (3, 8, 8), 4 * 6 * 6 * 27, 4 * 28),
    Case("conv of float64", lambda: Conv2d(3, 4, 3).double(), (3, 8, 8), 4 * 6 * 6 * 27, 4 * 28),
    # An input element of a transposed convolution meets each weight of its channel once.
    Case("transposed conv1d", lambda: T1d(4, 6, 3, stride=2), (4, 10), 4 * 10 * 6 * 3, 4 * 6 * 3 + 6),
    Case("transposed conv2d", lambda: T2d(8, 4, 4, 2, 1), (8, 5, 5), 8 * 5 * 5 * 4 * 16, 8 * 4 * 16 + 4),
    Case("transposed conv3d", lambda: T3d(2, 3, 2, stride=2), (2, 3, 4, 5), 2 * 60 * 3 * 8, 2 * 3 * 8 + 3),
    Case("transposed conv, grouped", lambda: T2d(8, 4, 3, groups=4), (8, 6, 6), 8 * 36 * 1 * 9, 8 * 1 * 9 + 4),
    Case("transposed conv, dilated", lambda: T2d(2, 3, 3, dilation=2, bias=False), (2, 6, 6), 2 * 36 * 3 * 9, 2 * 3 * 9),
    Case(
        "transposed conv with output padding", lambda: T2d(2, 3, 3, 2, 1, output_padding=1), (2, 6, 6), 2 * 36 * 27, 2 * 3 * 9 + 3
    ),
]

LINEAR = [
    Case("linear", lambda: Linear(256, 200), (256,), 200 * 256, 200 * 257),
    Case("linear without bias", lambda: Linear(12, 5, bias=False), (12,), 5 * 12, 5 * 12),
    Case("linear on 3-d", lambda: Linear(12, 5), (7, 12), 7 * 5 * 12, 5 * 13),
    Case("linear on 4-d", lambda: Linear(12, 5), (3, 7, 12), 3 * 7 * 5 * 12, 5 * 13),
    Case("linear on 4-d, permuted", lambda: Of(lambda m, x: m.l(x.permute(0, 2, 3, 1)), l=Linear(3, 5)), (3, 4, 6), 24 * 15, 20),
    Case("linear on a vector", lambda: Linear(12, 5), zeros(12), 5 * 12, 5 * 13),
    Case("linear on a vector, no bias", lambda: Linear(12, 5, bias=False), zeros(12), 5 * 12, 5 * 12),
    Case("linear of 10^12", lambda: Linear(10**6, 10**6, device="meta"), (10**6,), 10**12, 10**12 + 10**6),
    # x·W for each output, 5·3·4, and what comes of it times the other input, 5·4.
    Case("bilinear", lambda: nn.Bilinear(3, 4, 5), (zeros(1, 3), zeros(1, 4)), 5 * 3 * 4 + 5 * 4, 5 * 3 * 4 + 5, torch_differs="0"),
    Case("identity", nn.Identity, (4,), 0, 0),
]


Q, K, V = zeros(2, 8, 5, 4), zeros(2, 8, 7, 4), zeros(2, 8, 7, 6)
X, Y = zeros(2, 5, 16), zeros(2, 7, 16)
sdpa = F.scaled_dot_product_attention
# Of 2 samples of 5 elements of size 16: three maps, scores, what they weigh, the map of the output.
SELF = 2 * 5 * 16 * 48 + 2 * 5 * 5 * 16 + 2 * 5 * 5 * 16 + 2 * 5 * 16 * 16
MHA_PARAMS = 3 * 16 * 17 + 16 * 17


def _attention(m: Any, x: Tensor) -> Any:
    q, k, v = m.qkv(x).chunk(3, -1)
    return m.out(torch.softmax(q @ k.transpose(-2, -1) / 4, -1) @ v)


def attend(**options: Any) -> Callable[..., Any]:
    return lambda m, x, y=None, z=None: m.a(x, x if y is None else y, (x if y is None else y) if z is None else z, **options)[0]


ATTENTION = [
    Case("attention", lambda: Of(lambda m, q, k, v: sdpa(q, k, v)), (Q, K, V), 2 * 8 * 5 * 7 * 4 + 2 * 8 * 5 * 7 * 6, 0),
    Case("causal attention", lambda: Of(lambda m, q: sdpa(q, q, q, is_causal=True)), (Q,), 2 * 2 * 8 * 5 * 5 * 4, 0),
    Case("attention with a mask", lambda: Of(lambda m, q, a: sdpa(q, q, q, attn_mask=a)), (Q, zeros(5, 5)), 2 * 2 * 8 * 25 * 4, 0),
    Case(
        "attention with a mask made on the CPU",
        lambda: Of(lambda m, q: sdpa(q, q, q, attn_mask=torch.ones(5, 5, dtype=torch.bool, device="cpu").tril())),
        (Q,),
        2 * 2 * 8 * 25 * 4,
        0,
        torch_differs="a mask on the CPU is refused",
    ),
    Case("attention with dropout", lambda: Of(lambda m, q: sdpa(q, q, q, dropout_p=0.5)), (Q,), 2 * 2 * 8 * 25 * 4, 0),
    # Grouped queries: 8 heads of queries share 2 of keys and values, each of which is met by 4.
    Case(
        "grouped-query attention",
        lambda: Of(lambda m, q, k, v: sdpa(q, k, v, enable_gqa=True)),
        (Q, zeros(2, 2, 7, 4), zeros(2, 2, 7, 6)),
        2 * 8 * 5 * 7 * (4 + 6),
        0,
    ),
    Case("attention by hand", lambda: Of(_attention, qkv=Linear(16, 48), out=Linear(16, 16)), X, SELF, MHA_PARAMS),
    Case("self-attention", lambda: Of(attend(), a=MHA(16, 4, batch_first=True)), X, SELF, MHA_PARAMS),
    Case("self-attention, sequence first", lambda: Of(attend(), a=MHA(16, 4)), zeros(5, 2, 16), SELF, MHA_PARAMS),
    Case(
        "self-attention without weights",
        lambda: Of(attend(need_weights=False), a=MHA(16, 4, batch_first=True)),
        X,
        SELF,
        MHA_PARAMS,
    ),
    Case(
        "self-attention, weights of each head",
        lambda: Of(attend(average_attn_weights=False), a=MHA(16, 4, batch_first=True)),
        X,
        SELF,
        MHA_PARAMS,
    ),
    Case("self-attention without a batch", lambda: Of(attend(), a=MHA(16, 4)), zeros(5, 16), SELF // 2, MHA_PARAMS),
    Case("self-attention without bias", lambda: Of(attend(), a=MHA(16, 4, bias=False, batch_first=True)), X, SELF, 4 * 256),
    Case(
        "self-attention with padding",
        lambda: Of(lambda m, x, p: m.a(x, x, x, key_padding_mask=p), a=MHA(16, 4, batch_first=True)),
        (X, zeros(2, 5, dtype=torch.bool)),
        SELF,
        MHA_PARAMS,
    ),
    Case(
        "cross-attention",
        lambda: Of(attend(), a=MHA(16, 4, batch_first=True)),
        (X, Y),
        2 * (5 * 256 + 2 * 7 * 256 + 2 * 5 * 7 * 16 + 5 * 256),
        MHA_PARAMS,
    ),
    Case(
        "cross-attention, other sizes",
        lambda: Of(attend(need_weights=False), a=MHA(16, 4, kdim=6, vdim=10, batch_first=True)),
        (X, zeros(2, 7, 6), zeros(2, 7, 10)),
        2 * (5 * 256 + 7 * 16 * 6 + 7 * 16 * 10 + 2 * 5 * 7 * 16 + 5 * 256),
        16 * (16 + 6 + 10) + 48 + 16 * 17,
    ),
    # A learned key and a zero key beside the 5 of the sequence.
    Case(
        "self-attention with more keys",
        lambda: Of(attend(), a=MHA(16, 4, add_bias_kv=True, add_zero_attn=True, batch_first=True)),
        X,
        2 * 5 * 16 * 48 + 2 * 2 * 5 * 7 * 16 + 2 * 5 * 256,
        MHA_PARAMS + 2 * 16,
    ),
]

ENCODER = SELF + 2 * 5 * 16 * 32 * 2
ENCODER_PARAMS = MHA_PARAMS + (32 * 17 + 16 * 33) + 2 * 32
CROSS = 2 * (5 * 256 + 2 * 7 * 256 + 2 * 5 * 7 * 16 + 5 * 256)
DECODER = SELF + CROSS + 2 * 5 * 16 * 32 * 2
DECODER_PARAMS = 2 * MHA_PARAMS + (32 * 17 + 16 * 33) + 3 * 32
layer = partial(nn.TransformerEncoderLayer, 16, 4, 32, batch_first=True)
decoder_layer = partial(nn.TransformerDecoderLayer, 16, 4, 32, batch_first=True)
PADDED = (X, zeros(2, 5, dtype=torch.bool))


def _causal(m: Any, x: Tensor) -> Any:
    return m.e(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)


TRANSFORMERS = [
    Case("encoder layer", layer, X, ENCODER, ENCODER_PARAMS),
    Case("encoder layer, norm first", partial(layer, norm_first=True, activation="gelu"), X, ENCODER, ENCODER_PARAMS),
    Case("encoder layer without bias", partial(layer, bias=False), X, ENCODER, 4 * 256 + 2 * 512 + 2 * 16),
    Case("encoder", lambda: nn.TransformerEncoder(layer(), 3), X, 3 * ENCODER, 3 * ENCODER_PARAMS),
    Case(
        "encoder with padding",
        lambda: Of(lambda m, x, p: m.e(x, src_key_padding_mask=p), e=nn.TransformerEncoder(layer(), 2)),
        PADDED,
        2 * ENCODER,
        2 * ENCODER_PARAMS,
        torch_differs="a nested tensor cannot be made on meta",
    ),
    Case(
        "causal encoder, mask made on the CPU",
        lambda: Of(_causal, e=nn.TransformerEncoder(layer(), 2)),
        X,
        2 * ENCODER,
        2 * ENCODER_PARAMS,
    ),
    Case("decoder layer", decoder_layer, (X, Y), DECODER, DECODER_PARAMS),
    Case(
        "decoder", lambda: nn.TransformerDecoder(decoder_layer(), 2, nn.LayerNorm(16)), (X, Y), 2 * DECODER, 2 * DECODER_PARAMS + 32
    ),
    # The source has 7 elements, the target 5.
    Case(
        "transformer",
        lambda: nn.Transformer(16, 4, 1, 2, 32, batch_first=True),
        (Y, X),
        2 * (7 * 16 * 48 + 2 * 49 * 16 + 7 * 256 + 7 * 16 * 32 * 2) + 2 * DECODER,
        ENCODER_PARAMS + 2 * DECODER_PARAMS + 64,
    ),
]


def _own_state(m: Any, x: Tensor) -> Any:
    h, c = (zeros(1, x.shape[0], 6, device="cpu").to(torch.device("cpu")) for _ in range(2))  # as a script for the CPU does
    return m.lstm(x, (h, c))[0]


def _unrolled(m: Any, x: Tensor) -> Tensor:
    state = (x.new_zeros(x.shape[0], 6), x.new_zeros(x.shape[0], 6))
    for step in x.unbind(1):
        state = m.cell(step, state)
    return state[0]


def _packed(m: Any, x: Tensor) -> Any:
    packed = nn.utils.rnn.pack_padded_sequence(x, [5, 3, 1], batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(m.lstm(packed)[0], batch_first=True)


first = partial(nn.LSTM, batch_first=True)
# A gate of size 6 on an input of size 4 meets 6·(4+6) weights in each step.
RECURRENT = [
    Case("RNN", lambda: nn.RNN(4, 6, batch_first=True), (5, 4), 5 * 6 * (4 + 6), 6 * (4 + 6) + 12),
    Case("RNN with ReLU", lambda: nn.RNN(4, 6, nonlinearity="relu", batch_first=True), (5, 4), 5 * 6 * (4 + 6), 6 * (4 + 6) + 12),
    Case("GRU", lambda: nn.GRU(4, 6, batch_first=True), (5, 4), 3 * 5 * 6 * (4 + 6), 3 * (6 * (4 + 6) + 12)),
    Case("LSTM", lambda: first(4, 6), (5, 4), 4 * 5 * 6 * (4 + 6), 4 * (6 * (4 + 6) + 12)),
    Case("LSTM, sequence first", lambda: nn.LSTM(4, 6), zeros(5, 2, 4), 2 * 4 * 5 * 6 * (4 + 6), 4 * (6 * (4 + 6) + 12)),
    Case("LSTM without bias", lambda: first(4, 6, bias=False), (5, 4), 4 * 5 * 6 * (4 + 6), 4 * 6 * (4 + 6)),
    Case("LSTM without a batch", lambda: nn.LSTM(4, 6), zeros(5, 4), 4 * 5 * 6 * (4 + 6), 4 * (6 * (4 + 6) + 12)),
    Case("LSTM of two layers", lambda: first(4, 6, 2), (5, 4), 4 * 5 * 6 * (10 + 12), 4 * (6 * (10 + 12) + 24)),
    Case("LSTM in both directions", lambda: first(4, 6, bidirectional=True), (5, 4), 2 * 4 * 5 * 6 * 10, 2 * 4 * (6 * 10 + 12)),
    Case(
        "LSTM, two layers in both directions",
        lambda: first(4, 6, 2, bidirectional=True),
        (5, 4),
        2 * 4 * 5 * 6 * (4 + 6) + 2 * 4 * 5 * 6 * (12 + 6),
        2 * 4 * (6 * 10 + 12) + 2 * 4 * (6 * 18 + 12),
    ),
    Case(
        "GRU, two layers in both directions",
        lambda: nn.GRU(4, 6, 2, bidirectional=True, batch_first=True),
        (5, 4),
        2 * 3 * 5 * 6 * (10 + 18),
        2 * 3 * (6 * (10 + 18) + 24),
    ),
    # The state is mapped from 6 to 3, and what the gates meet of it is 3.
    Case("LSTM with a projection", lambda: first(4, 6, proj_size=3), (5, 4), 5 * (4 * 6 * (4 + 3) + 3 * 6), 4 * (6 * 7 + 12) + 18),
    Case(
        "LSTM with a state made on the CPU",
        lambda: Of(_own_state, lstm=first(4, 6)),
        (5, 4),
        4 * 5 * 60,
        4 * 72,
        torch_differs="a state on the CPU is refused",
    ),
    Case("LSTM of a packed sequence", lambda: Of(_packed, lstm=first(4, 6)), zeros(3, 5, 4), 4 * (5 + 3 + 1) * 60, 4 * 72),
    Case("RNNCell", lambda: nn.RNNCell(4, 6), (4,), 6 * (4 + 6), 6 * (4 + 6) + 12),
    Case("GRUCell", lambda: nn.GRUCell(4, 6), (4,), 3 * 6 * (4 + 6), 3 * (6 * (4 + 6) + 12)),
    Case("LSTMCell", lambda: nn.LSTMCell(4, 6), (4,), 4 * 6 * (4 + 6), 4 * (6 * (4 + 6) + 12)),
    Case("LSTMCell, step by step", lambda: Of(_unrolled, cell=nn.LSTMCell(4, 6)), (5, 4), 5 * 4 * 60, 4 * 72),
]

FREE = [
    Case("embedding", lambda: nn.Embedding(100, 16), ids(2, 7), 0, 1600),
    Case("embedding bag", lambda: nn.EmbeddingBag(100, 16), (ids(9), torch.tensor([0, 4])), 0, 1600),
    Case("F.embedding", lambda: Of(lambda m, i: F.embedding(i, m.w), w=param(100, 16)), ids(2, 7), 0, 1600),
    Case("batch norm", lambda: nn.BatchNorm2d(8), (8, 5, 5), 0, 16),
    Case("batch norm of vectors", lambda: nn.BatchNorm1d(8), (8,), 0, 16),
    Case("batch norm without weights", lambda: nn.BatchNorm3d(8, affine=False), (8, 2, 5, 5), 0, 0),
    Case("batch norm without statistics", lambda: nn.BatchNorm2d(8, track_running_stats=False), (8, 5, 5), 0, 16),
    Case("synchronised batch norm", lambda: nn.SyncBatchNorm(8), (8, 5, 5), 0, 16),
    Case("layer norm", lambda: nn.LayerNorm((8, 5)), (8, 5), 0, 80),
    Case("group norm", lambda: nn.GroupNorm(2, 8), (8, 5, 5), 0, 16),
    Case("instance norm", lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True), (8, 5, 5), 0, 16),
    Case("rms norm", lambda: nn.RMSNorm(8), (8,), 0, 8),
    Case("local response norm", lambda: nn.LocalResponseNorm(5), (8, 5, 5), 0, 0),
    Case("activations", lambda: nn.Sequential(nn.PReLU(8), nn.GELU(), nn.SiLU(), nn.Softmax(1), nn.GLU(1)), (8, 5, 5), 0, 8),
    Case("pools", lambda: nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)), (8, 12, 12), 0, 0),
    Case(
        "maps made larger", lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelShuffle(2)), (8, 5, 5), 0, 0
    ),
    Case("dropout", lambda: nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()), (8, 5, 5), 0, 0),
    Case("cosine similarity", lambda: Of(lambda m, x: F.cosine_similarity(x, F.normalize(x))), (8,), 0, 0),
    Case("loss", lambda: nn.CrossEntropyLoss(label_smoothing=0.1), (zeros(2, 5), ids(2)), 0, 0),
]

CASES: Sequence[Case] = [*CONVOLUTIONS, *LINEAR, *ATTENTION, *TRANSFORMERS, *RECURRENT, *FREE, *CODE]
