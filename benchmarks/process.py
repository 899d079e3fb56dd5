"""Whole processes, from start to exit: `cnnprof summarize resnet152` against the shortest script with each peer.

    python -m benchmarks.process

A script constructs the ResNet-152 of benchmarks/plain_networks.py, torch alone, and prints what the tool says of it, as the tool's
documentation shows it: on the CPU, and where the tool can, with a module on the meta device too. Such a script with cnnprof.profile
is a side of its own. All sides run once before anything is counted, then they take turns. The ratio is that of the medians: above 1
the other side is faster, or takes less memory. Memory is the largest resident set of the one process. `python -c "import torch"` is
what all of them have in common.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import copy
from statistics import median

from benchmarks import plain_networks
from benchmarks.peers import CNNPROF, PEERS, Side, installed, sides
from benchmarks.speed import faster
from benchmarks.startup import TORCH, program
from benchmarks.timing import Line, Run, drop_failing, interleaved, options, process, report

NETWORK = "resnet152"
OURS = f"cnnprof summarize {NETWORK}"
SCRIPT = "script with cnnprof"
AGAINST_THE_FASTEST = 0.85


def script(side: Side) -> str:
    """The shortest program with that tool on that device."""
    return (
        "import torch\n"
        f"from plain_networks import {NETWORK}\n"
        f'device = "{side.device}"\n'
        "with torch.device(device):\n"
        f"    net = {NETWORK}().eval()\n"
        f"{side.tool.script}"
    )


def commands(asked: Sequence[Side], folder: Path) -> dict[str, Callable[[], Run]]:
    """Each side as a process; the scripts are written to the folder, beside the networks that they import."""
    copy(plain_networks.__file__, folder)
    work = {TORCH: process(sys.executable, "-c", "import torch"), OURS: process(*program(), "summarize", NETWORK)}
    for number, side in enumerate(asked):
        path = folder / f"script{number}.py"
        path.write_text(script(side), encoding="utf-8")
        work[f"{SCRIPT} ({side.device})" if side.tool is CNNPROF else side.name] = process(sys.executable, path)
    return work


def lines(runs: Mapping[str, Sequence[Run]]) -> list[Line]:
    """cnnprof held against each other side, time first, then memory; a bound for the fastest peer."""
    time = {name: tuple(run.seconds for run in of) for name, of in runs.items()}
    memory = {name: tuple(run.peak_mib for run in of) for name, of in runs.items()}
    others = [TORCH, *sorted((name for name in runs if name not in {OURS, TORCH}), key=lambda name: median(time[name]))]
    fastest = next((name for name in others[1:] if not name.startswith(SCRIPT)), None)
    bounds = {fastest: AGAINST_THE_FASTEST}
    return [
        *(Line(OURS, "s", time[OURS], name, time[name], bounds.get(name)) for name in others),
        *(Line(OURS, "MiB", memory[OURS], name, memory[name]) for name in others),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    chosen = options(__doc__ or "", runs=7, fewest=3).parse_args(argv)
    tools, missing = installed([CNNPROF, *PEERS])
    with tempfile.TemporaryDirectory() as folder:
        work = commands(sides(tools), Path(folder))
        notes = [*missing, *drop_failing(work)]
        found = lines(interleaved(work, chosen.runs))
    peers = [line for line in found if line.unit == "s" and line.against != TORCH and not line.against.startswith(SCRIPT)]
    report("process", found, [*notes, *faster(peers)], chosen)


if __name__ == "__main__":
    main()
