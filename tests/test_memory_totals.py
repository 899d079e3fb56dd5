"""Sums, sizes beyond 64 bits, what counts once and what not at all, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory_networks import VGG
from module_pieces import Of
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from written_networks import GPT, NETWORKS

import cnnprof
from cnnprof.profiling import measured
from cnnprof.profiling.autocast import UntraceableError
from cnnprof.profiling.ledger import alive, bytes_of
from cnnprof.profiling.loop import TrainingError
from cnnprof.profiling.memory import Training
from cnnprof.profiling.profile import leaves
from cnnprof.profiling.training import retained_by_layer, train
from cnnprof.spec.library import entries

BUNDLED = sorted(entries())


def shape_of(name: str) -> tuple[int, ...]:
    return tuple(map(int, entries()[name].input.split("x")))


def of(net: nn.Module, inputs: Any, **options: Any) -> Training:
    return train(net, inputs, **options).training


# Sums


@pytest.mark.parametrize("name", BUNDLED)
def test_rows_add_up(name: str) -> None:
    net, shape = cnnprof.load(name), shape_of(name)
    run = train(net, shape, batch=2)
    found = run.training
    rows = sum(row.cost.retained_bytes for row in leaves(run.root))
    assert rows == run.root.cost.retained_bytes == found.live_after_forward.activations - found.loss_bytes
    assert run.root == retained_by_layer(net, shape, batch=2)
    before = sum(tensor.nbytes for tensor in (*net.parameters(), *net.buffers())) + 2 * 4 * torch.Size(shape).numel()
    assert found.live_after_forward.temporary == 0
    assert found.at_peak.total == found.peak_bytes
    assert before < found.live_after_forward.total <= found.first_backward_peak_bytes <= found.first_peak_bytes
    assert found.first_backward_peak_bytes <= found.peak_bytes


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg16", "resnet50", "googlenet_bn", "efficientnet_b0", "convolutional"])
def test_a_profile_has_the_same(name: str) -> None:
    net, shape = cnnprof.load(name), shape_of(name)
    run = train(net, shape, batch=2, optimizer="adam")
    profile = cnnprof.profile(net, shape, batch=2, optimizer="adam", retained=True)
    assert profile.training == run.training
    assert profile.retained_bytes == run.training.live_after_forward.activations - run.training.loss_bytes
    kept = {row.path: row.cost.retained_bytes for row in leaves(run.root)}
    assert {row.path: row.cost.retained_bytes for row in profile.layers} == kept
    assert profile.cost.retained_bytes == sum(row.cost.retained_bytes for row in profile.layers)


@pytest.mark.parametrize("name", ["lenet", "resnet18", "googlenet", "alexnet"])
def test_the_history_is_the_whole_story(name: str) -> None:
    """What lives is what was made and not freed; every figure can be had from the list of events."""
    run = train(cnnprof.load(name), shape_of(name), batch=2, optimizer="momentum")
    history, found = run.history, run.training
    live: set[int] = set()
    highest, seen = 0, []
    for event in history.events:
        if event >= 0:
            assert event not in live
            live.add(event)
        else:
            live.remove(~event)
        seen.append(sum(history.allocations[n].bytes for n in live))
    assert seen == list(history.live)
    start = next(phase.start for phase in history.phases if phase.iteration == 1)
    highest = max(seen[start - 1 :])
    assert highest == found.peak_bytes == seen[found.peak.event]
    assert bytes_of(history, alive(history, found.peak.event)) == highest
    kinds = Counter[str]()
    for n in alive(history, found.peak.event):
        kinds[run.kinds[n]] += history.allocations[n].bytes
    assert all(getattr(found.at_peak, kind) == size for kind, size in kinds.items())
    state = [phase.name for phase in history.phases]
    assert state == ["forward", "loss", "backward", "step", "zero_grad"] * 2
    assert found.peak.phase in state
    distinct = {one.allocation for one in run.saved if run.kinds[one.allocation] == "activations"}
    assert bytes_of(history, distinct) == found.saved_bytes
    assert sum(history.allocations[one.allocation].bytes for one in run.saved) > found.saved_bytes, "a raw sum counts twice"


# Sizes


MILLION = 10**6
SMALL_AND_LARGE = ["lenet", "lenet5", "alexnet", "vgg16", "resnet50", "googlenet_bn", "efficientnet_b0", "convolutional"]


@pytest.mark.parametrize("name", SMALL_AND_LARGE)
def test_a_batch_of_a_million(name: str) -> None:
    """What is kept is a part for the network and one for each sample."""
    net, shape = cnnprof.load(name), shape_of(name)
    few, more, many = (of(net, shape, batch=batch) for batch in (2, 3, MILLION))
    figures: list[Callable[[Training], int]] = [
        lambda t: t.saved_bytes,
        lambda t: t.live_after_forward.activations,
        lambda t: t.live_after_forward.total,
    ]
    for figure in figures:
        each = figure(more) - figure(few)
        assert each > 0
        assert figure(many) == figure(few) + (MILLION - 2) * each
    one, large = (cnnprof.profile(net, shape, batch=batch).inference_peak for batch in (1, MILLION))
    assert one is not None
    assert large is not None
    assert (large.bytes, large.path, large.operator) == (MILLION * one.bytes, one.path, one.operator)


def chain(layers: int) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1, device="meta") for i in range(layers)))


def test_a_million_images_of_100000_by_100000_pixels() -> None:
    """42 maps of 8 channels live: one of each convolution, the target, which is as large as the output, and the loss: torch makes
    room for the square of each difference before it takes their mean, and keeps that room."""
    pixels = MILLION * (10**5) ** 2
    found = of(chain(40), (3, 10**5, 10**5), batch=MILLION)
    kept = 40 * 8 * 4 * pixels
    assert kept > 2**63
    assert found.saved_bytes == kept
    loss = nn.functional.mse_loss(torch.zeros(4, 5), torch.zeros(4, 5))
    assert loss.untyped_storage().nbytes() == 4 * 5 * 4
    assert found.loss_bytes == 8 * 4 * pixels
    assert found.live_after_forward.activations == kept + found.loss_bytes
    assert found.live_after_forward.input == (3 + 8) * 4 * pixels
    assert found.live_after_forward.total == (42 * 8 + 3) * 4 * pixels + found.live_after_forward.parameters
    assert found.at_peak.total == found.peak_bytes
    # The same network on few pixels, whose figures grow as they do.
    few, more = (of(chain(40), (3, 1000, size)) for size in (1000, 2000))
    each, rest = divmod(more.peak_bytes - few.peak_bytes, 1000 * 1000)
    assert rest == 0
    assert found.peak_bytes == few.peak_bytes + (pixels - 1000 * 1000) * each


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "googlenet", "efficientnet_b0"])
def test_huge_images_in_networks(name: str) -> None:
    """A multiple of the sizes at which every map has whole pixels; classifiers of fixed size are told of the image first."""
    net = cnnprof.load(name, input_shape=(3, 10**5, 10**5))
    one, two, many = (of(net, (3, 10**5, 10**5), batch=batch) for batch in (1, 2, MILLION))
    each = two.live_after_forward.total - one.live_after_forward.total
    assert many.live_after_forward.total == one.live_after_forward.total + (MILLION - 1) * each
    assert many.peak_bytes > 2**63
    assert many.at_peak.total == many.peak_bytes
    small, large = (cnnprof.profile(net, (3, 10**5, 10**5), batch=batch).inference_peak for batch in (1, MILLION))
    assert small is not None
    assert large is not None
    assert large.bytes == MILLION * small.bytes


def test_a_single_tensor_is_below_two_to_the_63() -> None:
    """Which torch refuses, and so do we."""
    net, shape = nn.Conv2d(1, 64, 3, padding=1, device="meta"), (1, 10**5, 10**5)
    assert of(net, shape, batch=3 * MILLION).peak_bytes > 2**63
    for run, error in ((train, TrainingError), (cnnprof.profile, cnnprof.ProfileError)):
        with pytest.raises(error, match=r"Storage size calculation overflowed with sizes=\[4000000, 64, 100000, 100000\]"):
            run(net, shape, batch=4 * MILLION)
        with pytest.raises(cnnprof.UsageError, match="an input of 1000000000x1x100000x100000 is too large"):
            run(net, shape, batch=10**9)


# What counts once


def test_tied_weights() -> None:
    net = GPT()
    names = sum(1 for _ in net.named_parameters(remove_duplicate=False))
    own = list(net.parameters())
    assert names == len(own) + 1
    found = of(net, torch.zeros(1, 16, dtype=torch.int64), optimizer="adam")
    assert found.live_after_forward.parameters == sum(p.nbytes for p in own)
    assert found.at_peak.optimizer_state == sum(2 * p.nbytes + 4 for p in own)


@pytest.mark.parametrize("parts", [((0, 4), (4, 8)), ((0, 8), (4, 8)), ((4, 8), (0, 8))])
def test_parameters_that_are_views_of_one_storage(parts: tuple[tuple[int, int], tuple[int, int]]) -> None:
    base = torch.zeros(8, 4)
    first, second = (nn.Parameter(base[start:end]) for start, end in parts)
    net = Of(lambda m, x: torch.cat([x @ m.first.T, x @ m.second.T], 1), first=first, second=second)
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    for device in ("meta", "cpu"):
        assert of(net, (4,), device=device).live_after_forward.parameters == base.nbytes == 128


MAP = 8 * 6 * 6 * 4


def rows_of(run: Callable[..., Any], **members: Any) -> list[int]:
    """The bytes that each row retains of a network that begins with a convolution to 8 channels, for one image of 6x6."""
    net = Of(lambda m, x: run(m, m.stem(x)), stem=nn.Conv2d(3, 8, 1), **members)
    found = train(net, (3, 6, 6))
    assert found.training == of(net, (3, 6, 6), device="cpu")
    return [row.cost.retained_bytes for row in leaves(found.root)]


def kept_by(run: Callable[..., Any]) -> int:
    """Their sum, the output of the convolution included if it lives: its own backward does not need it."""
    return sum(rows_of(run))


def test_views_take_nothing() -> None:
    assert kept_by(lambda m, x: x) == MAP
    assert kept_by(lambda m, x: x.flatten(1).view(-1, 8, 36).transpose(1, 2)) == MAP
    assert kept_by(lambda m, x: x[:, 2:5].expand(3, -1, -1, -1)) == MAP
    assert kept_by(lambda m, x: x.chunk(2, 1)[0] + x.chunk(2, 1)[1]) == MAP // 2
    assert kept_by(lambda m, x: x.transpose(1, 2).contiguous()) == MAP


def test_a_view_keeps_all_of_what_it_is_a_view_of() -> None:
    assert kept_by(lambda m, x: (x + 1)[:, :1]) == MAP
    assert kept_by(lambda m, x: (x + 1)[:, :1] * 1.0) == MAP // 8
    assert kept_by(lambda m, x: (x + 1)[:, :1].sigmoid()) == MAP // 8
    assert kept_by(lambda m, x: (x + 1)[:, :1].sin()) == MAP + MAP // 8, "whose backward needs its input"


def test_in_place_operators_take_nothing() -> None:
    assert rows_of(lambda m, x: m.act(x), act=nn.ReLU()) == [0, MAP]
    assert rows_of(lambda m, x: m.act(x), act=nn.ReLU(inplace=True)) == [MAP, 0]
    assert rows_of(lambda m, x: m.act(x) * m.act(x), act=nn.SiLU()) == [MAP, MAP, MAP, MAP]
    assert kept_by(lambda m, x: x.add_(1).mul_(2).sigmoid_()) == MAP
    peaks = []
    for inplace in (True, False):
        found = cnnprof.profile(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(inplace)), (3, 6, 6)).inference_peak
        assert found is not None
        peaks.append(found.bytes)
    assert peaks == [3 * 36 * 4 + MAP, 3 * 36 * 4 + 2 * MAP]


def test_what_nobody_needs_is_not_retained() -> None:
    assert kept_by(lambda m, x: (x + 1) + 1) == MAP, "the first sum is gone, as is what it was made of"
    assert kept_by(lambda m, x: (x + 1) * 2) == MAP
    assert kept_by(lambda m, x: (x + 1).sigmoid().tanh()) == 2 * MAP, "each needs its result"
    assert kept_by(lambda m, x: (x + 1).sin().cos()) == 3 * MAP, "each needs its input, and the last is the output"
    assert kept_by(lambda m, x: x.sigmoid() * x) == 3 * MAP, "a product needs both"


class Keeping(nn.Module):
    """Keeps what its layers have made, as people do who look at features."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.keep = keep
        self.features: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        self.features = []
        x = self.stem(x)
        for _ in range(4):
            x = x + 1
            if self.keep:
                self.features.append(x)
        return x.mean((2, 3))


