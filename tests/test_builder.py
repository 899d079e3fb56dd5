"""The language's meaning: what module a spec becomes, and where each part of it stands."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cnnprof
from cnnprof.errors import Source, SpecError
from cnnprof.nets.builder import Network, build
from cnnprof.spec import parser, target


def built(text: str, settings: tuple[str, ...] = (), variant: str | None = None) -> Network:
    return build(parser.parse(Source("net.yaml", text)), "net", variant, target.settings(settings))


def layers(network: Network) -> list[str]:
    """Each leaf as `path: Class`, in order."""
    return [
        f"{path}: {type(module).__name__}"
        for path, module in network.module.named_modules()
        if path and not list(module.children()) and not isinstance(module, nn.Sequential)
    ]


def weights(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def test_arguments_by_position_by_name_and_alone_are_torchs_own() -> None:
    net = built(
        """
input: 3x32x32
layers:
  - Conv2d: [8, [3, 5], 2]
  - Conv2d: {kernel_size: 3, out_channels: 4, padding: same, bias: false}
  - Conv2d: {out_channels: 4, kernel_size: 3, padding_mode: reflect, padding: 1}
  - AdaptiveAvgPool2d: {output_size: [4, 2]}
  - Flatten
  - Linear: 10
""",
    ).module
    expected = nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), 2),
        nn.Conv2d(8, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.AdaptiveAvgPool2d((4, 2)),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    assert [repr(layer) for layer in net] == [repr(layer) for layer in expected]  # type: ignore[attr-defined]
    assert all(parameter.is_meta for parameter in net.parameters())
    assert net.training


def test_the_layers_have_what_torchs_own_have_and_nothing_else() -> None:
    """They are made without values, for which the builder steps in where a layer is made."""
    net = built(
        """
input: 4x8x8
layers:
  [Conv2d: [8, 3], ConvTranspose2d: [8, 3], BatchNorm2d, GroupNorm: 2, PReLU: 8, ReLU, Flatten, LayerNorm: [[512]], Linear: 10]
