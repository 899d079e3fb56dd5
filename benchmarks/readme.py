"""Writes the results of `python -m benchmarks -o FOLDER` into README.md, as one table, and the chart beside it.

    python -m benchmarks.readme FOLDER

The table stands between two comments of the page. Of the peers it has the variant that their documentation shows, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHART = ROOT / "benchmarks" / "speed.svg"
TOOLS = ("cnnprof", "torchinfo", "torchsummary", "fvcore", "ptflops", "thop", "calflops", "FlopCounterMode")
NETWORK = "resnet152"
SIDES = """In brackets: where the module is, if not where the documentation of the tool has it. `ptflops aten` is its other backend.
The forward pass is torch's alone, whose own kernels take longer on the meta device than the shape rules of cnnprof."""
BLOCK = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- end of benchmarks -->)", re.DOTALL)

Result = Mapping[str, Any]


def table(results: Mapping[str, Result]) -> str:
    """The rows of the tools, as Markdown."""
    heading = ("", "right: networks", "right: modules", "profile a ResNet-152", "whole process", "leaves changed")
    rows = [heading, ("---", *("---:",) * 4, "---"), *(row(tool, results) for tool in TOOLS)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def row(tool: str, results: Mapping[str, Result]) -> tuple[str, ...]:
    """What the results say of one tool."""
    tallies = results["agreement"]["tallies"]
    left = results["side_effects"]["left"][tool]["a pass"]["changes"]
    return (
        tool,
        _right(tallies, "networks", tool),
        _right(tallies, "modules", tool),
        _seconds(results["speed"]["lines"], f"cnnprof {NETWORK}", tool, "s"),
        _seconds(results["process"]["lines"], f"cnnprof summarize {NETWORK}", tool, "s"),
        ", ".join(left) or "nothing",
    )


def _right(tallies: Sequence[Result], group: str, tool: str) -> str:
    """How many counts of products are right, of all; a dash for a tool that has none."""
    found = next(one for one in tallies if (one["group"], one["side"], one["quantity"]) == (group, tool, "products"))
    return f"{found['right']} of {found['of']}" if found["silent"] < found["of"] else "-"


def _seconds(lines: Sequence[Result], ours: str, tool: str, unit: str) -> str:
    """The median of a tool, and how much of it cnnprof takes: cnnprof's is a side of each line, the other a tool's."""
    of_tool = [line for line in lines if line["what"] == ours and line["unit"] == unit]
    if tool == "cnnprof":
        return _shown(median(of_tool[0]["samples"]))
    line = next(line for line in of_tool if line["against"] == tool)
    return f"{_shown(median(line['against_samples']))} ({1 / line['ratio']:.1f} x)"


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def block(results: Mapping[str, Result]) -> str:
    """The table, the machine and the versions, and the chart."""
    about = results["speed"]
    machine = ", ".join(str(about[key]) for key in ("date", "python", "platform", "processors"))
    versions = results["side_effects"]["versions"]
    return (
        f"{table(results)}\n\n![The time from a module to its figures](benchmarks/speed.svg)\n\n{SIDES}\n\n{machine}; {versions}.\n"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the page and the chart."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what python -m benchmarks -o FOLDER has written")
    folder = parser.parse_args(argv).folder
    files = {name: folder / f"{name}.json" for name in ("agreement", "side_effects", "speed", "process")}
    if missing := [file.name for file in (*files.values(), folder / CHART.name) if not file.is_file()]:
        parser.error(f"{folder} lacks {', '.join(missing)}: python -m benchmarks -o {folder} writes them, with matplotlib")
    results = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    page = README.read_text(encoding="utf-8")
    if not BLOCK.search(page):
        raise SystemExit("README.md has no place for the benchmarks")
    README.write_text(BLOCK.sub(lambda _: block(results), page), encoding="utf-8")
    shutil.copyfile(folder / "speed.svg", CHART)


if __name__ == "__main__":
    main()
