"""The table of operators: that it is whole, what products it counts, and how it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from agreement import Counting, aten, meta, share, small
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    conv2d,
    conv_transpose2d,
    glu,
    interpolate,
    layer_norm,
    linear,
    max_pool2d,
    pad,
    pixel_shuffle,
    scaled_dot_product_attention,
)
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from cnnprof.operators import MetaMode, ShapeError, products_of, rule, writes
from cnnprof.operators.free import FREE
from cnnprof.operators.table import OUTPUTS, PRODUCTS

NAMES = {name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")}
HIGHER_ORDER = {"flex_attention", "flex_attention_backward"}


def overloads(name: str) -> list[Any]:
    """All overloads of an operator, and of the operator in place."""
    packets = [getattr(aten, packet) for packet in (name, f"{name}_") if hasattr(aten, packet)]
    return [getattr(packet, overload) for packet in packets for overload in packet.overloads()]


# That the table is whole


def test_no_operator_is_both_counted_and_free() -> None:
    assert not FREE & set(PRODUCTS)


def test_every_name_is_an_operator() -> None:
    packets = {name.partition(".")[0] for name in NAMES}
    assert {name for name in FREE if not {name, f"{name}_"} & packets} == set()
    assert set(PRODUCTS) - packets == HIGHER_ORDER
    assert set(OUTPUTS) <= NAMES


def test_every_output_rule_has_known_products() -> None:
    for name in OUTPUTS:
        packet, _, overload = name.partition(".")
        known = rule(getattr(getattr(aten, packet), overload or "default"))
        assert known is not None
        assert known.output is OUTPUTS[name]


def test_what_the_flop_counter_of_torch_counts_is_counted() -> None:
    for packet in flop_registry:
        name = packet.name() if isinstance(packet, torch._ops.HigherOrderOperator) else packet.__name__
        assert name in PRODUCTS, name
    flex_attention = rule(torch.ops.higher_order.flex_attention)
    assert flex_attention is not None
    assert flex_attention.products is PRODUCTS["flex_attention"]


def test_the_operator_in_place_and_every_overload_are_known() -> None:
    for name in ("add", "relu", "addmm", "index_put", "__lshift__"):
        for func in overloads(name):
            assert rule(func) is not None, func.name()


@pytest.mark.parametrize("name", ["_fft_r2c", "linalg_inv_ex", "_cdist_forward", "_cudnn_rnn", "special_bessel_j0"])
def test_what_hides_products_is_unknown(name: str) -> None:
    func = overloads(name)[0]
    assert rule(func) is None
    assert products_of(func, (), {}, None) is None


def test_an_operator_of_somebody_else_is_unknown() -> None:
    library = torch.library.Library("cnnprof_test", "DEF")
    library.define("relu(Tensor x) -> Tensor")
    assert rule(torch.ops.cnnprof_test.relu.default) is None


def test_which_operators_write() -> None:
    assert [writes(func) for func in (aten.relu.default, aten.convolution.default, aten.clone.default)] == [True] * 3
    assert not any(writes(func) for func in (aten.relu_.default, aten.view.default, aten._unsafe_view.default))
    assert not any(writes(func) for func in (aten.conv2d.default, aten.add.out, aten.unsafe_split.Tensor))
    assert writes(aten._fft_r2c.default)


# Products


def cost(func: Any, *args: Any) -> int:
    """The products of one operator, its output made by torch."""
    terms = products_of(func, args, {}, func(*args))
    assert terms is not None
    return sum(math.prod(term) for term in terms)


def torch_cost(func: Any, *args: Any, **kwargs: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        func(*args, **kwargs)
    return int(counter.get_total_flops()) // 2


def test_terms_are_written_as_in_a_textbook() -> None:
    def terms(func: Any, *args: Any) -> Any:
        return products_of(func, args, {}, func(*args))

    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    assert terms(aten.convolution.default, meta(1, 1, 28, 28), meta(32, 1, 5, 5), None, *options) == ((32, 24, 24, 1, 5, 5),)
    assert terms(aten.convolution.default, meta(4, 1, 28, 28), meta(32, 1, 5, 5), None, *options) == ((4, 32, 24, 24, 1, 5, 5),)
    assert terms(aten.addmm.default, meta(200), meta(1, 256), meta(256, 200)) == ((200, 256),)
    assert terms(aten.addmm.default, meta(200), meta(4, 256), meta(256, 200)) == ((4, 200, 256),)
    assert terms(aten.bmm.default, meta(1, 4, 5), meta(1, 5, 6)) == ((4, 6, 5),)
    options = ([2, 2], [0, 0], [1, 1], True, [0, 0], 2)
    assert terms(aten.convolution.default, meta(1, 8, 7, 7), meta(8, 3, 2, 2), None, *options) == ((8, 7, 7, 3, 2, 2),)


@given(
    groups=st.sampled_from([1, 1, 2, 3]),
    sizes=st.tuples(small, small, small),
    kernel=st.tuples(*[st.sampled_from([1, 2, 3])] * 2),
    stride=st.tuples(*[st.sampled_from([1, 2])] * 2),
    transposed=st.booleans(),
    wanted=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_gradients_of_convolutions(
    groups: int,
    sizes: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    transposed: bool,
    wanted: tuple[bool, bool, bool],
) -> None:
    batch, inside, outside = sizes

    def call(groups: int) -> tuple[Any, ...]:
        options = (list(stride), [1, 1], [1, 1], transposed, [0, 0], groups)
        first, second = (inside * groups, outside) if transposed else (outside * groups, inside)
        x, weight = meta(batch, inside * groups, 5, 6), meta(first, second, *kernel)
        y = aten.convolution.default(x, weight, None, *options)
        return (y, x, weight, [outside * groups], *options, list(wanted))

    # Groups are convolutions beside each other. Torch's counter is right about each, but not about the gradient of all weights.
    assert cost(aten.convolution_backward.default, *call(groups)) == groups * torch_cost(
        aten.convolution_backward.default, *call(1)
    )


ATTENTION = ["flash", "efficient", "cudnn"]


@given(
    kind=st.sampled_from(ATTENTION),
    heads=st.tuples(small, st.sampled_from([1, 1, 2, 3])),
    sizes=st.tuples(small, st.integers(1, 9), st.integers(1, 9), st.integers(1, 8), st.integers(1, 8)),
    backward=st.booleans(),
)
def test_attention(kind: str, heads: tuple[int, int], sizes: tuple[int, int, int, int, int], backward: bool) -> None:
    batch, queries, keys, size, values = sizes
    q, k = meta(batch, heads[0] * heads[1], queries, size), meta(batch, heads[0], keys, size)
    v, y = meta(batch, heads[0], keys, values), meta(batch, heads[0] * heads[1], queries, values)
    packet = getattr(aten, f"_scaled_dot_product_{kind}_attention{'_backward' if backward else ''}")
    args = (y, q, k, v) if backward else (q, k, v)
    known = rule(packet.default)
    assert known is not None
    assert known.products is not None
    assert 2 * sum(map(math.prod, known.products(args, {}, y))) == flop_registry[packet](*args, out_val=y)
    if heads[1] == 1:
        # What torch composes on the meta device is the same again.
        with Counting() as counting:
            scaled_dot_product_attention(q, k, v)
        assert not counting.unknown
        assert backward or counting.products == sum(map(math.prod, known.products(args, {}, y)))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["flash", "efficient"])
def test_attention_with_the_heads_behind_the_length(kind: str, packed: bool, backward: bool) -> None:
    # Torch's counter reads batch x length x heads x size as batch x heads x length x size: the truth is that of the other layout.
    batch, heads, queries, keys, size, values = 2, 3, 5, 7, 11, 13
    first = [meta(batch, heads, length, s) for length, s in ((queries, values), (queries, size), (keys, size), (keys, values))]
    last = [x.transpose(1, 2) for x in first]
    starts = (None, None)
    if packed:
        last = [x.reshape(*([1] if kind == "efficient" else []), -1, heads, x.shape[3]) for x in last]
        starts = (meta(batch + 1, dtype=torch.int32),) * 2  # type: ignore[assignment]
    between = {
        ("flash", False): [],
        ("efficient", False): [None],
        ("flash", True): [None, None],
        ("efficient", True): [None, None],
    }
    ending = "backward" if backward else "forward"
    packet = getattr(aten, f"_scaled_dot_product_flash_attention{'_backward' if backward else ''}")
    args = (*last[not backward :], *between[kind, backward], *starts, queries, keys)
    terms = products_of(getattr(aten, f"_{kind}_attention_{ending}").default, args, {}, None)
    assert terms is not None
    assert 2 * sum(map(math.prod, terms)) == flop_registry[packet](*first[not backward :], out_val=first[0])


@share(4)
@given(sizes=st.tuples(small, small, small, small))
def test_products_that_torch_does_not_count(sizes: tuple[int, int, int, int]) -> None:
    batch, rows, columns, inner = sizes
    matrix, vector = meta(rows, inner), meta(inner)
    product = torch_cost(aten.mm.default, matrix, meta(inner, 1))
    assert cost(aten.mv.default, matrix, vector) == cost(aten.addmv.default, meta(rows), matrix, vector) == product
    product = torch_cost(aten.mm.default, meta(1, inner), meta(inner, 1))
    assert cost(aten.dot.default, vector, vector) == cost(aten.vdot.default, vector, vector) == product
    product = torch_cost(aten.mm.default, meta(rows, 1), meta(1, columns))
    assert cost(aten.addr.default, meta(rows, columns), meta(rows), meta(columns)) == product
    pair = meta(batch, rows, inner), meta(batch, inner, columns)
    assert cost(aten.addbmm.default, meta(rows, columns), *pair) == torch_cost(aten.bmm.default, *pair)
    product = torch_cost(aten.bmm.default, meta(batch, rows * columns, 3), meta(batch, 3, 2))
    assert cost(aten.affine_grid_generator.default, meta(batch, 2, 3), [batch, 1, rows, columns], False) == product
    product = torch_cost(torch.conv1d, meta(batch, rows, inner + 2), meta(columns, rows, 3))
    assert cost(aten.conv_tbc.default, meta(inner + 2, batch, rows), meta(3, rows, columns), meta(columns)) == product
    with Counting() as counting:
        nn.Bilinear(rows, columns, inner, device="meta")(meta(batch, rows), meta(batch, columns))
    # The first input times the weight, whose result has as many elements as outputs x second input; then that times the second.
    product = torch_cost(aten.mm.default, meta(batch, rows), meta(rows, inner * columns))
    assert counting.products == product + torch_cost(aten.bmm.default, meta(batch, inner, columns), meta(batch, columns, 1))


# How it refuses

IMPOSSIBLE: list[tuple[Callable[[Callable[..., Tensor]], Tensor], str]] = [
    (lambda t: conv2d(t(1, 1, 5, 5), t(4, 1, 7, 7)), "kernel 7x7 is larger than the map 5x5"),
    (lambda t: conv2d(t(1, 1, 3, 3), t(4, 1, 7, 7), padding=1), "kernel 7x7 is larger than the padded map 5x5"),
    (
        lambda t: conv2d(t(1, 1, 5, 5), t(4, 1, 3, 3), dilation=3),
        "kernel 3x3 spans 7x7 with its dilation and is larger than the map 5x5",
    ),
    (lambda t: conv2d(t(1, 3, 5, 5), t(4, 1, 3, 3)), "input has 3 channels, the weight takes 1"),
    (lambda t: conv2d(t(1, 3, 5, 5), t(4, 3, 3, 3), stride=(1, 0)), "stride 1x0 is not positive"),
    (lambda t: conv2d(t(1, 3, 5, 5).half(), t(4, 3, 3, 3)), "input is float16, the weight is float32"),
    (lambda t: conv2d(t(1, 4, 5, 5), t(3, 2, 3, 3), groups=2), "3 channels cannot be divided into 2 groups"),
    (lambda t: conv2d(t(1, 4, 5, 5), t(3, 4, 3, 3), t(4)), "the bias is 4, the output has 3 channels"),
    (lambda t: conv_transpose2d(t(1, 3, 2, 1), t(3, 4, 2, 1), padding=1), "output would be 4x1x-1"),
    (
        lambda t: conv_transpose2d(t(1, 3, 4, 4), t(3, 4, 2, 2), stride=2, output_padding=2),
        "output padding 2x2 is not smaller than stride 2x2 or the dilation",
    ),
    (lambda t: max_pool2d(t(1, 64, 2, 2), 3), "kernel 3x3 is larger than the map 2x2"),
    (lambda t: avg_pool2d(t(1, 64, 8, 8), 3, padding=2), "padding 2x2 is more than half of the kernel 3x3"),
    (lambda t: t(1, 64, 56, 56) + t(1, 128, 28, 28), "cannot add 64x56x56 and 128x28x28"),
    (lambda t: t(2, 64, 4, 4) * t(2, 3, 8, 8), "cannot multiply 64x4x4 and 3x8x8"),
    (lambda t: t(2, 64) - t(3, 64), "cannot subtract 2x64 and 3x64"),
    (lambda t: t(2, 1).add_(t(2, 3)), "cannot add 1 and 3 in place"),
    (lambda t: torch.cat([t(1, 64, 28, 28), t(1, 64, 27, 27)], 1), "cannot concatenate 64x28x28 and 64x27x27"),
    (lambda t: torch.cat([t(1, 64, 28, 28), t(1, 64)], 1), "cannot concatenate 64x28x28 and 64"),
    (lambda t: linear(t(1, 512), t(10, 256), t(10)), "input has 512 features, the weight takes 256"),
    (lambda t: linear(t(2, 3, 512), t(10, 256)), "input has 512 features, the weight takes 256"),
    (lambda t: t(2, 4, 5) @ t(2, 6, 7), "cannot multiply the matrices 4x5 and 6x7"),
    (lambda t: layer_norm(t(1, 56, 64), [96]), "input is 56x64, the normalisation takes 96"),
    (lambda t: pad(t(1, 1, 4, 4), (5, 5, 5, 5), "reflect"), "reflection padding 5 is not smaller than the map 4x4"),
    (lambda t: pixel_shuffle(t(1, 6, 4, 4), 2), "6 channels cannot be divided among 2x2 pixels"),
    (lambda t: interpolate(t(1, 3, 4, 4), scale_factor=0.1), "output would be 3x0x0"),
    (lambda t: glu(t(1, 5)), "GLU takes an even size in dimension -1, not 5"),
]


@pytest.mark.parametrize(("call", "message"), IMPOSSIBLE, ids=[message for _, message in IMPOSSIBLE])
def test_what_is_impossible_is_refused_in_a_line(call: Callable[[Callable[..., Tensor]], Tensor], message: str) -> None:
    with MetaMode(), pytest.raises(ShapeError) as caught:
        call(meta)
    assert str(caught.value) == message
    with pytest.raises((RuntimeError, ValueError)):
        call(torch.zeros)


def test_a_shape_error_is_an_error_of_the_user() -> None:
    assert issubclass(ShapeError, ValueError)
    assert ShapeError.exit_code == 2