""",
    ).module
    with torch.device("meta"):
        expected = (
            *(nn.Conv2d(4, 8, 3), nn.ConvTranspose2d(8, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8)),
            *(nn.PReLU(8), nn.ReLU(), nn.Flatten(), nn.LayerNorm([512]), nn.Linear(512, 10)),
        )
    for layer, own in zip(net.children(), expected, strict=True):
        assert list(vars(layer)) == list(vars(own))
        described = [
            (name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in layer.state_dict(keep_vars=True).items()
        ]
        assert described == [
            (name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in own.state_dict(keep_vars=True).items()
        ]


def test_the_example_of_the_language_is_resnet50_of_torchvision() -> None:
    """The sizes of torchvision's first bottleneck and its downsampling, in the order of its state_dict."""
    net = cnnprof.load("resnet50")
    assert weights(net)[:8] == [(64, 3, 7, 7), (64,), (64,), (64, 64, 1, 1), (64,), (64,), (64, 64, 3, 3), (64,)]
    assert weights(net)[11:14] == [(256,), (256, 64, 1, 1), (256,)]
    strides = [tuple(m.stride) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count((2, 2)) == 1 + 3 * 2  # the stem; in stages 2 to 4 a 3x3 and a shortcut


def test_for_zips_and_repeat_and_first() -> None:
    net = built(
        """
input: 3x32x32
layers:
  - Conv2d: {out_channels: w, kernel_size: 3, padding: 1}
    name: stage
    for: {w: [4, 8], s: [1, 2], n: [1, 3]}
    repeat: n
    first: {stride: s}
""",
    )
    assert layers(net) == ["stage1.0: Conv2d", "stage2.0: Conv2d", "stage2.1: Conv2d", "stage2.2: Conv2d"]
    convs = [m for m in net.module.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convs] == [(3, 4, 1), (4, 8, 2), (8, 8, 1), (8, 8, 1)]


def test_if_sees_what_enters_and_the_loop() -> None:
    net = built(
        """
input: 3x8x8
layers:
  - Conv2d: [w, 1]
    for: {w: [3, 4, 4, 5]}
    if: w != in_channels
""",
    )
    convs = [m for m in net.module.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(3, 4), (4, 5)]


def test_a_default_is_evaluated_where_the_block_is_entered() -> None:
    net = built(
        """
input: 8x8x8
vars: {ratio: 4}
blocks:
  squeeze(out, mid=in_channels//ratio, again=mid*2):
    - Conv2d: [mid, 1]
    - Conv2d: [again, 1]
    - Conv2d: [out, 1]
layers:
  - squeeze: 16
  - squeeze: {out: 4, again: 3}
""",
    )
    assert [m.out_channels for m in net.module.modules() if isinstance(m, nn.Conv2d)] == [2, 4, 16, 4, 3, 4]


def test_a_block_does_not_see_the_callers_names() -> None:
    with pytest.raises(SpecError, match='unknown variable "w"'):
        built("input: 3x8x8\nblocks: {b: [Conv2d: [w, 3]]}\nlayers:\n  - b:\n    for: {w: [4, 8]}\n")


def test_unnamed_groups_join_what_is_around_them_and_named_ones_are_containers() -> None:
    net = built(
        """
input: 3x8x8
layers:
  - ReLU
  - do: [ReLU, ReLU]
    repeat: 2
  - do: [Tanh]
    name: head
  - Tanh:
    name: act
    repeat: 2
""",
    )
    assert [line.partition(":")[0] for line in layers(net)] == ["0", "1", "2", "3", "4", "head.0", "act.0", "act.1"]


def test_joins_and_their_branches() -> None:
    net = built(
        """
input: 4x8x8
layers:
  - add: {main: [Conv2d: [4, 3, 1, 1]], skip: []}
  - cat: {a: [Conv2d: [2, 1]], b: {ReLU: , if: in_channels > 4}, c: {do: [], if: in_channels == 4}}
  - mul: {map: [], gate: [AdaptiveAvgPool2d: 1, Sigmoid]}
""",
    ).module
    x = torch.empty(2, 4, 8, 8, device="meta")
    assert net(x).shape == (2, 6, 8, 8)
    assert [list(join._modules) for join in net] == [["main", "skip"], ["a", "c"], ["map", "gate"]]  # type: ignore[attr-defined]


def test_joins_compute_what_they_say() -> None:
    text = "input: 2x4x4\nlayers:\n  - {}: {{a: [ReLU], b: []}}\n"
    x = torch.randn(3, 2, 4, 4)
    for kind, expected in (("add", x.relu() + x), ("mul", x.relu() * x), ("cat", torch.cat([x.relu(), x], 1))):
        assert torch.equal(built(text.format(kind)).module(x), expected)


def test_a_variable_names_a_layer_or_a_block() -> None:
    text = """
input: 3x8x8
vars: {act: ReLU, unit: plain}
blocks:
  plain(out): [Conv2d: [out, 3], $act]
  wide(out): [Conv2d: [2*out, 3], $act]
layers:
  - $unit: 4
"""
    assert layers(built(text)) == ["0.0: Conv2d", "0.1: ReLU"]
    other = built(text, ("act=SiLU", "unit=wide"))
    assert layers(other) == ["0.0: Conv2d", "0.1: SiLU"]
    assert weights(other.module)[0][0] == 8


def test_a_block_takes_the_name_of_a_layer() -> None:
    net = built("input: 3x8x8\nblocks:\n  unit(act): [Conv2d: [4, 3], $act]\nlayers:\n  - unit: SiLU\n  - unit: {act: GELU}\n")
    assert [type(m) for m in net.module.modules() if type(m) in (nn.SiLU, nn.GELU)] == [nn.SiLU, nn.GELU]


VARIANTS = """
input: [3, size, size]
vars: {classes: 10, half: classes // 2, size: 8}
variants:
  small: {depth: [1, 1]}
  large: {depth: [2, 3], size: 16}
layers:
  - ReLU:
    for: {n: depth}
    repeat: n
  - Flatten
  - Linear: half
"""


def test_variants_and_settings() -> None:
    assert len(built(VARIANTS).module) == 4  # type: ignore[arg-type]
    assert len(built(VARIANTS, variant="large").module) == 7  # type: ignore[arg-type]
    assert built(VARIANTS, variant="large").input_shape == (3, 16, 16)
    assert built(VARIANTS, ("classes=6",)).module[-1].out_features == 3  # type: ignore[index]
    assert len(built(VARIANTS, ("depth=[4,4]", "size=4")).module) == 10  # type: ignore[arg-type]


def test_each_module_knows_its_line() -> None:
    net = built("input: 3x8x8\nblocks:\n  b(w):\n    - Conv2d: [w, 3]\nlayers:\n  - b: 4\n    name: first\n  - ReLU\n")
    assert {path: span.line for path, span in net.lines.items()} == {"first": 6, "first.0": 4, "1": 8}


def test_the_chain_of_blocks_is_told_with_its_values() -> None:
    text = "input: 3x8x8\nblocks:\n  a(w, k=9):\n    - Conv2d: [w, k]\n  b(w): [a: 2*w]\nlayers:\n  - b: 4\n"
    with pytest.raises(SpecError) as caught:
        built(text)
    assert [frame.call for frame in caught.value.frames][:2] == ["b(w=4)", "a(w=8, k=9)"]
    assert str(caught.value.span) == "net.yaml:4:7"


def test_load_on_cpu_is_what_torch_makes() -> None:
    torch.manual_seed(0)
    net = cnnprof.load("lenet", device="cpu", classes=5)
    torch.manual_seed(0)
    expected = nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.MaxPool2d(3), nn.ReLU(), nn.Conv2d(32, 64, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 5),
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), expected.parameters(), strict=True))
    x = torch.randn(4, 1, 28, 28)
    assert torch.equal(net(x), expected(x))


def test_dtype() -> None:
    net = cnnprof.load("lenet", dtype=torch.float16)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float16}


def test_the_state_of_torch_is_left_alone() -> None:
    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.random.get_rng_state()
    cnnprof.profile(cnnprof.load("resnet18"), (3, 64, 64))
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
