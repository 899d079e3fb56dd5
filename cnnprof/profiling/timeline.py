"""The live bytes of a pass from its first operator to its last, and why each tensor lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.inputs import Given
from cnnprof.profiling.ledger import History, alive, split
from cnnprof.profiling.memory import Peak, Split
from cnnprof.profiling.profile import Layer, Profile
from cnnprof.profiling.profiler import measure
from cnnprof.profiling.saved import Saved
from cnnprof.profiling.training import ITERATIONS


@dataclass(frozen=True, slots=True)
class Point:
    """One event: a storage was allocated or freed."""

    phase: str
    operator: str
    """That allocated the storage; empty for what was there before the pass."""
    path: str
    """The module that ran it."""
    kind: str
    """What the storage holds, as a field of `Split`."""
    change: int
    """Bytes; negative where they were freed."""
    live: int
    """Bytes that live after it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor that lives from the forward pass to the backward pass."""

    bytes: int
    maker: str
    """The operator that made it, and the module: `convolution in features.0`."""
    needs: tuple[str, ...]
    """For whose backward, as what: `relu in features.1, as result`; none where only a variable holds it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One pass, event by event. In training it is the second iteration, which all later ones are like."""

    profile: Profile
    points: tuple[Point, ...]
    peak: Peak
    """Its event is the place of its point."""
    at_peak: Split
    kept: Mapping[str, tuple[Kept, ...]]
    """What each module keeps for the backward pass, by path; empty without training."""


def timeline(module: nn.Module, given: Given, name: str, optimizer: str | None = None) -> Timeline:
    """A `Timeline` of the inference pass of a module or, with an optimizer, of an iteration of training."""
    measured = measure(module, given, name=name, optimizer=optimizer)
    profile, run = measured.profile, measured.run
    if run is None:
        history, peak = measured.inference, profile.inference_peak or Peak()
        kinds = tuple("activations" if made.operator else "input" for made in history.allocations)
        points = _points(history, kinds, history.span())
        return Timeline(profile, points, peak, Split(**split(history, peak.event, kinds)), {})
    training, history = run.training, run.history
    span = history.span(ITERATIONS - 1)
    points = _points(history, run.kinds, span)
    peak = replace(training.peak, event=training.peak.event - span.start + 1)  # the first point is what lived before
    return Timeline(profile, points, peak, training.at_peak, _kept(history, run.kinds, run.saved))


def kept_by(timeline: Timeline, path: str) -> dict[str, tuple[Kept, ...]]:
    """What a module, and those in it, keep for the backward pass, by path.

    Raises UsageError where there is no such module.
    """
    paths = list(dict.fromkeys(_paths(timeline.profile.root)))
    if path not in paths:
        hint = did_you_mean(path, paths) or f"there are: {', '.join(paths[:12])}{' …' if len(paths) > 12 else ''}"
        raise UsageError(f'there is no layer "{path}" in {timeline.profile.network}; {hint}')
    found = {one: kept for one, kept in timeline.kept.items() if one == path or one.startswith(f"{path}.")}
    return found or {path: ()}


def _paths(root: Layer) -> list[str]:
    waiting, found = [root], []
    while waiting:
        layer = waiting.pop()
        if layer.path:
            found.append(layer.path)
        waiting += reversed(layer.children)
    return found


def _points(history: History, kinds: tuple[str, ...], span: range) -> tuple[Point, ...]:
    """The events of a stretch; what lived before it is one point at its beginning."""
    live = history.live
    phases = {phase.start: phase.name for phase in history.phases}
    phase = next((name for start, name in sorted(phases.items(), reverse=True) if start <= span.start), "forward")
    found = [Point(phase, "", "", "", live[span.start - 1], live[span.start - 1])] if span.start else []
    for event in span:
        phase = phases.get(event, phase)
        n = history.events[event]
        made = history.allocations[n if n >= 0 else ~n]
        path = made.place.path if made.place else ""
        change = made.bytes if n >= 0 else -made.bytes
        found.append(Point(phase, made.operator, path, kinds[n if n >= 0 else ~n], change, live[event]))
    return tuple(found)


def _kept(history: History, kinds: tuple[str, ...], saved: tuple[Saved, ...]) -> dict[str, tuple[Kept, ...]]:
    """What the first iteration keeps, by the module that allocated it."""
    needs: dict[int, list[str]] = {}
    for one in saved:
        where = one.place.path if one.place else "the loss"
        needs.setdefault(one.allocation, []).append(f"{one.operator} in {where}, as {one.role}")
    made = {history.events[event] for event in history.span(0, "forward")}
    found: dict[str, list[Kept]] = {}
    for n in alive(history, history.span(0, "forward", "loss").stop - 1):
        if n in made and kinds[n] == "activations":
            allocation = history.allocations[n]
            path = allocation.place.path if allocation.place else ""
            maker = f"{allocation.operator} in {path or 'the network'}"
            found.setdefault(path, []).append(Kept(allocation.bytes, maker, tuple(dict.fromkeys(needs.get(n, [])))))
    return {path: tuple(kept) for path, kept in found.items()}
