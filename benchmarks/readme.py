"""Writes the results of `python -m benchmarks -o FOLDER` into README.md, as one table, and the chart beside it.

    python -m benchmarks.readme FOLDER

The table stands between two comments of the page. Of the peers it has the variant that their documentation shows, on the CPU. All
results have to be of one run.
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

from benchmarks.process import SCRIPT
from benchmarks.side_effects import ALONE
from benchmarks.speed import BARE
from benchmarks.startup import TORCH
from benchmarks.text import reflowed

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHART = ROOT / "benchmarks" / "speed.svg"
TOOLS = ("cnnprof", "cnnprof (cpu)", "torchinfo", "torchsummary", "fvcore", "ptflops", "thop", "calflops", "FlopCounterMode")
NETWORK = "resnet152"
NOISE = 0.05
"""Below which no side is called better."""
FILES = ("agreement", "side_effects", "speed", "process", "startup", "growth", "added")
SAME = ("python", "platform", "processors", "commit", "versions")
"""What the results of one run have in common."""
ABOUT = (
    "x: how many times as long as the first row, which is on the meta device and whose whole process is `cnnprof summarize`. Each "
    "peer is called as its documentation shows, on the CPU, its whole process a short script; the second row is cnnprof so too. In "
    "the chart, brackets say where the module is if elsewhere, and the forward pass is torch's alone, whose kernels take longer on "
    "the meta device than the shape rules of cnnprof."
)
RIGHT = (
    "Right is what is true to the last digit: the multiplications of convolutions, linear layers, matmul and RNNs, as the papers "
    "count them. In brackets, how many more are within 1 %. The modules are those of cnnprof's own tests, which seek out what is "
    "hard to count. Of the networks most that is wrong is another convention: biases, norms or activations count too. Of the "
    "modules more is too low than too high: not all that multiplies was seen."
)
BLOCK = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- end of benchmarks -->)", re.DOTALL)

Result = Mapping[str, Any]


def table(results: Mapping[str, Result]) -> str:
    """The rows of the tools, as Markdown."""
    right = ("parameters right: networks", "products right: networks", "products right: modules")
    heading = ("", *right, "profile a ResNet-152", "whole process", "leaves changed")
    rows: list[tuple[str, ...]] = [heading, ("---", *("---:",) * 5, "---")]
    rows += [row(tool, results) for tool in TOOLS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def row(tool: str, results: Mapping[str, Result]) -> tuple[str, ...]:
    """What the results say of one tool."""
    tallies = results["agreement"]["tallies"]
    left = results["side_effects"]["left"][tool.partition(" (")[0]]["a pass"]["changes"]
    return (
        tool,
        _right(tallies, "networks", tool, "params"),
        _right(tallies, "networks", tool),
        _right(tallies, "modules", tool),
        _seconds(results["speed"]["lines"], f"cnnprof {NETWORK}", tool),
        _seconds(results["process"]["lines"], f"cnnprof summarize {NETWORK}", tool),
        ", ".join(left) or "nothing",
    )


def _right(tallies: Sequence[Result], group: str, tool: str, quantity: str = "products") -> str:
    """How many counts are right, of all, and how many nearly; a dash for a tool that has none."""
    found = next(one for one in tallies if (one["group"], one["side"], one["quantity"]) == (group, tool, quantity))
    if found["silent"] == found["of"]:
        return "-"
    nearly = f" (+{found['close']})" if found["close"] else ""
    return f"{found['right']} of {found['of']}{nearly}"


def _seconds(lines: Sequence[Result], ours: str, tool: str) -> str:
    """The median of a tool, and how many times as long as cnnprof's it is: one side of each line is cnnprof, the other a tool."""
    of_tool = [line for line in lines if line["what"] == ours and line["unit"] == "s"]
    if tool == "cnnprof":
        return _shown(median(of_tool[0]["samples"]))
    line = next(line for line in of_tool if line["against"] in {tool, tool.replace("cnnprof", SCRIPT)})
    return f"{_shown(median(line['against_samples']))} ({1 / line['ratio']:.1f} x)"


def best(tallies: Sequence[Result]) -> str:
    """Which of the others gets most right, be it on the meta device, where nothing is too large."""
    texts = []
    for quantity, group in (("params", "networks"), ("products", "networks"), ("products", "modules")):
        others = [t for t in tallies if (t["group"], t["quantity"]) == (group, quantity) and not t["side"].startswith("cnnprof")]
        most = max(others, key=lambda one: one["right"])
        sides = ", ".join(one["side"] for one in others if one["right"] == most["right"])
        what = "parameters" if quantity == "params" else quantity
        texts.append(f"{what} of {most['right']} of {most['of']} {group} ({sides})")
    too_large = next(one for one in tallies if (one["group"], one["side"]) == ("networks", "cnnprof (cpu)"))["silent"]
    texts.append(f"too large for the CPU here: {too_large} of the networks")
    return f"The most that another gets right, in any form: {'; '.join(texts)}."


