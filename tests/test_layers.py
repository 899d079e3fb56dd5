"""Our own layers against plain loops and against torch; the joins, and what they say where branches do not fit."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnprof.nets.layers import JOINS, Add, Block, Cat, LocallyConnected2d, Mul, Permute, Reshape, Slice

CONFIGURATIONS = [
    # channels in and out, size, kernel, stride, padding, bias
    (2, 3, (5, 6), (3, 2), (1, 1), (0, 0), True),
    (1, 4, (7, 4), (2, 3), (2, 1), (1, 2), True),
    (3, 1, (4, 4), (4, 4), (1, 1), (0, 0), False),
    (2, 2, (5, 5), (1, 1), (3, 3), (0, 0), False),
]


def made(configuration: tuple[object, ...], seed: int = 0) -> LocallyConnected2d:
    channels, out, size, kernel, stride, padding, bias = configuration
    torch.manual_seed(seed)
    layer = LocallyConnected2d(channels, out, size, kernel, stride, padding, bias)  # type: ignore[arg-type]
    return layer.double()


def looped(layer: LocallyConnected2d, x: Tensor) -> Tensor:
    """One output element after the other, each with the filter of its own position."""
    (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w) = layer.kernel_size, layer.stride, layer.padding
    padded = torch.zeros(*x.shape[:2], x.shape[2] + 2 * pad_h, x.shape[3] + 2 * pad_w, dtype=x.dtype)
    padded[:, :, pad_h : pad_h + x.shape[2], pad_w : pad_w + x.shape[3]] = x
    out_h, out_w = layer.output_size
    y = torch.zeros(len(x), layer.out_channels, out_h, out_w, dtype=x.dtype)
    for n, out, row, column in product(range(len(x)), range(layer.out_channels), range(out_h), range(out_w)):
        top, left = row * stride_h, column * stride_w
        window = padded[n, :, top : top + kernel_h, left : left + kernel_w]
        own = layer.weight[row * out_w + column, out].reshape(window.shape)
        y[n, out, row, column] = (window * own).sum()
        if layer.bias is not None:
            y[n, out, row, column] += layer.bias[out, row, column]
    return y


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_locally_connected_is_a_filter_per_position(configuration: tuple[object, ...]) -> None:
    layer = made(configuration)
    x = torch.randn(2, layer.in_channels, *layer.input_size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), looped(layer, x))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_locally_connected_with_one_filter_everywhere_is_a_convolution(configuration: tuple[object, ...]) -> None:
    layer = made(configuration)
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        bias=configuration[-1] is True,
    ).double()
    x = torch.randn(3, layer.in_channels, *layer.input_size, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.reshape(layer.out_channels, -1).expand_as(layer.weight))
        if layer.bias is not None and conv.bias is not None:
            layer.bias.copy_(conv.bias[:, None, None].expand_as(layer.bias))
    torch.testing.assert_close(layer(x), conv(x))


def test_locally_connected_multiplies_once_per_weight_and_sample() -> None:
    layer = LocallyConnected2d(3, 5, (9, 8), (3, 2), stride=(2, 1), padding=(1, 0), device="meta")
    with FlopCounterMode(display=False) as counter:
        output = layer(torch.empty(2, 3, 9, 8, device="meta"))
    assert output.shape == (2, 5, 5, 7)
    # out · in · kernel · positions, for 2 samples; torch counts an addition with each multiplication.
    assert counter.get_total_flops() == 2 * (5 * 3 * (3 * 2) * (5 * 7) * 2)


def test_locally_connected_counts_what_the_lecture_counts() -> None:
    """A million hidden units, each with its own 10x10 filter: 10^8 weights, of which none is allocated."""
    layer = LocallyConnected2d(1, 1, 1009, 10, bias=False, device="meta")
    assert layer.output_size == (1000, 1000)
    assert [tuple(p.shape) for p in layer.parameters()] == [(1_000_000, 1, 100)]


def test_locally_connected_starts_like_a_convolution() -> None:
    layer = LocallyConnected2d(4, 8, 10, 5)
    bound = (4 * 5 * 5) ** -0.5
    assert layer.bias is not None
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max().item() <= bound
        assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_locally_connected_learns() -> None:
    layer = made(CONFIGURATIONS[0])
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert layer.bias is not None
    assert torch.autograd.gradcheck(lambda *_: layer(x), (x, layer.weight, layer.bias))


def test_locally_connected_refuses_another_input() -> None:
    layer = LocallyConnected2d(2, 3, (5, 6), 3)
    for shape in [(1, 2, 6, 5), (1, 3, 5, 6), (2, 5, 6)]:
        with pytest.raises(ValueError, match=r"^LocallyConnected2d was made for an input of 2x5x6, not "):
            layer(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"^a kernel of 3x9 does not fit into an input of 5x8$"):
        LocallyConnected2d(2, 3, (5, 6), (3, 9), padding=(0, 1))


PADDED = "LocallyConnected2d(1, 2, input_size=(5, 5), kernel_size=(3, 3), stride=(2, 2), padding=(1, 0), bias=False)"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            LocallyConnected2d(1, 2, (5, 6), 3),
            "LocallyConnected2d(1, 2, input_size=(5, 6), kernel_size=(3, 3), stride=(1, 1))",
        ),
        (
            LocallyConnected2d(1, 2, 5, 3, 2, (1, 0), False),
            PADDED,
        ),
        (Permute((1, 2, 0)), "Permute(dims=(1, 2, 0))"),
        (Reshape((3, -1)), "Reshape(shape=(3, -1))"),
        (Reshape(-1), "Reshape(shape=(-1,))"),
        (Slice(0, 32), "Slice(0, 32)"),
        (Add({"main": nn.ReLU(), "skip": nn.Identity()}), "Add(\n  (main): ReLU()\n  (skip): Identity()\n)"),
        (Block({"0": nn.ReLU()}, "shortcut", "s=2"), "shortcut(\n  s=2\n  (0): ReLU()\n)"),
    ],
)
def test_layers_print_as_torch_prints_its_own(module: nn.Module, text: str) -> None:
    assert repr(module) == text


def numbered(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def test_permute_moves_the_axes_after_the_batch() -> None:
    x = numbered(2, 3, 4, 5)
    y = Permute((1, 2, 0))(x)
    assert y.shape == (2, 4, 5, 3)
    assert y[1, 2, 3, 0] == x[1, 0, 2, 3]


def test_reshape_keeps_the_batch() -> None:
    x = numbered(2, 3, 2)
    assert Reshape((-1, 3))(x).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert Reshape(6)(x).shape == (2, 6)


def test_slice_takes_channels() -> None:
    x = numbered(2, 5, 3)
    assert Slice(1, 3)(x).tolist() == [[[3, 4, 5], [6, 7, 8]], [[18, 19, 20], [21, 22, 23]]]
    assert Slice(0, 5)(x).shape == x.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Permute((1, 2, 3)), "dims must name every axis once, counted from 0 without the batch, not [1, 2, 3]"),
        (lambda: Permute(()), "dims must name every axis once, counted from 0 without the batch, not []"),
        (lambda: Permute((1, 0))(numbered(1, 2, 3, 4)), "dims [1, 0] order 2 axes, not 2x3x4"),
        (lambda: Reshape((-1, -1)), "shape takes sizes of at least 1 and at most one -1, not [-1, -1]"),
        (lambda: Reshape((0, 3)), "shape takes sizes of at least 1 and at most one -1, not [0, 3]"),
        (lambda: Reshape((5, -1))(numbered(5, 3, 4)), "3x4 cannot be reshaped to 5x-1"),
        (lambda: Reshape((4, 4))(numbered(4, 3, 4)), "3x4 cannot be reshaped to 4x4"),
        (lambda: Slice(3, 3), "a slice takes channels from start up to stop, not from 3 up to 3"),
        (lambda: Slice(-2, 3), "a slice takes channels from start up to stop, not from -2 up to 3"),
        (lambda: Slice(2, 6)(numbered(6, 5)), "a slice up to channel 6 of an input that has 5 channels"),
        (lambda: Add({}), "Add needs at least one branch"),
        (lambda: Cat({"forward": nn.ReLU()}), 'a branch cannot be called "forward"'),
        (lambda: Cat({"a.b": nn.ReLU()}), 'a branch cannot be called "a.b"'),
    ],
)
def test_layers_say_what_they_cannot_do(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


class Times(nn.Module):
    """Multiplies by a number; it keeps how often it was called."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.factor


