"""One chart of each benchmark's result, drawn from the JSON that it writes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

Result = Mapping[str, Any]
OURS, THEIRS, BARE = "#1f6feb", "#a8b1bd", "#d4a72c"
GRADES = {"right": "#2da44e", "close": "#b4d8bd", "wrong": "#d1544a", "silent": "#dfe3e8"}
LABELS = {"right": "right", "close": "wrong by at most 1 %", "wrong": "wrong", "silent": "no answer"}
_NETWORK = "resnet152"


def available() -> bool:
    """Whether charts can be drawn here."""
    return find_spec("matplotlib") is not None


def draw(benchmark: str, result: Result, path: Path) -> None:
    """Writes the chart of that benchmark's result, in the format that the path's ending names."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    # The same figures give the same file.
    with matplotlib.rc_context({"font.size": 9, "svg.hashsalt": "cnnprof", "svg.fonttype": "none"}):
        figure = CHARTS[benchmark](result)
        figure.text(0.995, 0.005, _caption(result), ha="right", va="bottom", fontsize=6, color="#6e7781")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        import_module("matplotlib.pyplot").close(figure)


def _caption(result: Result) -> str:
    return ", ".join(result[key] for key in ("date", "python", "platform", "processors"))


def _panels(columns: int, width: float, height: float, rows: int = 1) -> tuple[Any, Sequence[Any]]:
    figure, axes = import_module("matplotlib.pyplot").subplots(rows, columns, figsize=(width, height), layout="constrained")
    flat = axes.flatten().tolist() if rows * columns > 1 else [axes]
    for axis in flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))
    return figure, flat


def _agreement(result: Result) -> Any:
    """Share of right products, by tool, networks and modules apart."""
    figure, axes = _panels(2, 10, 4.5)
    for axis, group in zip(axes, ("networks", "modules"), strict=True):
        rows = [row for row in result["tallies"] if (row["group"], row["quantity"]) == (group, "products")]
        rows = sorted((row for row in rows if row["silent"] < row["of"]), key=lambda row: row["right"])
        left = [0.0] * len(rows)
        for grade, colour in GRADES.items():
            shares = [100 * row[grade] / row["of"] for row in rows]
            axis.barh([row["side"] for row in rows], shares, left=left, color=colour, label=LABELS[grade])
            left = [start + share for start, share in zip(left, shares, strict=True)]
        axis.set(title=f"Products of {rows[0]['of']} {group}" if rows else group, xlabel="%", xlim=(0, 100))
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, frameon=False, fontsize=7)
    return figure


def _bars(axis: Any, values: Mapping[str, float], title: str, label: str) -> None:
    """Horizontal bars, the least at the top, cnnprof's in its colour."""
    names = sorted(values, key=lambda name: -values[name])
    colours = [OURS if name.startswith("cnnprof") else BARE if name.startswith(("forward", "python")) else THEIRS for name in names]
    axis.bar_label(axis.barh(names, [values[name] for name in names], color=colours), fmt=_digits, padding=3, fontsize=8)
    for text, name in zip(axis.get_yticklabels(), names, strict=True):
        text.set_fontweight("bold" if name.startswith("cnnprof") else "normal")
    axis.set(title=title, xlabel=label)
    axis.margins(x=0.15)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _medians(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Each side of these lines once, cnnprof's own included."""
    found = {line["what"]: median(line["samples"]) for line in lines}
    return found | {line["against"]: median(line["against_samples"]) for line in lines}


def _speed(result: Result) -> Any:
    """Each side's time for the largest residual network, the first call and later ones; else for the first network there is."""
    names = list(dict.fromkeys(line["what"] for line in result["lines"]))
    chosen = [name for name in names if _NETWORK in name] or names[:1]
    figure, axes = _panels(len(chosen), 6 * len(chosen), 5)
    for axis, name in zip(axes, chosen, strict=True):
        values = _medians([line for line in result["lines"] if line["what"] == name])
        shown = {side.replace(name, "cnnprof"): 1000 * value for side, value in values.items()}
        _bars(axis, shown, f"{name.removeprefix('cnnprof ')}{'' if 'first' in name else ', later calls'}", "ms, less is better")
    return figure


def _process(result: Result) -> Any:
    figure, axes = _panels(2, 11, 4.5)
    for axis, unit, title in zip(axes, ("s", "MiB"), ("Whole process", "Its peak memory"), strict=True):
        _bars(axis, _medians([line for line in result["lines"] if line["unit"] == unit]), title, unit)
    return figure


def _startup(result: Result) -> Any:
    return _process(result)


def _added(result: Result) -> Any:
    """Each ratio with the bound that it has to keep."""
    figure, (axis,) = _panels(1, 9, 3)
    bounded = [line for line in result["lines"] if line["bound"] is not None]
    _bars(axis, {f"{line['what']} (at most {line['bound']:g})": float(line["ratio"]) for line in bounded}, "Ratio", "")
    return figure


def _growth(result: Result) -> Any:
    """Time and memory as curves over each axis."""
    axes_of = list(dict.fromkeys(curve["axis"] for curve in result["curves"]))
    figure, panels = _panels(len(axes_of), 3.2 * len(axes_of), 5.5, rows=2)
    for number, (unit, label) in enumerate((("s", "s"), ("MiB", "peak memory, MiB"))):
        values = [y for curve in result["curves"] if curve["unit"] == unit for _, y in curve["points"]]
        for axis, name in zip(panels[number * len(axes_of) :], axes_of, strict=False):
            for curve in result["curves"]:
                if (curve["axis"], curve["unit"]) == (name, unit):
                    axis.plot(*zip(*curve["points"], strict=True), marker="o", markersize=3, label=curve["series"])
            axis.set(xscale="log", xlabel=name, ylabel=label)
            if unit == "s":
                axis.set_yscale("log")
            axis.set_ylim(min(values) / 2 if unit == "s" else 0, max(values) * (2 if unit == "s" else 1.4))
            axis.legend(frameon=False, fontsize=7)
    return figure


def _side_effects(result: Result) -> Any:
    """How many kinds of things each tool leaves changed."""
    figure, axes = _panels(2, 10, 4)
    occasions = list(dict.fromkeys(when for of in result["left"].values() for when in of))
    for axis, when in zip(axes, occasions, strict=True):
        counts = {tool: float(len(of[when]["changes"])) for tool, of in result["left"].items()}
        _bars(axis, counts, f"After {when}", "kinds of things left changed")
    return figure


CHARTS: Mapping[str, Callable[[Result], Any]] = {
    "agreement": _agreement,
    "speed": _speed,
    "process": _process,
    "startup": _startup,
    "growth": _growth,
    "added": _added,
    "side_effects": _side_effects,
}