def better(lines: Sequence[Result]) -> str:
    """Where another takes less time or memory than cnnprof, by more than the noise."""
    found: dict[str, list[str]] = {}
    for line in sorted(lines, key=lambda line: -float(line["ratio"])):
        if line["ratio"] > 1 + NOISE and not line["against"].startswith(("cnnprof", SCRIPT, BARE, TORCH)):
            what = f"{line['what'].removeprefix('cnnprof ')}{' in memory' if line['unit'] == 'MiB' else ''}"
            found.setdefault(what, []).append(f"{line['against']} ({1 / line['ratio']:.2f} x)")
    texts = [f"for {what} {', '.join(tools)}" for what, tools in found.items()]
    return f"Better than cnnprof by more than {100 * NOISE:g} %, in any form: {'; '.join(texts) or 'none'}."


def bounds(lines: Sequence[Result]) -> str:
    """How many ratios are at most what they should be, and which are not."""
    bounded = [line for line in lines if line["bound"] is not None]
    over = [line for line in bounded if line["ratio"] > line["bound"]]
    texts = [f"{line['what']} takes {line['ratio']:.3g} x {_amount(line)}, not {line['bound']}" for line in over]
    return f"Of {len(bounded)} ratios with a bound {len(bounded) - len(over)} hold{'; '.join(['', *texts])}."


def scripts(lines: Sequence[Result]) -> str:
    """What of a whole process is not the profile."""
    ours = {line["against"]: _shown(median(line["against_samples"])) for line in lines if line["unit"] == "s"}
    return (
        f"Of the whole process most is not the profile: `import torch` takes {ours[TORCH]}. The command makes no weights and "
        f"skips the clean-up at its end. A script with `cnnprof.profile` takes {ours[f'{SCRIPT} (meta)']}, "
        f"with the weights on the CPU {ours[f'{SCRIPT} (cpu)']}."
    )


def alone(left: Result) -> str:
    """What a forward pass changes without a tool."""
    return (
        f"A forward pass by itself, in training mode as here, leaves changed: {', '.join(left['a pass']['changes']) or 'nothing'}."
    )


def _amount(line: Result) -> str:
    """What a side is held against, and how much that is: `torchinfo (145 ms)`."""
    middle = median(line["against_samples"])
    return f"{line['against']} ({_shown(middle) if line['unit'] == 's' else f'{middle:.0f} MiB'})"


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def block(results: Mapping[str, Result]) -> str:
    """The table and the chart, what to know of both, the machine and the versions."""
    about = results["speed"]
    machine = ", ".join(str(about[key]) for key in ("date", *SAME))
    lines = [line for name in FILES for line in results[name].get("lines", ())]
    notes = (
        best(results["agreement"]["tallies"]),
        better([*results["speed"]["lines"], *results["process"]["lines"]]),
        bounds(lines),
        scripts(results["process"]["lines"]),
        alone(results["side_effects"]["left"][ALONE]),
    )
    chart = f"![The time from a module to its figures](benchmarks/{CHART.name})"
    listed = "\n".join(f"- {note}" for note in (ABOUT, RIGHT, *notes))
    return "\n\n".join((table(results), chart, listed, f"{machine}.\n"))


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the page and the chart."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme",
        description=reflowed(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what python -m benchmarks -o FOLDER has written")
    folder = parser.parse_args(argv).folder
    files = {name: folder / f"{name}.json" for name in FILES}
    if missing := [file.name for file in (*files.values(), folder / CHART.name) if not file.is_file()]:
        parser.error(f"{folder} lacks {', '.join(missing)}: python -m benchmarks -o {folder} writes them, with matplotlib")
    try:
        results = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    except ValueError as error:
        parser.error(f"{folder} holds what is no result: {error}")
    if different := [key for key in SAME if len({results[name].get(key) for name in FILES}) > 1]:
        parser.error(f"{folder} holds several runs: they differ in {', '.join(different)}")
    try:
        made = block(results)
    except (LookupError, StopIteration) as error:
        parser.error(
            f"{folder} holds parts only, lacking {error}: python -m benchmarks -o {folder} with all tools writes the whole"
        )
    page = README.read_text(encoding="utf-8")
    if not BLOCK.search(page):
        raise SystemExit("README.md has no place for the benchmarks")
    README.write_text(BLOCK.sub(lambda _: made, page), encoding="utf-8")
    shutil.copyfile(folder / CHART.name, CHART)


if __name__ == "__main__":
    main()