def test_joins_of_values() -> None:
    x = torch.tensor([[1, 2], [3, 4]])
    branches = {"two": Times(2), "ten": Times(10), "same": nn.Identity()}
    assert Add(branches)(x).tolist() == [[13, 26], [39, 52]]
    assert Cat(branches)(x).tolist() == [[2, 4, 10, 20, 1, 2], [6, 8, 30, 40, 3, 4]]
    assert Mul(branches)(x).tolist() == [[20, 160], [540, 1280]]
    assert x.tolist() == [[1, 2], [3, 4]], "the input is still needed by others"


def test_a_join_calls_a_shared_branch_for_each_of_its_names() -> None:
    shared = Times(3)
    assert Add({"a": shared, "b": shared})(torch.ones(1, 1)).item() == 6
    assert shared.calls == 2


def test_branches_are_children_in_the_order_given() -> None:
    join = Cat({"b": nn.Linear(2, 3), "a": nn.Identity()})
    assert [name for name, _ in join.named_children()] == ["b", "a"]
    assert [name for name, _ in join.named_parameters()] == ["b.weight", "b.bias"]


def test_joins_by_their_words() -> None:
    assert {word: cls.__name__ for word, cls in JOINS.items()} == {"add": "Add", "cat": "Cat", "mul": "Mul"}


