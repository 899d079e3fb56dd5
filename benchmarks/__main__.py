"""Every benchmark, one after the other.

    python -m benchmarks                     all of them: half an hour to an hour on two cores
    python -m benchmarks --quick             the same questions with fewer runs and fewer networks: a few minutes
    python -m benchmarks speed process       these
    python -m benchmarks -o results          writes each one's JSON there too, and with matplotlib a chart

Each of them is a program of its own with more options: python -m benchmarks.NAME --help
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.output import ENDINGS
from benchmarks.text import reflowed

QUICK: Mapping[str, Sequence[str]] = {
    "agreement": ("--quick",),
    "speed": ("--runs", "3", "--networks", "lenet5", "resnet152"),
    "process": ("--runs", "3"),
    "startup": ("--runs", "5"),
    "growth": ("--runs", "5"),
    "added": ("--runs", "5"),
    "side_effects": (),
}
"""Each benchmark with the options that make it short."""


def run(name: str, quick: bool, folder: Path | None, charts: str) -> bool:
    """Runs one, in a process of its own so that none slows another down. Whether it succeeded."""
    options = list(QUICK[name]) if quick else []
    if folder is not None:
        options += ["-o", str(folder / f"{name}.json"), "--charts", charts]
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode == 0


def main(argv: Sequence[str] | None = None) -> None:
    """Runs those that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=reflowed(__doc__ or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUICK)} (default all)")
    parser.add_argument("--quick", action="store_true", help="fewer runs, fewer networks")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="the folder for JSON and charts")
    parser.add_argument("--charts", choices=ENDINGS, default=ENDINGS[0], help="their format (default svg)")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.names) - set(QUICK):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: there are {', '.join(QUICK)}")
    if chosen.output is not None:
        try:
            chosen.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{chosen.output} cannot be a folder: {error.strerror}")
    failed = []
    for name in dict.fromkeys(chosen.names or QUICK):
        print(f"\n{name}", flush=True)
        if not run(name, chosen.quick, chosen.output, chosen.charts):
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
