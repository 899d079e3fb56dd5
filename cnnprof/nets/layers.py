"""The few layers that a spec can name and that torch.nn has only as functions, and the joins of branches.

Signatures, docstrings, `reset_parameters` and `extra_repr` follow torch.nn: `cnnprof.nets.signatures` reads them
here as it reads torch's own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.common_types import _size_2_t


class LocallyConnected2d(nn.Module):
    r"""Applies a 2D convolution without weight sharing: every output position has filters of its own.

    It is computed as one product of matrices per output position, each of `out_channels * in_channels * kernel height *
    kernel width` multiplications.

    Args:
        in_channels (int): Number of channels in the input image
        out_channels (int): Number of channels produced by the layer
        input_size (int or tuple): Height and width of the input image, which fix the number of output positions
        kernel_size (int or tuple): Size of the filters
        stride (int or tuple, optional): Stride of the filters. Default: 1
        padding (int or tuple, optional): Zeros added to all four sides of the input. Default: 0
        bias (bool, optional): If ``True``, adds a learnable bias to every element of the output. Default: ``True``

    Shape:
        - Input: :math:`(N, C_{in}, H_{in}, W_{in})`
        - Output: :math:`(N, C_{out}, H_{out}, W_{out})`, sizes as :class:`~torch.nn.Conv2d` has them

    Attributes:
        weight (Tensor): of shape :math:`(H_{out} \times W_{out}, C_{out}, C_{in} \times \text{kernel height} \times
            \text{kernel width})`; the last axis is ordered as a flattened filter of :class:`~torch.nn.Conv2d`
        bias (Tensor): of shape :math:`(C_{out}, H_{out}, W_{out})`
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: _size_2_t,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t = 0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.input_size = _pair(input_size)
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        height, width = (
            (size + 2 * pad - kernel) // step + 1
            for size, pad, kernel, step in zip(self.input_size, self.padding, self.kernel_size, self.stride, strict=True)
        )
        if height < 1 or width < 1:
            padded = [size + 2 * pad for size, pad in zip(self.input_size, self.padding, strict=True)]
            raise ValueError(f"a kernel of {_sizes(self.kernel_size)} does not fit into an input of {_sizes(padded)}")
        self.output_size = (height, width)
        elements = in_channels * math.prod(self.kernel_size)
        self.weight = nn.Parameter(torch.empty((height * width, out_channels, elements), device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty((out_channels, height, width), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights and biases from the distribution that torch's Conv2d draws its own from."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != (self.in_channels, *self.input_size):
            expected = _sizes((self.in_channels, *self.input_size))
            raise ValueError(f"LocallyConnected2d was made for an input of {expected}, not {_sizes(x.shape[1:])}")
        patches = functional.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        output = torch.bmm(patches.permute(2, 0, 1), self.weight.transpose(1, 2))
        output = output.permute(1, 2, 0).view(len(x), self.out_channels, *self.output_size)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.bias is None:
            text += ", bias=False"
        return text


class Permute(nn.Module):
    r"""Reorders the axes of the input; the batch stays first.

    Args:
        dims (tuple): The axes in their new order, counted from 0 without the batch: 1, 2, 0 makes channels last

    Shape:
        - Input: :math:`(N, *)`
        - Output: :math:`(N, *)`, the same axes in the new order
    """

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(len(self.dims))) or not self.dims:
            raise ValueError(f"dims must name every axis once, counted from 0 without the batch, not {list(self.dims)}")

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != len(self.dims) + 1:
            raise ValueError(f"dims {list(self.dims)} order {len(self.dims)} axes, not {_sizes(x.shape[1:])}")
        return x.permute(0, *(dim + 1 for dim in self.dims))

    def extra_repr(self) -> str:
        return f"dims={self.dims}"


class Reshape(nn.Module):
    r"""Gives the input another shape with the same number of elements; the batch stays first.

    Args:
        shape (int or tuple): The new sizes without the batch; one of them may be -1, which stands for whatever is left

    Shape:
        - Input: :math:`(N, *)`
        - Output: :math:`(N, *)`, with the new sizes
    """

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        open_sizes = self.shape.count(-1)
        if not self.shape or open_sizes > 1 or any(size < 1 and size != -1 for size in self.shape):
            raise ValueError(f"shape takes sizes of at least 1 and at most one -1, not {list(self.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        elements, given = math.prod(x.shape[1:]), math.prod(size for size in self.shape if size != -1)
        if elements % given if -1 in self.shape else elements != given:
            raise ValueError(f"{_sizes(x.shape[1:])} cannot be reshaped to {_sizes(self.shape)}")
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


class Slice(nn.Module):
    r"""Takes a range of the channels of the input.

    Args:
        start (int): The first channel to take, counted from 0
        stop (int): The channel before which to stop

    Shape:
        - Input: :math:`(N, C, *)`
        - Output: :math:`(N, \text{stop} - \text{start}, *)`
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start = start
        self.stop = stop
        if not 0 <= start < stop:
            raise ValueError(f"a slice takes channels from start up to stop, not from {start} up to {stop}")

    def forward(self, x: Tensor) -> Tensor:
        if self.stop > x.shape[1]:
            raise ValueError(f"a slice up to channel {self.stop} of an input that has {x.shape[1]} channels")
        return x[:, self.start : self.stop]

    def extra_repr(self) -> str:
        return f"{self.start}, {self.stop}"


class Join(nn.Module):
    """Applies every branch to the input and joins what they give. Branches are children, in the order given.

    A branch that changes nothing is an `nn.Identity` or an empty `nn.Sequential`.
    """

    rule = ""
    """What is said after the shapes that do not fit."""

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not branches:
            raise ValueError(f"{type(self).__name__} needs at least one branch")
        for name, branch in branches.items():
            if not name.isidentifier() or hasattr(self, name):
                raise ValueError(f'a branch cannot be called "{name}"')
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        # Not children(), which skips a module that stands in two branches.
        return self.join([branch(x) for branch in self._modules.values() if branch is not None])

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        """What the branches gave, joined. Raises ValueError where the shapes do not fit."""
        # While torch.jit traces, sizes are tensors, of which no two are equal; what adds or joins the outputs checks them too.
        if not torch._C._is_tracing() and not self.fits([tuple(output.shape) for output in outputs]):
            given = zip(self._modules, outputs, strict=True)
            shapes = ", ".join(f"{name} gives {_sizes(output.shape[1:])}" for name, output in given)
            raise ValueError(f"branches do not fit: {shapes}{self.rule}")
        return self.combine(outputs)

    def fits(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether tensors of these shapes, batch included, can be joined."""
        raise NotImplementedError

    def combine(self, outputs: Sequence[Tensor]) -> Tensor:
        """The one tensor that is made of tensors that fit."""
        raise NotImplementedError


class Add(Join):
    r"""Adds what its branches give, from left to right.

    Args:
        branches (dict): The branches by name; all have to give the same shape
    """

    def fits(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        return len(set(shapes)) == 1

    def combine(self, outputs: Sequence[Tensor]) -> Tensor:
        return reduce(operator.add, outputs)  # written as most people write it: some counters count torch.add and not +


class Cat(Join):
    r"""Concatenates what its branches give along the channels.

    Args:
        branches (dict): The branches by name; what they give may differ in the number of channels only
    """

    rule = " (only the channels may differ)"

    def fits(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        return len({(shape[0], *shape[2:]) for shape in shapes}) == 1

    def combine(self, outputs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(outputs), dim=1)


class Mul(Join):
    r"""Multiplies what its branches give, element by element, from left to right.

    Args:
        branches (dict): The branches by name; along an axis where their sizes differ, the smaller ones have to be 1
    """

    rule = " (a size that differs has to be 1)"

    def fits(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        same_rank = len({len(shape) for shape in shapes}) == 1
        return same_rank and all(len(set(sizes) - {1}) <= 1 for sizes in zip(*shapes, strict=True))

    def combine(self, outputs: Sequence[Tensor]) -> Tensor:
        return reduce(operator.mul, outputs)


JOINS: Mapping[str, type[Join]] = {"add": Add, "cat": Cat, "mul": Mul}
"""The joins by the words that stand for them in a spec."""


class Block(nn.Sequential):
    """A block of a spec: a Sequential that prints under the block's name, with the values its parameters took."""

    def __init__(self, modules: Mapping[str, nn.Module], block: str = "Sequential", arguments: str = "") -> None:
        # The defaults are what a slice of it, `net[:3]`, is made with.
        super().__init__()
        self.block_name = block
        self.block_arguments = arguments
        for name, module in modules.items():
            self.add_module(name, module)

    def _get_name(self) -> str:
        return self.block_name

    def extra_repr(self) -> str:
        return self.block_arguments


def _pair(value: _size_2_t) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _sizes(shape: Sequence[int]) -> str:
    """`64x56x56`."""
    return "x".join(str(size) for size in shape)
