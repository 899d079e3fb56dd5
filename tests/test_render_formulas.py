"""The arithmetic behind the counts: the texts of the lectures, and that every text is true."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_profiles import lenet

from cnnprof.profiling.profile import Cost, Layer, Shape, Term
from cnnprof.render import formulas
from cnnprof.render.glyphs import ASCII, UNICODE, Glyphs

_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")

sizes = st.integers(1, 70)
dims = st.lists(sizes, min_size=1, max_size=6).map(tuple)
several = st.lists(dims | st.just(()), min_size=1, max_size=4).map(tuple)


def layer(params: tuple[Shape, ...] = (), terms: tuple[Term, ...] = ()) -> Layer:
    cost = Cost(params=sum(map(math.prod, params)), products=sum(map(math.prod, terms)))
    return Layer("x", "X", "", 1, (), (), cost, params, terms)


def evaluated(text: str) -> int:
    """What the formula comes to, read as arithmetic."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda digits: "**" + digits.group().translate(_POWERS), text)
    value = eval(text.replace("·", "*").replace("^", "**"), {"__builtins__": {}})
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(shapes=several)
def test_a_formula_of_parameters_comes_to_their_number(glyphs: Glyphs, shapes: tuple[Shape, ...]) -> None:
    found = layer(params=shapes)
    if text := formulas.params(found, glyphs):
        assert evaluated(text) == found.params


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(terms=several)
def test_a_formula_of_products_comes_to_their_number(glyphs: Glyphs, terms: tuple[Term, ...]) -> None:
    found = layer(terms=terms)
    if text := formulas.products(found, glyphs):
        assert evaluated(text) == found.products


@given(weight=st.lists(sizes, min_size=2, max_size=5).map(tuple))
def test_a_weight_with_its_bias_always_has_a_formula(weight: Shape) -> None:
    text = formulas.params(layer(params=(weight, weight[:1])), UNICODE)
    assert re.fullmatch(rf"{weight[0]}·\(.+\+1\)", text)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        pytest.param(((32, 1, 5, 5), (32,)), "32·(1·5²+1)", id="the lecture's first convolution"),
        pytest.param(((64, 32, 5, 5), (64,)), "64·(32·5²+1)", id="its second, as its own result says"),
        pytest.param(((200, 256), (200,)), "200·(256+1)", id="Linear"),
        pytest.param(((32, 1, 5, 5),), "32·1·5²", id="no bias"),
        pytest.param(((64, 3, 3, 3), (64,)), "64·(3·3²+1)", id="channels are no side of the kernel"),
        pytest.param(((16, 16, 3, 3),), "16·16·3²", id="as many channels in as out"),
        pytest.param(((8, 4, 3, 5, 5),), "8·4·3·5²", id="a kernel of unequal sides"),
        pytest.param(((8, 4, 3, 3, 3), (8,)), "8·(4·3³+1)", id="three dimensions"),
        pytest.param(((64,), (64,)), "2·64", id="BatchNorm"),
        pytest.param(((16, 32, 3, 3), (32,)), "16·32·3² + 32", id="transposed: the bias is not one per row"),
        pytest.param(
            ((400, 50), (400, 100), (400,), (400,)),
            "400·50 + 400·(100+1) + 400",
            id="LSTM",
        ),
        pytest.param(((28, 5), (28, 7), (28,), (28,)) * 2, "2·28·5 + 2·28·(7+1) + 2·28", id="LSTM in both directions"),
        pytest.param(((48, 16), (48,), (16, 16), (16,)), "48·(16+1) + 16·(16+1)", id="attention"),
        pytest.param(((7,),), "", id="a plain number needs none"),
        pytest.param(((),), "", id="a scalar"),
        pytest.param((), "", id="none"),
        pytest.param(tuple((n, n) for n in range(2, 9)), "", id="seven summands are too long to read"),
    ],
)
def test_parameters(shapes: tuple[Shape, ...], text: str) -> None:
    assert formulas.params(layer(params=shapes), UNICODE) == text


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        pytest.param(((32, 24, 24, 1, 5, 5),), "32·24²·1·5²", id="the lecture's first convolution"),
        pytest.param(((2, 32, 24, 24, 1, 5, 5),), "2·32·24²·1·5²", id="a batch of 2"),
        pytest.param(((64, 64, 64, 3, 3, 3),), "64·64²·3·3²", id="channels are no side of the map"),
        pytest.param(((8, 10, 12, 4, 3, 5),), "8·10·12·4·3·5", id="unequal sides"),
        pytest.param(((8, 6, 6, 6, 4, 3, 3, 3),), "8·6³·4·3³", id="three dimensions"),
        pytest.param(((200, 256),), "200·256", id="Linear"),
        pytest.param(((4096, 4096),), "4096·4096", id="a square Linear"),
        pytest.param(((3, 5, 7), (3, 5, 9)), "3·5·7 + 3·5·9", id="a sum"),
        pytest.param(((3, 5, 7), (3, 5, 7)), "2·3·5·7", id="the same twice"),
        pytest.param(((28, 5), (28, 7)) * 10, "10·28·5 + 10·28·7", id="LSTM over ten steps"),
        pytest.param((), "", id="none"),
    ],
)
def test_products(terms: tuple[Term, ...], text: str) -> None:
    assert formulas.products(layer(terms=terms), UNICODE) == text


def test_ascii() -> None:
    assert formulas.products(layer(terms=((32, 24, 24, 1, 5, 5),)), ASCII) == "32*24^2*1*5^2"


def test_arithmetic_that_does_not_give_the_count_is_not_printed() -> None:
    shared = Layer("x", "X", "", 1, (), (), Cost(params=5, products=5), ((2, 3),), ((2, 3),))
    assert formulas.params(shared, UNICODE) == ""
    assert formulas.products(shared, UNICODE) == ""


def test_the_lecture() -> None:
    found = [(formulas.params(one, UNICODE), formulas.products(one, UNICODE)) for one in lenet().layers]
    assert [pair for pair in found if pair != ("", "")] == [
        ("32·(1·5²+1)", "32·24²·1·5²"),
        ("64·(32·5²+1)", "64·4²·32·5²"),
        ("200·(256+1)", "200·256"),
        ("10·(200+1)", "10·200"),
    ]
