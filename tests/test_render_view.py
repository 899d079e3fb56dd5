"""Which rows are shown: whatever is asked for, they add up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render_profiles import container, leaf, lenet, nested, single

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import Layer, Profile
from cnnprof.render.row import Role, Row
from cnnprof.render.view import View, rows


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Trees of layers of any form, with costs of any size."""

    def tree(path: str, levels: int) -> Layer:
        count = draw(st.integers(0, 3)) if levels else 0
        if count:
            prefix = f"{path}." if path else ""
            return container(path, "Block", *(tree(f"{prefix}{n}", levels - 1) for n in range(count)))
        factor = draw(st.integers(0, 50))
        return leaf(
            path,
            draw(st.sampled_from(("Conv2d", "Linear", "ReLU"))),
            into=(3,),
            out=(factor,),
            params=((factor, 3),),
            terms=((factor, draw(st.integers(0, 9))),),
            unknown=draw(st.sampled_from(((), ("aten::a",), ("aten::b", "aten::a")))),
        )

    return Profile("random", ((3,),), 1, "float32", tree("", 4))


views = st.builds(
    View,
    depth=st.none() | st.integers(0, 5),
    sort=st.none() | st.sampled_from(("products", "params", "kind", "output", "layer")),
    top=st.none() | st.integers(1, 8),
)


def sums(found: list[Row]) -> tuple[Any, ...]:
    """Every figure of the rows that add, added up one by one; the unknown operators as a set."""
    costs = [asdict(row.cost) for row in found if row.role in (Role.LAYER, Role.OTHERS)]
    figures = [[value for key, value in cost.items() if key != "unknown"] for cost in costs]
    unknown = {name for row in found if row.role is not Role.TOTAL for name in row.cost.unknown}
    return (*(sum(column) for column in zip(*figures, strict=True)), unknown)


FEWER = settings(max_examples=400)
"""A profile takes long to make up, and 400 of them vary all that rows depend on many times over."""


@FEWER
@given(profiles(), views, st.booleans())
def test_rows_add_up_to_the_total(profile: Profile, view: View, containers: bool) -> None:
    found = rows(profile, view, containers)
    total = found[-1]
    assert total.role is Role.TOTAL
    assert [row.role for row in found].count(Role.TOTAL) == 1
    assert total.cost == profile.cost
    whole = [value for key, value in asdict(total.cost).items() if key != "unknown"]
    assert sums(found) == (*whole, set(total.cost.unknown))


@FEWER
@given(profiles(), views)
def test_a_tree_shows_the_same_layers_as_a_list(profile: Profile, view: View) -> None:
    flat, tree = rows(profile, view), rows(profile, view, containers=True)
    assert sorted(row.number for row in flat if row.role is Role.LAYER) == sorted(
        row.number for row in tree if row.role is Role.LAYER
    )
    assert [row.cost for row in flat if row.role is Role.OTHERS] == [row.cost for row in tree if row.role is Role.OTHERS]


@FEWER
@given(profiles(), views)
def test_in_a_tree_each_row_stands_below_its_container(profile: Profile, view: View) -> None:
    above: list[Layer] = []
    for row in rows(profile, view, containers=True)[:-1]:
        if row.layer is None:
            continue
        del above[row.level :]
        assert len(above) == row.level
        if above:
            assert any(row.layer is child for child in above[-1].children)
        above.append(row.layer)


@FEWER
@given(profiles(), views)
def test_the_lines_of_a_tree_lead_to_rows(profile: Profile, view: View) -> None:
    """A line goes on below a row exactly where a later row hangs on it before the tree closes above."""
    tree = rows(profile, view, containers=True)[:-1]
    for place, row in enumerate(tree):
        assert len(row.guides) == row.level
        for level, followed in enumerate(row.guides, 1):
            later = next((other.level for other in tree[place + 1 :] if other.level <= level), 0)
            assert followed == (later == level)


@FEWER
@given(profiles(), st.sampled_from(("products", "params", "output_bytes")))
def test_sorted_numbers_fall(profile: Profile, key: str) -> None:
    found = [getattr(row.cost, key) for row in rows(profile, View(sort=key))[:-1]]
    assert found == sorted(found, reverse=True)


