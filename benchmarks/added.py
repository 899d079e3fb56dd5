"""What one part adds to the rest: the Python path, the trace of storages, training, and the check of a whole lock.

    module     profile() of a ResNet-50 written in Python, with values on the CPU, against the same on the meta device and
               against that of the spec
    tracking   passes that follow every storage against the same passes that do not: inference, and two iterations of training
    training   cnnprof summarize resnet50 --training against the same without, as whole processes
    check      cnnprof check of all bundled networks against `python -c "import torch"`, for each network

The first two in this process, each side once before anything is counted; all sides take turns, those with an untimed run first and
then for a third of a second. The ratio is that of the medians.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch

import cnnprof
from benchmarks.growth import IMAGE, against, measured
from benchmarks.plain_networks import resnet50
from benchmarks.startup import TORCH, bundled, program
from benchmarks.timing import Line, interleaved, options, process, report
from cnnprof.profiling.ledger import Ledger
from cnnprof.profiling.training import train

PYTHON_PATH = 1.1
TRACKING = 1.25
TRAINING_SECONDS = 0.6
CHECK_SECONDS = 0.1
"""Of each network."""
LOCK = Path(__file__).resolve().parent.parent / "cnnprof.lock"


def untracked(work: Callable[[], object]) -> object:
    """What the work answers while no storage is followed."""
    with (
        patch.object(Ledger, "note", lambda *_: None),
        patch.object(Ledger, "add", lambda _, tensor, *by: tensor.untyped_storage().nbytes()),
    ):
        return work()


def in_process(runs: int) -> list[Line]:
    """The lines of what is measured in this process."""
    written, spec = resnet50(), cnnprof.load("resnet50")
    with torch.device("meta"):
        empty = resnet50()
    inference = partial(cnnprof.profile, empty, IMAGE)
    training = partial(train, empty, IMAGE, batch=2, optimizer="adam")
    sides: dict[str, Callable[[], object]] = {
        "profile a Python module on the CPU": partial(cnnprof.profile, written, IMAGE),
        "profile it on the meta device": partial(cnnprof.profile, empty, IMAGE),
        "profile the spec's module": partial(cnnprof.profile, spec, IMAGE),
        "inference, tracked": inference,
        "inference, untracked": partial(untracked, inference),
        "training, tracked": training,
        "training, untracked": partial(untracked, training),
    }
    samples = measured(sides, runs)
    module, on_meta, of_spec, *pairs = sides
    found = [against(samples, module, of_spec, PYTHON_PATH), against(samples, module, on_meta)]
    return found + [against(samples, pairs[place], pairs[place + 1], TRACKING) for place in (0, 2)]


def whole_processes(runs: int) -> list[Line]:
    """The lines of what is measured as whole processes: seconds more than the other side, against the seconds allowed."""
    sides = {
        TORCH: process(sys.executable, "-c", "import torch"),
        "check": process(*program(), "check", "--lock", LOCK),
        "summarize": process(*program(), "summarize", "resnet50"),
        "training": process(*program(), "summarize", "resnet50", "--training"),
    }
    interleaved(sides, 1)
    times = {name: [run.seconds for run in of] for name, of in interleaved(sides, runs).items()}

    def beyond(name: str, other: str, parts: int = 1) -> tuple[float, ...]:
        return tuple((seconds - median(times[other])) / parts for seconds in times[name])

    networks = len(bundled())
    added = beyond("training", "summarize")
    each = beyond("check", TORCH, networks)
    return [
        Line("summarize resnet50: what --training adds", "s", added, "allowed", (TRAINING_SECONDS,), 1),
        Line(f"check of {networks} networks beyond import torch, each", "s", each, "allowed", (CHECK_SECONDS,), 1),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    chosen = options(__doc__ or "", runs=11, fewest=5).parse_args(argv)
    report("added", [*in_process(chosen.runs), *whole_processes(min(chosen.runs, 7))], [], chosen)


if __name__ == "__main__":
    main()
