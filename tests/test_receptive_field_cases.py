"""Receptive fields that are known: published numbers, global operators, what cannot be told, and how all of it is shown."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence

import pytest
import torch
from field_truth import Do, check, sequence
from render_streams import printed, read_table
from torch import Tensor, nn
from torch.nn import functional

import cnnprof
from cnnprof.errors import Source
from cnnprof.fields.table import rule
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.render import View

# published numbers


def fields(name: str) -> dict[str, tuple[object, object]]:
    """The field and the stride of every layer of a bundled network by its path; the maps are square, and so are these."""
    found: dict[str, tuple[object, object]] = {}
    waiting = [cnnprof.profile(cnnprof.load(name), SHAPES.get(name, (3, 224, 224))).root]
    while waiting:
        layer = waiting.pop()
        waiting += layer.children
        size, stride = (set(values) if values else {None} for values in (layer.receptive_field, layer.stride))
        assert len(size) == len(stride) == 1
        found[layer.path] = (size.pop(), stride.pop())
    return found


SHAPES = {
    "lenet": (1, 28, 28),
    "conv5x5": (64, 56, 56),
    "conv3x3_twice": (64, 56, 56),
    "locally_connected": (1, 1000, 1000),
    "convolutional": (1, 1000, 1000),
}

LAST_MAPS = {
    # The table of Araujo, Norris and Sim 2019, as their library google-research/receptive_field has it in its README. Their ResNets
    # are the paper's; ours have the paper's stride under the name of v1.
    "alexnet": (195, 32),
    "vgg16": (212, 32),
    "resnet50_v1": (483, 32),
    "resnet101_v1": (1027, 32),
    "resnet152_v1": (1507, 32),
    # By hand: kernel - 1 times the stride before it, summed up. With the stride on the 3x3 of a stage's first block, that kernel
    # sees half as much: 7x7 and pool 1+6+4 = 11; 3*2*4 = 24; 2*4 + 3*2*8 = 56; 2*8 + 5*2*16 = 176; 2*16 + 2*2*32 = 160.
    "resnet50": (427, 32),
    "resnet101": (427 + 17 * 2 * 16, 32),
    # 11; 2*2*2*4 = 32; 2*4 + 3*2*8 = 56; 2*8 + 3*2*16 = 112; 2*16 + 3*2*32 = 224.
    "resnet18": (435, 32),
    # 11; 3*2*2*4 = 48; 2*4 + 7*2*8 = 120; 2*8 + 11*2*16 = 368; 2*16 + 5*2*32 = 352.
    "resnet34": (899, 32),
    # 7x7: 7; pool: 11; 3x3: 19; pool: 27; two modules, of which the 5x5 sees most: 2*4*8 = 64; pool: 107; five: 5*4*16 = 320;
    # pool: 459; two: 2*4*32 = 256.
    "googlenet": (715, 32),
    "conv5x5": (5, 1),
    "conv3x3_twice": (5, 1),
    "locally_connected": (10, 1),
    "convolutional": (10, 1),
}


@pytest.mark.parametrize("name", LAST_MAPS)
def test_published_networks(name: str) -> None:
    numbers = [(size, stride) for size, stride in fields(name).values() if isinstance(size, int) and isinstance(stride, int)]
    assert max(numbers) == LAST_MAPS[name]


def test_lenet_layer_by_layer() -> None:
    profile = cnnprof.profile(cnnprof.load("lenet"), (1, 28, 28))
    # conv 5x5, pool 3 by 3, ReLU, conv 5x5, pool 2 by 2, ReLU, Flatten, three layers of everything
    assert [layer.receptive_field for layer in profile.layers] == [(n, n) for n in (5, 7, 7, 19, 22, 22, 22)] + [("all", "all")] * 3
    assert [layer.stride for layer in profile.layers] == [(n, n) for n in (1, 3, 3, 3, 6, 6, 6)] + [None] * 3


def test_a_container_has_the_field_of_its_output() -> None:
    found = fields("resnet50")
    assert [found[f"stage{n}"] for n in (1, 2, 3, 4)] == [(35, 4), (91, 8), (267, 16), (427, 32)]
    assert found[""] == ("all", None)


# global operators, and those that look as if they were


def field(*layers: nn.Module | Callable[[Tensor], Tensor], shape: Sequence[int] = (4, 24, 20)) -> object:
    """The receptive field of the last of these layers."""
    return cnnprof.profile(sequence(*layers), tuple(shape)).root.receptive_field


CONV = nn.Conv2d(4, 4, 3, padding=1)
BOTH = ("all", "all")


attend = functional.scaled_dot_product_attention


def axial(x: Tensor) -> Tensor:
    """Attention along the last dimension but one of a map with its channels last."""
    return (x @ x.mT).softmax(-1) @ x


GLOBAL: dict[str, tuple[nn.Module | Callable[[Tensor], Tensor], object]] = {
    "global average": (nn.AdaptiveAvgPool2d(1), BOTH),
    "global maximum": (nn.AdaptiveMaxPool2d(1), BOTH),
    "one row": (nn.AdaptiveAvgPool2d((1, None)), ("all", 3)),
    "mean": (lambda x: x.mean((2, 3)), BOTH),
    "mean of columns": (lambda x: x.mean(3), (3, "all")),
    "sum of all": (lambda x: x.sum(), BOTH),
    "amax": (lambda x: x.amax((-1, -2)), BOTH),
    "max and its place": (lambda x: x.max(2)[1].float(), ("all", 3)),
    "variance": (lambda x: x.var((2, 3), keepdim=True), BOTH),
    "linear of all": (sequence(nn.Flatten(), nn.Linear(1920, 3)), BOTH),
    "linear of rows": (nn.Linear(20, 3), (3, "all")),
    "softmax of columns": (lambda x: x.softmax(2), ("all", 3)),
    "sorted rows": (lambda x: x.sort(3)[0], (3, "all")),
    "instance norm": (nn.InstanceNorm2d(4), BOTH),
    "group norm": (nn.GroupNorm(2, 4), BOTH),
    "layer norm of the map": (nn.LayerNorm([24, 20]), BOTH),
    "layer norm of rows": (nn.LayerNorm(20), (3, "all")),
    "batch norm by the batch": (nn.BatchNorm2d(4, track_running_stats=False), BOTH),
    "squeeze and excitation": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), BOTH),
    "attention": (sequence(lambda x: x.flatten(2).transpose(1, 2), lambda x: (x @ x.mT).softmax(-1) @ x), BOTH),
    "fused attention": (sequence(lambda x: x.flatten(2).mT[:, None], lambda x: attend(x, x, x)), BOTH),
    "encoder": (sequence(lambda x: x.flatten(2).mT, nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), BOTH),
    "rows against rows": (lambda x: x.amax(3)[..., None] * x.amax(3)[..., None, :], (None, "all")),
    "attention along rows": (lambda x: axial(x.permute(0, 2, 3, 1)), (3, "all")),
    "attention along columns": (lambda x: axial(x.permute(0, 3, 2, 1)), ("all", 3)),
    # not global
    "batch norm by stored statistics": (nn.BatchNorm2d(4), (3, 3)),
    "softmax of channels": (nn.Softmax2d(), (3, 3)),
    "layer norm of channels": (sequence(lambda x: x.permute(0, 2, 3, 1), nn.LayerNorm(4), lambda x: x.permute(0, 3, 1, 2)), (3, 3)),
    "norm of channels": (lambda x: functional.normalize(x, dim=1), (3, 3)),
    "flatten": (nn.Flatten(), (3, 3)),
    "linear of tokens": (sequence(lambda x: x.flatten(2).mT, nn.Linear(4, 9), nn.GELU()), (3, 3)),
    "tokens with a position": (lambda x: x.flatten(2).mT + torch.zeros(1, 480, 4, device=x.device), (3, 3)),
    "two pools that leave one pixel": (sequence(nn.AvgPool2d(4), nn.AvgPool2d((6, 5)), nn.Flatten(), nn.Linear(4, 2)), (26, 22)),
    "einsum of channels": (lambda x: torch.einsum("nchw,dc->ndhw", x, torch.ones(3, 4, device=x.device)), (3, 3)),
    "one pixel": (lambda x: x[:, :, 5, 7], (3, 3)),
    "a row and a column": (lambda x: x[:, :, 5].mean(-1), (3, "all")),
    "mean of the first rows": (lambda x: x[:, :, :5].mean(2), (7, 3)),
    # after an unknown order, everything together is everything all the same
    "flipped": (lambda x: x.flip(3), (3, 3)),
    "flipped, then a window": (sequence(lambda x: x.flip(3), CONV), (5, None)),
    "side by side twice": (lambda x: x.repeat(1, 1, 1, 2), (3, 3)),
    "side by side twice, then a window": (sequence(lambda x: x.repeat(1, 1, 1, 2), CONV), (5, None)),
    "some rows and all rows": (lambda x: (functional.pad(x[:, :, :5], (0, 0, 0, 19)) + x).mean(2), ("all", 3)),
    "some rows of those that were flipped": (lambda x: x.flip(2)[:, :, :5].mean(2), (None, 3)),
    "some rows, twice": (lambda x: (x[:, :, :5] + x[:, :, 1:6]).mean(2), (8, 3)),
    "columns chosen": (lambda x: x[..., torch.tensor([1, 1, 3], device=x.device)].mean(3), (3, None)),
    "channels chosen": (lambda x: x[:, torch.tensor([1, 1, 3], device=x.device)], (3, 3)),
    "flipped, then the mean": (lambda x: x.flip(3).mean((2, 3)), BOTH),
    "rolled, then a window, then the mean": (sequence(lambda x: x.roll(1, 2), CONV, nn.AdaptiveAvgPool2d(1)), BOTH),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_is_global_and_what_is_not(name: str) -> None:
    layer, expected = GLOBAL[name]
    assert field(CONV, layer) == expected


def shuffled(x: Tensor) -> Tensor:
    """The map in an order that mixes rows and columns."""
    return x.reshape(1, 4, 16, 30)


def written_piece_by_piece(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :, :7] = x[:, :, 5:12]
    made[:, :, 7:14] = x[:, :, :7]
    return made


def swapped_within_itself(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :, 4:] = x[:, :, 4:]
    made[:, :, :7] = made[:, :, 14:21]
    return made


def seen_by_another(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    corner = made[:, :, :7, :7]
    made[:, :, :10] = x[:, :, :10]
    return corner


def some_channels_written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, :2] = x[:, :2]
    return made


def changed_behind_its_back(x: Tensor) -> Tensor:
    y = x * 1
    view = y[:, :, 2:]
    view += functional.max_pool2d(x, 5, 1, 2)[:, :, 2:]
    return y


UNKNOWN: dict[str, Sequence[nn.Module | Callable[[Tensor], Tensor]]] = {
    "two strides added": [lambda x: x[..., ::2, ::2] + x[..., :12, :10]],
    "two strides side by side": [lambda x: torch.cat((x[..., ::2, ::2], x[..., :12, :10]), 1), nn.Conv2d(8, 1, 1)],
    "transposed and added": [lambda x: x[..., :20, :] + x[..., :20, :].mT],
    "a window after a reshape": [shuffled, CONV],
    "attention in windows": [lambda x: axial(x.unflatten(2, (6, 4)).permute(0, 2, 4, 3, 1)).permute(0, 4, 1, 3, 2).flatten(2, 3)],
    "flipped and added": [lambda x: x + x.flip(2, 3)],
    "rolled": [lambda x: x.roll((1, 2), (2, 3)), CONV],
    "halves side by side": [lambda x: torch.cat((x[:, :, 9:], x[:, :, :9]), 2)[..., torch.arange(19, -1, -1, device="meta")]],
    "columns in another order": [lambda x: x[..., torch.arange(20, device="meta")][:, :, torch.arange(24, device="meta")]],
    "the spectrum": [lambda x: torch.fft.fft2(x).abs()],
    "written piece by piece": [written_piece_by_piece],
    "swapped within itself": [swapped_within_itself],
    "seen by another tensor": [seen_by_another],
    "some channels written": [some_channels_written],
    "changed behind its back": [changed_behind_its_back],
    "a grid that is sampled": [lambda x: functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)],
    "unpooled": [lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), [2, 2])],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_told(name: str) -> None:
    assert field(CONV, *UNKNOWN[name]) is None


def test_two_strides_side_by_side_have_none_in_common() -> None:
    layer = cnnprof.profile(sequence(CONV, lambda x: torch.cat((x[..., ::2, ::2], x[..., :12, :10]), 1)), (4, 24, 20)).root
    assert (layer.receptive_field, layer.stride) == ((3, 3), None)


def test_a_reshape_keeps_what_each_element_has_seen() -> None:
    assert field(CONV, shuffled) == (3, 3)
    assert field(CONV, shuffled, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1)) == BOTH


# inputs and modules of other kinds


def test_a_vector_has_no_axes() -> None:
    layers = cnnprof.profile(sequence(nn.Linear(8, 4), nn.ReLU()), (8,)).layers
    assert [(layer.receptive_field, layer.stride) for layer in layers] == [((), ())] * 2


def test_several_inputs_count_as_the_first() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return functional.max_pool2d(x, 3) + y

    assert cnnprof.profile(Two(), [(2, 12, 12), (2, 4, 4)]).root.receptive_field == (3, 3)
    assert cnnprof.profile(Two(), {"x": (2, 12, 12), "y": (2, 4, 4)}).root.receptive_field == (3, 3)


def test_what_depends_on_no_pixel() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.relu() + torch.zeros_like(x)

    assert cnnprof.profile(Constant(), (2, 4, 4)).root.receptive_field is None


def test_the_last_step_of_a_causal_network() -> None:
    layers = [layer for n in range(4) for layer in (nn.ConstantPad1d((2**n * 2, 0), 0.0), nn.Conv1d(2, 2, 3, dilation=2**n))]
    layer = cnnprof.profile(sequence(*layers, lambda x: x[:, :, -1], nn.Linear(2, 1)), (2, 100)).root
    assert layer.receptive_field == (31,)  # 1 + 2 * (1 + 2 + 4 + 8)
    assert layer.stride is None


def test_a_recurrent_layer_has_seen_what_came_before() -> None:
    # 5 steps of 6 numbers: an axis of 6 that the layer reads whole.
    assert cnnprof.profile(nn.LSTM(6, 3, batch_first=True), (5, 6)).root.receptive_field == ("all",)


def test_an_image_that_is_smaller_than_the_field() -> None:
    small, large = (cnnprof.profile(cnnprof.load("resnet18"), (3, n, n)).layers[-4].receptive_field for n in (32, 224))
    assert small == large == (435, 435)


def test_nothing_is_left_on_tensors() -> None:
    kept: list[Tensor] = []

    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1, 2, 8, 8, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            seen = self.get_buffer("seen")
            seen.copy_(functional.max_pool2d(x, 3, 1, 1))
            kept.append(seen + 1)
            return kept[-1]

    module = Keeps()
    x = torch.zeros(1, 2, 8, 8, device="meta")
    for _ in range(2):
        assert cnnprof.profile(module, x).root.receptive_field == (3, 3)
        assert all(vars(tensor) == {} for tensor in (module.get_buffer("seen"), *kept, x))
    assert kept


# the table of rules


def overloads() -> list[torch._ops.OpOverload]:
    """Every overload of aten that has a rule."""
    found = []
    for name in sorted(set(dir(torch.ops.aten))):
        packet = getattr(torch.ops.aten, name)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            found += [getattr(packet, overload) for overload in packet.overloads()]
    return [func for func in found if rule(func.name().partition("::")[2]) is not None and takes_tensors(func)]


def takes_tensors(func: torch._ops.OpOverload) -> bool:
    """Whether it does, and not one to write to, `out=`: those have no rules."""
    arguments = func._schema.arguments
    return any("Tensor" in str(one.type) for one in arguments) and not any(one.is_out for one in arguments)


def test_every_rule_takes_the_arguments_of_its_operators() -> None:
    found = overloads()
    assert len(found) > 300
    for func in found:
        taken = inspect.signature(rule(func.name().partition("::")[2]) or check)
        arguments = func._schema.arguments
        positional = [one.name for one in arguments if not one.kwarg_only]
        required = [one.name for one in arguments if not one.kwarg_only and not one.has_default_value()]
        named = {one.name: one for one in arguments if one.kwarg_only}
        taken.bind("look", "made", *positional, **named)
        taken.bind("look", "made", *required)


# what is printed


class Decoder(nn.Sequential):
    """Half a pixel on, and differently high and wide."""

    def __init__(self) -> None:
        last = Do(lambda x: functional.max_pool2d(x.roll(1, 3), (1, 2), 1)), nn.AdaptiveAvgPool2d(1)
        super().__init__(nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 2, (3, 1)), *last)


def decoder() -> cnnprof.Profile:
    return cnnprof.profile(Decoder(), (2, 8, 8))


def test_the_columns_of_a_table() -> None:
    table = read_table(printed(decoder(), View(columns=("kind", "field", "stride"))))
    assert table.headings == ["kind", "field", "stride"]
    assert table.rows == [["1", "1/2"], ["2x1", "1/2"], ["2x-", "1/2x-"], ["all", "-"]]


def test_the_columns_are_defined_where_they_are_shown() -> None:
    for name in ("table", "markdown", "latex"):
        shown, hidden = (printed(decoder(), View(columns=columns), name) for columns in (("layer", "field"), ()))
        assert "as if there were no borders" in " ".join(shown.split())
        assert "as if there were no borders" not in " ".join(hidden.split())


def test_machine_formats() -> None:
    rows = json.loads(printed(decoder(), format="json"))
    assert [row["receptive_field"] for row in rows["layers"]] == [[1, 1], [2, 1], [2, None], ["all", "all"]]
    assert [row["stride"] for row in rows["layers"]] == [["1/2", "1/2"], ["1/2", "1/2"], ["1/2", None], None]
    assert rows["containers"][0]["receptive_field"] == ["all", "all"]
    assert printed(decoder(), View(columns=("kind", "receptive_field", "stride")), "csv").splitlines()[:4] == [
        "kind,receptive_field,stride",
        "ConvTranspose2d,1x1,1/2x1/2",
        "Conv2d,2x1,1/2x1/2",
        "Do,2x-,1/2x-",
    ]


def test_a_saved_profile_has_them() -> None:
    profile = decoder()
    read = read_profile(Source("net.json", printed(profile, format="json")))
    for before, after in zip(profile.layers, read.layers, strict=True):
        assert (after.receptive_field, after.stride) == (before.receptive_field, before.stride)
    assert read.root.receptive_field == ("all", "all")


def test_sorting_by_the_field() -> None:
    table = read_table(printed(decoder(), View(columns=("kind", "field"), sort="field")))
    assert [row[0] for row in table.rows] == ["all", "2x1", "2x-", "1"]


def test_equal_blocks_in_one_row_show_the_field_of_the_last() -> None:
    profile = cnnprof.profile(cnnprof.load("resnet50"), (3, 224, 224))
    lines = printed(profile, View(columns=("layer", "field"))).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("stage1.1 x2:", "stage3.1 x5:"))] == ["35", "267"]
