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


def best(tallies: Sequence[Result]) -> str:
    """Which of the others is right most often, be it on the meta device."""
    texts = []
    for group in ("networks", "modules"):
        others = [t for t in tallies if (t["group"], t["quantity"]) == (group, "products") and not t["side"].startswith("cnnprof")]
        first = max(others, key=lambda one: one["right"])
        texts.append(f"{first['side']} with {first['right']} of {first['of']} {group}")
    return f"Right most often of the others: {', '.join(texts)}."


def weak(lines: Sequence[Result]) -> str:
    """In which comparisons another tool does better than cnnprof, and in which cnnprof takes more than the bound."""
    faster: dict[str, list[str]] = {}
    for line in sorted(lines, key=lambda line: -float(line["ratio"])):
        if line["against"] in TOOLS and line["ratio"] > 1:
            faster.setdefault(_network(line), []).append(f"{line['against']} ({1 / line['ratio']:.2f} of its {_quantity(line)})")
    over = [line for line in lines if line["bound"] and line["ratio"] > line["bound"]]
    texts = [f"for {network} {', '.join(tools)}" for network, tools in faster.items()]
    aims = [
        f"for {_network(line)} {line['ratio']:.2f} of {line['against']}'s {_quantity(line)}, not {line['bound']}" for line in over
    ]
    return f"Better than cnnprof: {'; '.join(texts) or 'none'}. Not as good as is aimed at: {'; '.join(aims) or 'nothing'}."


def _network(line: Result) -> str:
    return str(line["what"]).removeprefix("cnnprof ").removeprefix("summarize ")


def _quantity(line: Result) -> str:
    return "time" if line["unit"] == "s" else "memory"


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def block(results: Mapping[str, Result]) -> str:
    """The table and the chart, what is weak, the machine and the versions."""
    about = results["speed"]
    machine = ", ".join(str(about[key]) for key in ("date", "python", "platform", "processors"))
    versions = results["side_effects"]["versions"]
    most = best(results["agreement"]["tallies"])
    weaker = weak([line for name in ("speed", "process") for line in results[name]["lines"]])
    chart = f"![The time from a module to its figures](benchmarks/{CHART.name})"
    return "\n\n".join((table(results), f"{most} {weaker}", chart, SIDES, f"{machine}; {versions}.\n"))


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
