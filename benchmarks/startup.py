"""Time and memory of whole processes, from start to exit, against `python -c "import torch"`.

    python -m benchmarks.startup                    the light commands, a few networks, a layer of 10^12 parameters
    python -m benchmarks.startup --all              every bundled network
    python -m benchmarks.startup lenet5 my.yaml     these networks

All sides run once before anything is counted, so that compiled files and the disk's cache are there for each; then they
take turns. The ratio is that of the medians. Memory is the largest resident set of the one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import Line, Run, interleaved, options, process, report

TORCH = 'python -c "import torch"'
LIGHT = ("--help", "list", "schema")
LIGHT_SECONDS = 0.2
SUMMARIZE_SECONDS = 1.2
SUMMARIZE_MEMORY = 1.15
SOME_NETWORKS = ("lenet", "alexnet")
HUGE = "Linear of 10^12 parameters"
HUGE_SPEC = "input: 1000000\nlayers:\n  - Linear: {out_features: 1000000, bias: false}\n"


def program() -> tuple[str, ...]:
    """The command as a user runs it: the installed script of this environment, else the package itself."""
    script = Path(sys.executable).with_name("cnnprof")
    return (str(script),) if script.exists() else (sys.executable, "-m", "cnnprof")


def bundled() -> list[str]:
    """The names of the networks that come with cnnprof."""
    from cnnprof.spec import library

    return list(library.entries())


def _known(name: str) -> str:
    """The name of a network. Raises argparse.ArgumentTypeError for another one."""
    if name not in bundled():
        raise argparse.ArgumentTypeError(f"there is no network {name}: cnnprof list shows them")
    return name


def measured(networks: dict[str, str], runs: int) -> dict[str, list[Run]]:
    """The runs of each side, by its name; `networks` maps the name to show to the target to summarize."""
    sides = {TORCH: process(sys.executable, "-c", "import torch")}
    sides |= {f"cnnprof {command}": process(*program(), command) for command in LIGHT}
    sides |= {f"cnnprof summarize {name}": process(*program(), "summarize", target) for name, target in networks.items()}
    interleaved(sides, 1)
    return interleaved(sides, runs)


def lines(runs: dict[str, list[Run]]) -> list[Line]:
    """A line for the time of every side, and one for the memory of those that import torch."""
    time = {name: tuple(run.seconds for run in of) for name, of in runs.items()}
    memory = {name: tuple(run.peak_mib for run in of) for name, of in runs.items()}
    heavy = [name for name in runs if name.startswith("cnnprof summarize")]
    light = [name for name in runs if name not in heavy and name != TORCH]
    return [
        *(Line(name, "s", time[name], TORCH, time[TORCH], LIGHT_SECONDS) for name in light),
        *(Line(name, "s", time[name], TORCH, time[TORCH], SUMMARIZE_SECONDS) for name in heavy),
        *(Line(name, "MiB", memory[name], TORCH, memory[TORCH], SUMMARIZE_MEMORY) for name in heavy),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = options(__doc__ or "", runs=7, fewest=5)
    parser.add_argument(
        "networks", nargs="*", metavar="NETWORK", type=_known, help=f"what to summarize (default {', '.join(SOME_NETWORKS)})"
    )
    parser.add_argument("--all", action="store_true", help="summarize every bundled network")
    chosen = parser.parse_args(argv)
    names = bundled() if chosen.all else chosen.networks or SOME_NETWORKS
    with tempfile.TemporaryDirectory() as folder:
        huge = Path(folder, "huge.yaml")
        huge.write_text(HUGE_SPEC, encoding="utf-8")
        networks = {**{name: name for name in names}, HUGE: str(huge)}
        runs = measured(networks, chosen.runs)
    report("startup", lines(runs), [], chosen)


if __name__ == "__main__":
    main()