def test_activations_that_a_module_keeps() -> None:
    without, kept = Keeping(False), Keeping(True)
    low, high = of(without, (3, 6, 6)), of(kept, (3, 6, 6))
    assert high == of(kept, (3, 6, 6), device="cpu")
    assert high.live_after_forward.total - low.live_after_forward.total == 4 * MAP, "autograd needs none of them"
    assert high.saved_bytes == low.saved_bytes
    lower, higher = (cnnprof.profile(net, (3, 6, 6)).inference_peak for net in (without, kept))
    assert lower is not None
    assert higher is not None
    assert (lower.bytes, higher.bytes) == (3 * 36 * 4 + 2 * MAP, 3 * 36 * 4 + 4 * MAP + 8 * 4)
    assert not kept.features


# What is left out


class Stages(nn.Module):
    """Six stages of a map each."""

    def __init__(self, mode: str = "") -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid()) for _ in range(6))
        self.mode = mode

    def forward(self, x: Tensor) -> Any:
        stages: list[Any] = list(self.stages)
        if self.mode == "checkpoint":
            together = nn.Sequential(*stages[2:5])
            stages[2:5] = [lambda x: checkpoint(together, x, use_reentrant=False)]
        for number, stage in enumerate(stages):
            if self.mode == "no_grad" and number < 4:
                with torch.no_grad():
                    x = stage(x)
            else:
                x = stage(x)
        return x