@FEWER
@given(profiles(), st.sampled_from(("products", "params")))
def test_in_a_sorted_tree_siblings_fall(profile: Profile, key: str) -> None:
    last: dict[int, int] = {}
    for row in rows(profile, View(sort=key), containers=True)[:-1]:
        last = {level: value for level, value in last.items() if level <= row.level}
        assert getattr(row.cost, key) <= last.get(row.level, 1 << 60)
        last[row.level] = getattr(row.cost, key)


def labels(found: list[Row]) -> list[str]:
    return [row.layer.path if row.layer else row.role.value for row in found]


def test_depth_cuts_the_tree() -> None:
    found = rows(nested(), View(depth=1))
    assert labels(found) == ["stem", "stage1", "stage2", "pool", "flatten", "fc", "total"]
    assert found[1].cost.params == 2 * (16 * 16 * 9 + 32)
    assert labels(rows(nested(), View(depth=0))) == ["", "total"]
    assert labels(rows(nested(), View(depth=2)))[:4] == ["stem.0", "stem.1", "stage1.0", "stage2.0"]
    assert rows(nested(), View(depth=99)) == rows(nested(), View())


def test_numbers_and_indices_are_those_of_the_calls() -> None:
    sorted_by_params = rows(lenet(), View(sort="params", top=2))
    assert [(row.layer.path, row.number) for row in sorted_by_params if row.layer] == [("fc1", 8), ("conv2", 4)]
    tree = rows(nested(), View(depth=2), containers=True)
    assert [(row.layer.kind, row.level, row.index) for row in tree if row.layer][:6] == [
        ("Tinyres", 0, 1),
        ("conv_bn", 1, 1),
        ("Conv2d", 2, 1),
        ("BatchNorm2d", 2, 2),
        ("stage", 1, 2),
        ("basic", 2, 3),
    ]


def test_top_keeps_rows_and_sums_the_others() -> None:
    first, second, others, total = rows(lenet(), View(sort="products", top=2))
    assert [first.layer and first.layer.path, second.layer and second.layer.path] == ["conv2", "conv1"]
    assert (others.role, others.number, others.cost.products) == (Role.OTHERS, 8, 51200 + 2000)
    assert total.cost.products == 1333200


def test_without_sort_top_keeps_the_first() -> None:
    assert labels(rows(lenet(), View(top=3))) == ["conv1", "pool1", "relu1", "others", "total"]


@pytest.mark.parametrize("top", [10, 11, 1000])
def test_no_others_where_nothing_is_left_out(top: int) -> None:
    assert Role.OTHERS not in [row.role for row in rows(lenet(), View(top=top))]


def test_texts_sort_by_the_alphabet() -> None:
    found = rows(lenet(), View(sort="kind"))
    assert [row.layer.kind for row in found if row.layer] == sorted(
        ["Conv2d"] * 2 + ["MaxPool2d"] * 2 + ["ReLU"] * 3 + ["Flatten"] + ["Linear"] * 2
    )


def test_sizes_sort_by_their_elements() -> None:
    found = rows(lenet(), View(sort="output_shape", top=3))
    assert labels(found)[:3] == ["conv1", "pool1", "relu1"]


def test_a_network_of_one_layer_is_one_row() -> None:
    for containers in (False, True):
        assert labels(rows(single(), View(), containers)) == ["", "total"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": -1}, "the depth is -1, but the network itself is depth 0"),
        ({"top": 0}, "the number of rows to keep is 0, but it has to be 1 or more"),
        ({"sort": "prodcts"}, 'there is no column "prodcts"; did you mean "products"?'),
        ({"columns": ("layer", "flops")}, 'there is no column "flops"; there are: layer, path, '),
        ({"columns": ("",)}, 'there is no column ""; there are: layer, path, '),
        ({"style": "torchsumary"}, 'there is no style "torchsumary"; did you mean "torchsummary"?'),
        ({"style": "9"}, 'there is no style "9"; there are: products, torchsummary, tree'),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        View(**options)
    assert str(caught.value).startswith(message)
