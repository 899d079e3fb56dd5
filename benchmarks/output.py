"""What a benchmark leaves when it is asked to: its result as JSON, and a chart of it beside that."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import chart
from benchmarks.text import reflowed

ENDINGS = ("svg", "png")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser of a benchmark's options: it is called as one calls the program."""
    program = getattr(sys.modules["__main__"].__spec__, "name", None)
    return argparse.ArgumentParser(
        prog=program and f"python -m {program}",
        description=reflowed(description),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every benchmark for `write`."""
    parser.add_argument(
        "-o", "--output", type=writable, metavar="FILE", help="write all samples to this file, as JSON, and a chart beside it"
    )
    parser.add_argument("--charts", choices=ENDINGS, default=ENDINGS[0], help="the format of the chart (default svg)")


def write(benchmark: str, result: Mapping[str, object], chosen: argparse.Namespace) -> None:
    """Writes the result of that benchmark where the options say, if they do: `speed.json`, and with matplotlib `speed.svg`."""
    file: Path | None = chosen.output
    if file is None:
        return
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if chart.available():
        chart.draw(benchmark, result, file.with_suffix(f".{chosen.charts}"))
    else:
        print("matplotlib is not installed: no chart", file=sys.stderr)


def writable(text: str) -> Path:
    """The file of an option. Raises argparse.ArgumentTypeError where it cannot be written, before anything is measured."""
    file = Path(text)
    charts = [file.with_suffix(f".{ending}") for ending in ENDINGS]
    if file in charts:
        raise argparse.ArgumentTypeError(f"{text} would be the chart: name the file for the JSON, which the chart is put beside")
    if folders := [str(path) for path in charts if path.is_dir()]:
        raise argparse.ArgumentTypeError(f"the chart cannot be written: {folders[0]} is a folder")
    new = not file.exists()
    try:
        file.open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    if new:
        file.unlink()
    return file