def test_frozen_parameters() -> None:
    """A frozen beginning saves nothing, and has neither gradients nor state."""
    net = Stages()
    free = of(net, (8, 6, 6), optimizer="adam")
    assert free.saved_bytes == 6 * MAP, "a sigmoid saves its result, which is the input of what comes next"
    net.stages[:4].requires_grad_(False)
    frozen = of(net, (8, 6, 6), optimizer="adam")
    assert frozen == of(net, (8, 6, 6), optimizer="adam", device="cpu")
    assert frozen.saved_bytes == 3 * MAP, "the input of the fifth convolution and two results"
    each = (8 * 8 + 8) * 4
    assert (free.at_peak.parameters, frozen.at_peak.parameters) == (6 * each, 6 * each)
    assert (free.at_peak.optimizer_state, frozen.at_peak.optimizer_state) == (6 * (2 * each + 8), 2 * (2 * each + 8))


def test_no_grad() -> None:
    net = Stages("no_grad")
    found = train(net, (8, 6, 6))
    assert found.training == of(net, (8, 6, 6), device="cpu")
    assert found.training.saved_bytes == 3 * MAP
    kept = [row.cost.retained_bytes for row in leaves(found.root)]
    assert kept == [*[0, 0] * 3, 0, MAP, 0, MAP, 0, MAP]


