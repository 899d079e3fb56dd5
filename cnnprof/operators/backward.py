"""Output rules of the operators of training: the backward of what CNNs are made of, the losses, the steps of optimizers.

They allocate what torch's kernels for the CPU allocate, so that the memory of a training pass can be told from them. Autograd calls
these operators with gradients that fit, so they refuse nothing: what they are not made for is left to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cnnprof.operators.shapes import Made, Several, Size, distinct, empty, floating, strided


def gradient(*at: int) -> Callable[..., Made]:
    """The rule of the backward of an operator that works element by element, on the tensors that stand there.

    The first of them that has an order in memory decides that of the output.
    """

    def output(*args: object, **_: object) -> Made:
        operands = [args[position] for position in at]
        return _elementwise([operand for operand in operands if isinstance(operand, Tensor)])

    return output


def _elementwise(operands: Sequence[Tensor]) -> Made:
    first = operands[0]
    if not all(floating(x) and x.dtype is first.dtype and x.shape == first.shape for x in operands):
        return None
    return empty(first.shape, first) if all(x.is_contiguous() for x in operands) else strided(first.shape, *operands)


def of_input(grad: Tensor, x: Tensor, *_: object) -> Made:
    """The gradient of `x`, contiguous for any layout of it: of pools and paddings, and of softmax, which passes its output."""
    return empty(x.shape, x) if floating(grad) and floating(x) and grad.is_contiguous() and x.is_contiguous() else None


def resized(grad: Tensor, size: Size, input_size: Size, *_: object) -> Made:
    """The gradient of an interpolation: of the size of its input."""
    return empty(input_size, grad) if floating(grad) and grad.is_contiguous() else None


def of_part(grad: Tensor, size: Size, *_: object) -> Made:
    """The gradient of a tensor of that size of which a part was taken: zeros, and the gradient of the part. Contiguous."""
    return empty(size, grad) if floating(grad) else None


def constant_pad(x: Tensor, padding: Size, value: float = 0) -> Made:
    """Every size plus its padding, which names the last dimension first; negative padding cuts off."""
    if not floating(x) or not x.is_contiguous() or len(padding) % 2 or len(padding) > 2 * x.dim():
        return None
    shape = list(x.shape)
    for axis in range(len(padding) // 2):
        shape[-1 - axis] += padding[2 * axis] + padding[2 * axis + 1]
    return empty(shape, x) if min(shape) > 0 else None


def convolution(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Size | None,
    stride: Size,
    padding: Size,
    dilation: Size,
    transposed: bool,
    output_padding: Size,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...] | None:
    """The gradients of input, weight and bias, as far as they are wanted; that of the weight is laid out as the weight is."""
    if not floating(grad) or not floating(x) or not floating(weight):
        return None
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    of_x, of_weight, of_bias = _wanted(wanted, (x.shape, x), (weight.shape, weight), ([channels], weight))
    if of_weight is not None and not weight.is_contiguous() and _channels_last(weight):
        of_weight = strided(weight.shape, weight)  # else autograd would make a copy, in the layout of the weight
    return of_x, of_weight, of_bias


def _channels_last(x: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])


def batch_norm(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    kept_mean: Tensor | None,
    kept_deviation: Tensor | None,
    train: bool,
    eps: float,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...] | None:
    """The gradients of input, weight and bias, as far as they are wanted."""
    if not floating(grad) or not floating(x) or not grad.is_contiguous() or not x.is_contiguous():
        return None
    scale = x if weight is None else weight
    return _wanted(wanted, (x.shape, x), (x.shape[1:2], scale), (x.shape[1:2], scale))


def layer_norm(
    grad: Tensor,
    x: Tensor,
    normalized: Size,
    mean: Tensor,
    deviation: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...] | None:
    """The gradients of input, weight and bias, as far as they are wanted."""
    if not floating(grad) or not floating(x) or not grad.is_contiguous() or not x.is_contiguous() or weight is None:
        return None
    return _wanted(wanted, (x.shape, x), (normalized, weight), (normalized, weight))


def group_norm(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    deviation: Tensor,
    weight: Tensor | None,
    batch: int,
    channels: int,
    pixels: int,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...] | None:
    """The gradients of input, weight and bias, as far as they are wanted."""
    if not floating(grad) or not floating(x) or not grad.is_contiguous() or not x.is_contiguous() or weight is None:
        return None
    return _wanted(wanted, (x.shape, x), ([channels], weight), ([channels], weight))


def prelu(grad: Tensor, x: Tensor, slope: Tensor) -> Several:
    """The gradients of input and slope, the latter for each element: autograd sums it up."""
    if not all(floating(tensor) and tensor.is_contiguous() for tensor in (grad, x)):
        return None
    return empty(x.shape, x), empty(x.shape, x)


MEAN = 1
"""torch's number for a loss that is the mean over the batch."""


def mse_loss(x: Tensor, target: Tensor, reduction: int = MEAN) -> Made:
    """A number in a storage that has room for the squares of all differences: torch computes them there and then their mean."""
    if not floating(x) or x.dtype is not target.dtype or x.shape != target.shape or reduction != MEAN:
        return None
    return empty(x.shape, x).as_strided((), ())


def mse_loss_backward(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Made:
    """The gradient of `x`, contiguous for any layout of it."""
    return empty(x.shape, x) if floating(grad) and floating(x) and x.dtype is target.dtype and x.shape == target.shape else None


def nll_loss(x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignored: int) -> Several:
    """The loss, and the sum of the weights."""
    if not floating(x) or x.dim() != 2 or weight is not None or reduction != MEAN or target.shape != x.shape[:1]:
        return None
    return empty((), x), empty((), x)


def nll_loss_backward(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignored: int, total: Tensor
) -> Made:
    """The shape of `x`."""
    return empty(x.shape, x) if floating(grad) and floating(x) and x.is_contiguous() and x.dim() == 2 else None


def with_two(x: Tensor, one: Tensor, other: Tensor, *, value: float = 1) -> Made:
    """`x`, for an operator in place on three tensors of the same shape."""
    return _in_place(x, one, other)


def towards(x: Tensor, end: Tensor, weight: float) -> Made:
    """`x`, which moves in place towards the other."""
    return _in_place(x, end)


def _in_place(x: Tensor, *others: Tensor) -> Made:
    fits = all(floating(other) and other.dtype is x.dtype and other.shape == x.shape for other in others)
    return x if fits and floating(x) and distinct(x) else None


def _wanted(wanted: Sequence[bool], *made: tuple[Size, Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(empty(shape, like) if wants else None for wants, (shape, like) in zip(wanted, made, strict=True))