def joined(kind: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    names = ("main", "skip", "third")[: len(shapes)]
    join = JOINS[kind]({name: nn.Identity() for name in names})
    return tuple(join.join([torch.zeros(shape) for shape in shapes]).shape)


@pytest.mark.parametrize(
    ("kind", "shapes", "joined_shape"),
    [
        ("add", [(2, 8, 5, 5), (2, 8, 5, 5)], (2, 8, 5, 5)),
        ("add", [(2, 8)], (2, 8)),
        ("cat", [(2, 8, 5, 5), (2, 1, 5, 5), (2, 3, 5, 5)], (2, 12, 5, 5)),
        ("cat", [(2, 8), (2, 1)], (2, 9)),
        ("mul", [(2, 8, 5, 5), (2, 8, 1, 1)], (2, 8, 5, 5)),
        ("mul", [(2, 8, 1, 5), (2, 1, 5, 1)], (2, 8, 5, 5)),
    ],
)
def test_branches_that_fit(kind: str, shapes: list[tuple[int, ...]], joined_shape: tuple[int, ...]) -> None:
    assert joined(kind, *shapes) == joined_shape


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("add", [(1, 64, 56, 56), (1, 128, 28, 28)], "main gives 64x56x56, skip gives 128x28x28"),
        ("add", [(1, 8, 1, 1), (1, 8, 5, 5)], "main gives 8x1x1, skip gives 8x5x5"),
        ("cat", [(1, 8, 5, 5), (1, 8, 5, 4)], "main gives 8x5x5, skip gives 8x5x4 (only the channels may differ)"),
        ("cat", [(1, 8, 5), (1, 8)], "main gives 8x5, skip gives 8 (only the channels may differ)"),
        ("mul", [(1, 8, 5, 5), (1, 8)], "main gives 8x5x5, skip gives 8 (a size that differs has to be 1)"),
        (
            "mul",
            [(1, 8, 5), (1, 8, 1), (1, 8, 3)],
            "main gives 8x5, skip gives 8x1, third gives 8x3 (a size that differs has to be 1)",
        ),
    ],
)
def test_branches_that_do_not_fit(kind: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        joined(kind, *shapes)
    assert str(caught.value) == f"branches do not fit: {message}"


def test_a_block_runs_its_layers_in_order() -> None:
    block = Block({"0": Times(2), "last": Times(5)}, "twice", "w=1")
    assert block(torch.ones(1, 1)).item() == 10
    assert (block.block_name, block.block_arguments) == ("twice", "w=1")
    assert [name for name, _ in block.named_children()] == ["0", "last"]