FIRST = """
import sys
from torch import nn
from torch.utils.checkpoint import checkpoint
import cnnprof

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(4, 64, 1), nn.Conv2d(64, 4, 1)

    def forward(self, x):
        wide = self.wide(x)
        return checkpoint(self.narrow, wide, use_reentrant=False)

net = nn.Sequential(Block(), Block())
assert "torch._dynamo" not in sys.modules
found = [cnnprof.profile(net, (4, 32, 32)).inference_peak.bytes for _ in range(2)]
assert "torch._dynamo" in sys.modules
print(*found)
"""


def test_the_first_checkpoint_of_a_process_keeps_nothing() -> None:
    """It imports torch's compiler, which leaves garbage that holds on to the frames from which it was imported."""
    found = subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True, text=True, timeout=120).stdout
    channel = 32 * 32 * 4
    assert found.split() == 2 * [str((4 + 4 + 64 + 4) * channel)]  # the input, the first block's output, wide, narrow


def test_checkpoints_retain_less() -> None:
    """Of the third, fourth and fifth stage of six only the input and the output are kept. On meta: see `test_memory_truth`."""
    with torch.device("meta"):
        plain, again = of(Stages(), (8, 6, 6)), of(Stages("checkpoint"), (8, 6, 6))
    assert plain.live_after_forward.activations - plain.loss_bytes == 6 * MAP
    assert again.live_after_forward.activations - again.loss_bytes == 4 * MAP


# What is refused


def autocast(**options: Any) -> Callable[..., Any]:
    def forward(m: Any, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, **options):
            return m.conv(x)

    return forward


