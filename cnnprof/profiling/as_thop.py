"""The convention of thop 0.1.1, `thop.profile(…)[0]`: a rule for each class of module, by its exact class; functions count nothing.

From thop/{profile,rnn_hooks}.py and thop/vision/{basic_hooks,calc_func}.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from cnnprof.operators.products import term
from cnnprof.profiling.calls import AnyCall
from cnnprof.profiling.counting import NOTHING, Counted, Counting, InexpressibleError, Places, Terms, counted, plain, several, times
from cnnprof.profiling.witness import Invocation, Witness

Rule: TypeAlias = Callable[[Any, Invocation], Terms]


def counting(trace: Witness, module: nn.Module) -> Counting:
    """The function that counts a row as thop does."""
    places = Places(module)

    def count(call: AnyCall) -> Counted:
        layer, seen = call.callee, trace.invocation(call)
        rule = _RULES.get(type(layer))
        if rule is None or seen is None or not isinstance(layer, nn.Module):
            return NOTHING
        terms, unknown = counted("thop", rule, layer, seen)
        # A module that stands in two places gets two hooks, and what they counted is added in both places.
        return several(places[layer] ** 2, terms), unknown

    return count


def _convolution(layer: Any, seen: Invocation) -> Terms:
    """Output elements x input channels per group x kernel: for a transposed one too, which is too many by its strides."""
    return (term(*seen.outputs[0], seen.args[0][1] // layer.groups, *layer.weight.shape[2:]),)


def _norm(layer: Any, seen: Invocation) -> Terms:
    affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
    return times(4 if affine else 2, seen.args[0])


def _softmax(layer: Any, seen: Invocation) -> Terms:
    if layer.dim is None:
        raise InexpressibleError("Softmax without dim")  # there thop stops with a TypeError
    features = seen.args[0][layer.dim]
    return ((math.prod(seen.args[0]) // features, 3 * features - 1),)


def _adaptive_pool(layer: Any, seen: Invocation) -> Terms:
    """One for each input element that a window would have if all were alike, and one for the division."""
    (output,) = seen.outputs
    window = math.prod(before / after for before, after in zip(seen.args[0][2:], output[2:], strict=True))
    return plain((window + 1) * math.prod(output))


def _linear(layer: Any, seen: Invocation) -> Terms:
    return (term(*seen.outputs[0], layer.in_features),)


_UPSAMPLING = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 224 + 35}


def _upsample(layer: Any, seen: Invocation) -> Terms:
    return times(_UPSAMPLING.get(layer.mode, 0), seen.outputs[0])


def _rnn_cell(inputs: int, hidden: int, bias: bool) -> int:
    """The products, an addition for each unit, and two where there is a bias."""
    return hidden * (inputs + hidden) + hidden * (3 if bias else 1)


def _gru_cell(inputs: int, hidden: int, bias: bool) -> int:
    return 3 * _rnn_cell(inputs, hidden, bias) + 4 * hidden


def _lstm_cell(inputs: int, hidden: int, bias: bool) -> int:
    return 4 * _rnn_cell(inputs, hidden, bias) + 4 * hidden


def _cell(count: Callable[[int, int, bool], int]) -> Rule:
    return lambda layer, seen: ((seen.args[0][0], count(layer.input_size, layer.hidden_size, layer.bias)),)


def _recurrent(count: Callable[[int, int, bool], int]) -> Rule:
    def rule(layer: Any, seen: Invocation) -> Terms:
        size = seen.size(0)
        if size is None or len(size) != 3:
            raise InexpressibleError(f"{type(layer).__name__} of a packed sequence, or of one without batch,")
        directions = 2 if layer.bidirectional else 1
        inputs = [layer.input_size] + [layer.hidden_size * directions] * (layer.num_layers - 1)
        steps = math.prod(size[:2])
        return tuple([(steps, directions * count(features, layer.hidden_size, layer.bias)) for features in inputs])

    return rule


_RULES: Mapping[type, Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm), _norm),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), _norm),
    nn.PReLU: lambda layer, seen: times(1, seen.args[0]),
    nn.Softmax: _softmax,
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), lambda layer, seen: times(1, seen.outputs[0])),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive_pool),
    nn.Linear: _linear,
    **dict.fromkeys((nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d), _upsample),
    nn.RNNCell: _cell(_rnn_cell),
    nn.GRUCell: _cell(_gru_cell),
    nn.LSTMCell: _cell(_lstm_cell),
    nn.RNN: _recurrent(_rnn_cell),
    nn.GRU: _recurrent(_gru_cell),
    nn.LSTM: _recurrent(_lstm_cell),
}
"""The classes that thop counts. Those that it knows and counts as 0 are left out: they make no difference."""
