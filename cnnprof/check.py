"""Networks against what was accepted of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cnnprof import lock
from cnnprof.errors import CnnprofError, Span, SpecError, UsageError, full
from cnnprof.lock import Locked
from cnnprof.profiling.profile import Profile
from cnnprof.profiling.resolve import Conditions, profile_of, subject_of
from cnnprof.render.checked import Checked, LayerChange
from cnnprof.spec import target
from cnnprof.spec.input import parse_option
from cnnprof.spec.target import SpecTarget

Measured = tuple[Profile, Mapping[str, Span]]


class Update(NamedTuple):
    """What a network cost, and costs now."""

    network: str
    before: Locked | None
    """None for one that is new."""
    now: Locked
    caveats: tuple[str, ...]
    """What the profile says of its own figures."""


def measure(name: str, under: Locked) -> Measured:
    """The profile of a target under the conditions of its entry, and the lines of its spec by path."""
    found = target.find(name)
    inputs = tuple(parse_option(text) for text in under.input)
    conditions = Conditions(inputs, under.batch, target.settings(under.settings), under.dtype, retained=True)
    if isinstance(found, SpecTarget):
        subject = subject_of(found, conditions)
        return subject.profile(conditions), subject.lines
    return profile_of(found, conditions), {}


def check(
    targets: Sequence[str],
    accepted: Mapping[str, Locked],
    tolerances: Mapping[str, float],
    path: Path,
    advance: Callable[[str], None] = lambda name: None,
) -> list[Checked]:
    """Each network, all that the lock names by default, against the lock that stands at `path`.

    Raises UsageError for one that it does not name. One that cannot be measured is a result with an error, so that the others are
    checked all the same.
    """
    names = lock.named(targets, accepted) or list(accepted)
    for name in names:
        if name not in accepted:
            raise UsageError(f'the lock does not name "{name}": {lock.accepting(name, path)} adds it')
    results = []
    for name in names:
        was = accepted[name]
        try:
            with _removable(name, path):
                profile, lines = measure(name, was)
        except CnnprofError as error:
            results.append(Checked(name, error=full(error), span=error.span if isinstance(error, SpecError) else None))
            advance(name)
            continue
        now = lock.locked(profile, was)
        failed = lock.failures(name, was, now, tolerances)
        concerned = {failure.metric for failure in failed}
        changes = [
            LayerChange(place, metric, old, new, lines.get(place))
            for place, metric, old, new in lock.changed_layers(was, now)
            if metric in concerned
        ]
        accept = lock.accepting(name, path) if any(not failure.budget for failure in failed) else ""
        results.append(Checked(name, tuple(failed), tuple(changes), accept))
        advance(name)
    return results


def update(
    path: Path, targets: Sequence[str], conditions: Mapping[str, Any], advance: Callable[[str], None] = lambda name: None
) -> list[Update]:
    """Measures the networks, all that the lock names by default, and writes the lock anew.

    `conditions` are fields of `Locked` to change; those that are not given stay as the lock has them. Nothing is written unless
    every network could be measured.
    """
    with lock.updating(path):
        accepted = lock.read(path) if path.exists() else {}
        changes = []
        for name in lock.named(targets, accepted) or list(accepted):
            before = accepted.get(name)
            under = replace(before or Locked(), **conditions)
            with _removable(name, path) if before else nullcontext():
                profile, _ = measure(name, under)
            changes.append(Update(name, before, lock.locked(profile, under), profile.caveats))
            advance(name)
        lock.write(path, {**accepted, **{change.network: change.now for change in changes}})
    return changes


@contextmanager
def _removable(name: str, path: Path) -> Iterator[None]:
    """Says what to do about a network of the lock whose file is gone."""
    try:
        yield
    except SpecError as error:
        if error.code == "file" and not error.help:
            error.help = f"to take it out of the lock: {lock.removing(name, path)}"
        raise
