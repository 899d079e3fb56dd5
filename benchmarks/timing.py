"""What the benchmarks share: interleaved runs, medians, ratios against a bound, and the table of them."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Literal, TypeVar

from benchmarks import output
from benchmarks.text import aligned, filled
from benchmarks.trouble import described

T = TypeVar("T")

LAUNCHER = Path(__file__).with_name("launcher.py")

Unit = Literal["s", "MiB"]
_SHOWN: Mapping[Unit, Callable[[float], str]] = {
    "s": lambda value: f"{value * 1000:,.2f} ms" if value < 1 else f"{value:,.3f} s",
    "MiB": lambda value: f"{value:,.1f} MiB",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One process from its start to its end."""

    seconds: float
    peak_mib: float
    """Its largest resident set."""


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: a side, the side it is held against, and how far it may go."""

    what: str
    unit: Unit
    samples: tuple[float, ...]
    against: str
    against_samples: tuple[float, ...]
    bound: float | None = None
    """The largest ratio that is fine; None where the line is there to be read only."""

    @property
    def ratio(self) -> float:
        """The median of the side over the median of what it is held against."""
        return median(self.samples) / median(self.against_samples)

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return ""
        return "ok" if self.ratio <= self.bound else "OVER"


def interleaved(sides: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """What each side answered in each of the runs: all of them in every round, each round begun by another side.

    Interleaved, a machine that slows down half-way slows all sides alike. The rounds are shown on stderr as they pass.
    """
    answers: dict[str, list[T]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(runs):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            progress(f"round {number + 1} of {runs}: {name}")
            answers[name].append(sides[name]())
    progress("")
    return answers


def drop_failing(sides: dict[str, Callable[[], T]]) -> list[str]:
    """Runs each side once, so that it is warm, takes out those that fail, and returns a line for each of these."""
    lines = []
    for name in list(sides):
        progress(f"warming up: {name}")
        if trouble := _trouble(sides[name]):
            del sides[name]
            lines.append(f"{name}: {trouble}")
    progress("")
    return lines


def _trouble(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return described(error)
    return ""


VISIT = 0.3
"""Seconds for which a side repeats what it does before the next one's turn."""
FEWEST = 3
"""How often it does so at least: of something long, too, one time says little."""


def seconds(work: Callable[[], object], tidy: Callable[[], object] = lambda: None) -> Callable[[], float]:
    """A function that does the work once, then over and over for `VISIT` seconds, and returns the median of how long that took.

    The first time a side pays for what the side before it has left in the caches, and a fast one most. As in `timeit`, Python's
    garbage collector is off meanwhile: a collection takes longer than most of what is timed, and lands more often in what takes
    long. It runs afterwards, untimed. So does `tidy`, after each time, for what would slow the next one down.
    """

    def timed() -> float:
        gc.disable()
        try:
            work()
            tidy()
            times: list[float] = []
            until = time.perf_counter() + VISIT
            while len(times) < FEWEST or time.perf_counter() < until:
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
                tidy()
        finally:
            gc.enable()
            gc.collect()
        return median(times)

    return timed


def process(*command: str | Path) -> Callable[[], Run]:
    """A function that runs the command to its end, output thrown away, and returns what it took.

    Python may keep what it has compiled, as it does for users, even where this process has been told not to.

    Raises subprocess.CalledProcessError, with what the command wrote to stderr, where it fails.
    """

    def run() -> Run:
        launched = [sys.executable, "-I", "-S", LAUNCHER, *command]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(launched, check=True, text=True, capture_output=True, stdin=subprocess.DEVNULL, env=environ)
        taken, peak, code = done.stdout.split()
        if int(code) != 0:
            raise subprocess.CalledProcessError(int(code), [str(part) for part in command], stderr=done.stderr)
        kib = int(peak) / 1024 if sys.platform == "darwin" else int(peak)
        return Run(float(taken), kib / 1024)

    return run


def table(lines: Iterable[Line]) -> str:
    """The lines as aligned text, a heading above: each side, and below it those that it is held against."""
    rows: list[tuple[str, ...]] = [("what", "median", "", "", ""), ("  against", "median", "ratio", "at most", "")]
    for (what, unit, samples), of in groupby(lines, lambda line: (line.what, line.unit, line.samples)):
        show = _SHOWN[unit]
        rows.append((what, show(median(samples)), "", "", ""))
        for line in of:
            bound = "" if line.bound is None else f"{line.bound:g}"
            rows.append((f"  {line.against}", show(median(line.against_samples)), f"{line.ratio:.3f}", bound, line.verdict))
    return aligned(rows, left=(0, 4))


def options(description: str, runs: int, fewest: int) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark has."""

    def enough(text: str) -> int:
        if not text.isdecimal() or int(text) < fewest:
            raise argparse.ArgumentTypeError(f"a median needs at least {fewest} runs")
        return int(text)

    parser = output.parser(description)
    parser.add_argument("--runs", type=enough, default=runs, metavar="N", help=f"rounds, at least {fewest} (default {runs})")
    output.add_options(parser)
    return parser


PACKAGES = ("torch", "cnnprof", "torchinfo", "torchsummary", "fvcore", "ptflops", "thop", "calflops")
"""Those whose releases a result depends on."""


def machine() -> dict[str, str]:
    """Where and when this runs, and what."""
    git = ["git", "-C", str(LAUNCHER.parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": f"Python {platform.python_version()} (built {platform.python_build()[1]})",
        "platform": platform.platform(),
        "processors": f"{os.cpu_count()} processors",
        "commit": f"commit {commit or 'unknown'}",
        "versions": ", ".join(f"{package} {found}" for package in PACKAGES if (found := _version(package))),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def report(
    benchmark: str,
    lines: Sequence[Line],
    notes: Sequence[str],
    chosen: argparse.Namespace,
    more: Mapping[str, object] | None = None,
) -> None:
    """Writes the samples, and `more` with them, where the options say; prints the machine, the table and the notes."""
    about = machine()
    rows = [{**asdict(line), "ratio": line.ratio, "verdict": line.verdict} for line in lines]
    output.write(benchmark, {**about, "notes": list(notes), "lines": rows, **(more or {})}, chosen)
    over = [f"{line.what} against {line.against}" for line in lines if line.verdict == "OVER"]
    print(filled(", ".join(about.values())))
    print(table(lines))
    for note in notes:
        print(filled(note))
    if any(line.bound is not None for line in lines):
        print(filled(f"over the bound: {'; '.join(over)}" if over else "nothing is over its bound"))


def progress(text: str) -> None:
    """Shows on a terminal's stderr what is being measured, over what stood there."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
