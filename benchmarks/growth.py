"""How time and memory grow with the network, the batch, the width and the resolution; the time, beside a bare forward pass.

    chain      profile() of a given chain of 10 to 10,000 layers, load() and profile() of the same from a spec,
               and a walk that only reads its modules
    batch      profile() of AlexNet for a batch of 1 to 10^6
    width      load() and profile() of one Linear layer, up to 10^6 x 10^6, against LeNet
    resnet152  profile() of a ResNet-152 against its forward pass on the meta device,
               and against torchinfo where that is installed
    summarize  the command as a whole process: layers, batch, width, and the resolution of ResNet-18

All but the last in this process and on the meta device, each side once before anything is counted; then they take turns, each with
an untimed run first and then for a third of a second. The ratio is that of the medians. With -o the file has every curve, point by
point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import nn

import cnnprof
from benchmarks.plain_networks import resnet152
from benchmarks.startup import program
from benchmarks.timing import Line, Run, Unit, drop_failing, interleaved, options, process, report, seconds

CHAIN = (10, 100, 1_000, 10_000)
CHAIN_RATIO = 11
CHAIN_ROUNDS = 3
"""Times as many as of the others: the longest is longer than many a disturbance."""
BATCHES = (1, 1_000, 1_000_000)
WIDTHS = (1_000, 1_000_000)
RESOLUTIONS = (32, 224, 1_024, 8_192)
SUMMARIZE_RUNS = 3
LINEAR_RATIO = 1
BARE_FORWARD = 0.25
TORCHINFO = 0.15
IMAGE = (3, 224, 224)
SMALL = (8, 32, 32)
"""What enters a chain."""

Sides = Mapping[str, Callable[[], object]]
Samples = dict[str, tuple[float, ...]]
Curve = dict[str, object]
"""For a chart: the `axis`, the `series` and its `unit`, and `points` of x and y."""


def measured(sides: Sides, runs: int) -> Samples:
    """Seconds of each run of each side, by its name."""
    timed = {name: seconds(work) for name, work in sides.items()}
    interleaved(timed, 1)
    return {name: tuple(taken) for name, taken in interleaved(timed, runs).items()}


def against(samples: Samples, what: str, reference: str, bound: float | None = None) -> Line:
    """The line that holds one side against another."""
    return Line(what, "s", samples[what], reference, samples[reference], bound)


def curve(axis: str, series: str, unit: str, points: Mapping[int, Sequence[float]]) -> Curve:
    """The medians at each x."""
    return {"axis": axis, "series": series, "unit": unit, "points": [[x, median(samples)] for x, samples in points.items()]}


def chain(layers: int) -> nn.Module:
    """A chain of that many layers on the meta device, convolutions and activations by turns."""
    with torch.device("meta"):
        pairs = ((nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(layers // 2))
        return nn.Sequential(*(layer for pair in pairs for layer in pair)).eval()


def chain_spec(layers: int) -> str:
    """The spec of the same chain."""
    pair = "do: [Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}, ReLU]"
    return f"input: 8x32x32\nlayers:\n  - {pair}\n    repeat: {layers // 2}\n"


def read(net: nn.Module) -> object:
    """What a profile has to know of each layer of such a chain, each once, with nothing made of it."""
    seen: list[object] = []
    for layer in net._modules.values():
        assert layer is not None
        own, parameters = layer.__dict__, layer.__dict__["_parameters"]
        hooks = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
        if parameters:
            sizes = parameters["weight"].shape, parameters["bias"].shape
            seen.append((hooks, sizes, own["stride"], own["padding"], own["dilation"], own["groups"], own["padding_mode"]))
        else:
            seen.append((hooks, own["inplace"]))
    return seen


def chain_lines(runs: int, folder: Path) -> tuple[list[Line], list[Curve]]:
    """Each chain against the one of a tenth of its layers. Given modules and files apart: what is short is less disturbed."""
    files = {layers: folder / f"chain{layers}.yaml" for layers in CHAIN}
    for layers, path in files.items():
        path.write_text(chain_spec(layers), encoding="utf-8")
    given = {layers: chain(layers) for layers in CHAIN}
    kinds: dict[str, tuple[Sides, float | None]] = {
        "profile()": ({f"profile a chain of {n:,}": partial(cnnprof.profile, net, SMALL) for n, net in given.items()}, CHAIN_RATIO),
        "load() and profile()": (
            {f"load and profile a chain of {n:,}": partial(load_and_profile, str(path), SMALL) for n, path in files.items()},
            CHAIN_RATIO,
        ),
        "reading": ({f"only read a chain of {n:,}": partial(read, net) for n, net in given.items()}, None),
    }
    lines, curves = [], []
    for series, (sides, bound) in kinds.items():
        samples = measured(sides, CHAIN_ROUNDS * runs)
        if bound is not None:  # the walk, which is so much shorter, would press the others together
            curves.append(curve("layers", series, "s", dict(zip(CHAIN, samples.values(), strict=True))))
        for short, long in pairwise(sides):
            lines.append(against(samples, long, short, bound if long == list(sides)[-1] else None))
    return lines, curves


def batch_lines(runs: int) -> tuple[list[Line], list[Curve]]:
    """AlexNet with a larger batch against AlexNet with one image."""
    net = cnnprof.load("alexnet")
    names = {batch: f"profile alexnet, batch {batch:,}" for batch in BATCHES}
    sides = {name: partial(cnnprof.profile, net, IMAGE, batch=batch) for batch, name in names.items()}
    samples = measured(sides, runs)
    first, *others = names.values()
    curves = [curve("batch", "profile()", "s", {batch: samples[name] for batch, name in names.items()})]
    return [against(samples, name, first) for name in others], curves


def load_and_profile(target: str, shape: tuple[int, ...]) -> object:
    """The profile of a spec, from its text on."""
    return cnnprof.profile(cnnprof.load(target), shape)


def width_lines(runs: int, folder: Path) -> tuple[list[Line], list[Curve]]:
    """One Linear layer as wide as that in both directions, against LeNet."""
    lenet = "load and profile lenet"
    sides: dict[str, Callable[[], object]] = {lenet: partial(load_and_profile, "lenet", (1, 28, 28))}
    names = {width: f"load and profile Linear({width:,}, {width:,})" for width in WIDTHS}
    for width, name in names.items():
        sides[name] = partial(load_and_profile, linear(width, folder), (width,))
    samples = measured(sides, runs)
    curves = [curve("width", "load() and profile()", "s", {width: samples[name] for width, name in names.items()})]
    return [against(samples, name, lenet, LINEAR_RATIO) for name in names.values()], curves


def linear(width: int, folder: Path) -> str:
    """The file of a spec with one Linear layer as wide as that in both directions."""
    path = folder / f"linear{width}.yaml"
    path.write_text(f"input: {width}\nlayers:\n  - Linear: {width}\n", encoding="utf-8")
    return str(path)


READINGS: Mapping[Unit, Callable[[Run], float]] = {"s": lambda run: run.seconds, "MiB": lambda run: run.peak_mib}


def summarize_lines(runs: int, folder: Path) -> tuple[list[Line], list[Curve]]:
    """Time and memory of the command as a whole process, against the smallest of its kind."""
    targets: dict[str, dict[int, tuple[str, ...]]] = {
        "layers": {layers: (str(folder / f"chain{layers}.yaml"),) for layers in CHAIN},
        "batch": {batch: ("alexnet", "--batch", str(batch)) for batch in BATCHES},
        "width": {width: (linear(width, folder),) for width in WIDTHS},
        "resolution": {size: ("resnet18", "--input", f"3x{size}x{size}") for size in RESOLUTIONS},
    }
    names = {axis: {x: f"summarize, {axis} {x:,}" for x in points} for axis, points in targets.items()}
    work = {names[axis][x]: process(*program(), "summarize", *of) for axis, points in targets.items() for x, of in points.items()}
    if troubles := drop_failing(work):
        raise RuntimeError("; ".join(troubles))
    samples = interleaved(work, runs)
    lines, curves = [], []
    for axis, of in names.items():
        least = next(iter(of.values()))
        for unit, reading in READINGS.items():
            values = {name: tuple(map(reading, samples[name])) for name in of.values()}
            lines += [Line(name, unit, values[name], least, values[least]) for name in of.values() if name != least]
            curves.append(curve(axis, "cnnprof summarize", unit, {x: values[name] for x, name in of.items()}))
    return lines, curves


def resnet_lines(runs: int) -> tuple[list[Line], list[str]]:
    """Profiling a ResNet-152 against what else one can do with it, and what could not be compared."""
    with torch.device("meta"):
        net = resnet152().eval()
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


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    chosen = options(__doc__ or "", runs=7, fewest=5).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        parts = [
            chain_lines(chosen.runs, Path(folder)),
            batch_lines(chosen.runs),
            width_lines(chosen.runs, Path(folder)),
            summarize_lines(SUMMARIZE_RUNS, Path(folder)),
        ]
    resnet, notes = resnet_lines(chosen.runs)
    lines = [line for of, _ in parts for line in of]
    curves = [each for _, of in parts for each in of]
    report("growth", [*lines, *resnet], notes, chosen, {"curves": curves})


if __name__ == "__main__":
    main()
