"""How the time of profiling grows with the network, the batch and the width, and what it is beside a bare forward pass.

    chain      profile() of a given chain of 10 to 10,000 layers, and load() of the same from a spec
    batch      profile() of AlexNet for a batch of 1 to 10^6
    width      load() and profile() of one Linear layer, up to 10^6 x 10^6, against LeNet
    resnet152  profile() of a ResNet-152 against its forward pass on the meta device,
               and against torchinfo where that is installed

All in this process and on the meta device, each side once before anything is counted; then they take turns.
The ratio is that of the medians.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import cnnprof
from benchmarks.timing import Line, interleaved, options, report, seconds

CHAIN = (10, 100, 1_000, 10_000)
CHAIN_RATIO = 11
BATCHES = (1, 1_000, 1_000_000)
WIDTHS = (1_000, 1_000_000)
LINEAR_RATIO = 1
BARE_FORWARD = 0.25
TORCHINFO = 0.15
IMAGE = (3, 224, 224)

Sides = Mapping[str, Callable[[], object]]
Samples = dict[str, tuple[float, ...]]


def measured(sides: Sides, runs: int) -> Samples:
    """Seconds of each run of each side, by its name."""
    timed = {name: seconds(work) for name, work in sides.items()}
    interleaved(timed, 1)
    return {name: tuple(taken) for name, taken in interleaved(timed, runs).items()}


def against(samples: Samples, what: str, reference: str, bound: float | None = None) -> Line:
    """The line that holds one side against another."""
    return Line(what, "s", samples[what], reference, samples[reference], bound)


def chain(layers: int) -> nn.Module:
    """A chain of that many layers on the meta device, convolutions and activations by turns."""
    with torch.device("meta"):
        pairs = ((nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(layers // 2))
        return nn.Sequential(*(layer for pair in pairs for layer in pair)).eval()


def chain_spec(layers: int) -> str:
    """The spec of the same chain."""
    pair = "do: [Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}, ReLU]"
    return f"input: 8x32x32\nlayers:\n  - {pair}\n    repeat: {layers // 2}\n"


def chain_lines(runs: int, folder: Path) -> list[Line]:
    """Each chain against the one of a tenth of its layers."""
    sides: dict[str, Callable[[], object]] = {}
    for layers in CHAIN:
        path = folder / f"chain{layers}.yaml"
        path.write_text(chain_spec(layers), encoding="utf-8")
        sides[f"profile a chain of {layers:,}"] = partial(cnnprof.profile, chain(layers), (8, 32, 32))
        sides[f"load a chain of {layers:,}"] = partial(cnnprof.load, str(path))
    samples = measured(sides, runs)
    return [
        against(samples, f"{verb} {long:,}", f"{verb} {short:,}", CHAIN_RATIO if long == CHAIN[-1] else None)
        for verb in ("profile a chain of", "load a chain of")
        for short, long in pairwise(CHAIN)
    ]


def batch_lines(runs: int) -> list[Line]:
    """AlexNet with a larger batch against AlexNet with one image."""
    net = cnnprof.load("alexnet")
    names = {batch: f"profile alexnet, batch {batch:,}" for batch in BATCHES}
    sides = {name: partial(cnnprof.profile, net, IMAGE, batch=batch) for batch, name in names.items()}
    samples = measured(sides, runs)
    first, *others = names.values()
    return [against(samples, name, first) for name in others]


def load_and_profile(target: str, shape: tuple[int, ...]) -> object:
    """The profile of a spec, from its text on."""
    return cnnprof.profile(cnnprof.load(target), shape)


def width_lines(runs: int, folder: Path) -> list[Line]:
    """One Linear layer as wide as that in both directions, against LeNet."""
    lenet = "load and profile lenet"
    sides: dict[str, Callable[[], object]] = {lenet: partial(load_and_profile, "lenet", (1, 28, 28))}
    for width in WIDTHS:
        path = folder / f"linear{width}.yaml"
        path.write_text(f"input: {width}\nlayers:\n  - Linear: {width}\n", encoding="utf-8")
        sides[f"load and profile Linear({width:,}, {width:,})"] = partial(load_and_profile, str(path), (width,))
    samples = measured(sides, runs)
    return [against(samples, name, lenet, LINEAR_RATIO) for name in samples if name != lenet]


class Bottleneck(nn.Module):
    """A bottleneck of ResNet (He et al. 2016), with the stride on the 3x3 as torchvision has it."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = 4 * width
        self.main = nn.Sequential(
            *(nn.Conv2d(entering, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, leaving, 1, bias=False), nn.BatchNorm2d(leaving)),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or entering != leaving:
            self.skip = nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both branches, rectified."""
        return self.relu(self.main(x) + self.skip(x))  # type: ignore[no-any-return]


def resnet152() -> nn.Module:
    """ResNet-152 on the meta device: 60,192,808 parameters."""
    with torch.device("meta"):
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        entering = 64
        for width, stride, depth in ((64, 1, 3), (128, 2, 8), (256, 2, 36), (512, 2, 3)):
            for index in range(depth):
                layers.append(Bottleneck(entering, width, 1 if index else stride))
                entering = 4 * width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, 1000)).eval()


def resnet_lines(runs: int) -> tuple[list[Line], list[str]]:
    """Profiling a ResNet-152 against what else one can do with it, and what could not be compared."""
    net = resnet152()
    ours, bare, peer = "profile resnet152", "forward pass on meta", "torchinfo on meta"

    def forward() -> object:
        with torch.no_grad():
            return net(torch.empty(1, *IMAGE, device="meta"))

    sides: dict[str, Callable[[], object]] = {ours: lambda: cnnprof.profile(net, IMAGE), bare: forward}
    bounds = {bare: BARE_FORWARD}
    notes = []
    if find_spec("torchinfo") is None:
        notes = ["torchinfo is not installed: no comparison with it"]
    else:
        import torchinfo

        sides[peer] = lambda: torchinfo.summary(net, input_size=(1, *IMAGE), device="meta", verbose=0)
        bounds[peer] = TORCHINFO
    samples = measured(sides, runs)
    return [against(samples, ours, other, bound) for other, bound in bounds.items()], notes


def main() -> None:
    """Measures and prints the table."""
    chosen = options(__doc__ or "", runs=7, fewest=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            *chain_lines(chosen.runs, Path(folder)),
            *batch_lines(chosen.runs),
            *width_lines(chosen.runs, Path(folder)),
        ]
    resnet, notes = resnet_lines(chosen.runs)
    report([*lines, *resnet], [f"torch {torch.__version__}", *notes], chosen.output)


if __name__ == "__main__":
    main()