@pytest.mark.parametrize("run", [train, retained_by_layer])
def test_autocast(run: Callable[..., object]) -> None:
    """On meta it does nothing, and the figures would be those of float32."""
    conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(UntraceableError, match="autocast does nothing on the meta device"):
        run(Of(autocast(), conv=conv), (3, 8, 8))
    decorated = Of(torch.autocast("cpu", torch.bfloat16)(lambda m, x: m.conv(x)), conv=conv)
    with pytest.raises(UntraceableError):
        run(decorated, (3, 8, 8))
    with pytest.raises(UntraceableError), torch.autocast("cpu", torch.bfloat16):
        run(conv, (3, 8, 8))
    run(Of(autocast(enabled=False), conv=conv), (3, 8, 8))
    assert of(Of(autocast(), conv=conv), (3, 8, 8), device="cpu").saved_bytes != of(conv, (3, 8, 8)).saved_bytes


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.ReLU(), "there is nothing to train: no parameter requires a gradient"),
        (nn.Conv2d(3, 4, 3).requires_grad_(False), "there is nothing to train: no parameter requires a gradient"),
        (
            Of(lambda m, x: m.conv(x).detach(), conv=nn.Conv2d(3, 4, 3)),
            "there is nothing to train: the output depends on no parameter that requires a gradient",
        ),
        (Of(lambda m, x: 3, conv=nn.Conv2d(3, 4, 3)), "the first output is no floating point tensor, so it has no loss"),
        (Of(lambda m, x: m.conv(x).argmax(1), conv=nn.Conv2d(3, 4, 3)), "the first output is no floating point tensor"),
        (Of(lambda m, x: x[m.conv(x) > 0], conv=nn.Conv2d(3, 4, 3)), "cannot run without data"),
    ],
)
def test_what_cannot_be_trained(net: nn.Module, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        train(net, (3, 8, 8))
    assert message in str(caught.value)


def test_an_unknown_optimizer() -> None:
    with pytest.raises(TrainingError, match="the optimizer is one of sgd, momentum, adam, adamw, not rmsprop"):
        train(nn.Linear(3, 3), (3,), optimizer="rmsprop")


def test_constants_that_a_forward_makes() -> None:
    """`profile` and `retained_by_layer` put a stand-in in their place."""
    net = Of(lambda m, x: m.linear(x) * torch.ones(4), linear=nn.Linear(4, 4))
    cnnprof.profile(net, (4,), retained=True)
    assert train(net, (4,)).training.saved_bytes > 0


# The allocator


def loaded(name: str, shape: tuple[int, ...], batch: int) -> tuple[Callable[[], nn.Module], Any, int]:
    return lambda: cnnprof.load(name, input_shape=shape, device="cpu"), shape, batch


def small_vgg() -> nn.Module:
    net = nn.Sequential(VGG((16, 0, 32, 0), 10).features, nn.Flatten(), nn.Linear(32 * 12 * 12, 400), nn.ReLU(), nn.Linear(400, 10))
    return net.train()


ALLOCATED: dict[str, tuple[Callable[[], nn.Module], Any, int]] = {
    "lenet": loaded("lenet", (1, 28, 28), 64),
    "resnet18": loaded("resnet18", (3, 64, 64), 8),
    "googlenet": loaded("googlenet", (3, 64, 64), 8),
    "efficientnet_b0": loaded("efficientnet_b0", (3, 64, 64), 4),
    "vgg": (small_vgg, (3, 48, 48), 8),
    "siamese": (NETWORKS["siamese"][0], [(1, 12, 12), (1, 14, 14)], 32),
}


@pytest.mark.parametrize("name", ALLOCATED)
def test_the_allocator_of_the_cpu(name: str) -> None:
    """It hands out what operators return, and to kernels their workspace: never less, and here hardly more.

    Where maps of few channels are most of a network, oneDNN's copies of them, with the channels filled up to 16, are a large part
    of what LeNet-5, say, takes.
    """
    make, inputs, batch = ALLOCATED[name]
    net = make()
    predicted = of(net, inputs, batch=batch, optimizer="momentum").peak_bytes
    workspace = measured.allocated_training_peak(net, inputs, batch=batch, optimizer="momentum") - predicted
    assert 0 <= workspace <= max(0.010 * predicted, 2**16)


@pytest.mark.parametrize("name", ["lenet", "googlenet", "vgg", "siamese"])
def test_the_allocator_of_the_cpu_at_inference(name: str) -> None:
    """Without gradients there is less else, and oneDNN may hold a copy of the input and of the output: never less."""
    make, inputs, batch = ALLOCATED[name]
    found = cnnprof.profile(make(), inputs, batch=batch).inference_peak
    assert found is not None
    workspace = measured.allocated_inference_peak(make(), inputs, batch=batch) - found.bytes
    assert 0 <= workspace <= found.bytes
