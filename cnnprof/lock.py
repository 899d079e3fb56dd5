"""`cnnprof.lock`: what networks cost when it was last accepted, one figure a line, so that a change of it can be read in a diff."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cnnprof import given_json as given
from cnnprof.errors import CnnprofError, Source, Span, SpecError, UsageError, did_you_mean
from cnnprof.profiling.profile import Cost, Profile
from cnnprof.spec.input import FLOATS
from cnnprof.spec.reader import read_file
from cnnprof.spec.target import normal

NAME = "cnnprof.lock"
VERSION = 1
MAX_BYTES = 16 * 1024 * 1024

METRICS = ("params", "products", "output_bytes", "model_bytes", "retained_bytes", "inference_peak_bytes")
"""What is locked, of networks and of their first-level layers. A layer's peak is the largest sum of live bytes when it allocates.

What is not known is not locked: the retained bytes of what cannot be trained, the peak of what allocates nothing.
"""


class LockError(CnnprofError):
    """A lock that cannot be written. The message says which one stands now."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One network of a lock: the conditions and the figures that hold under them."""

    input: tuple[str, ...] = ()
    """As `--input` takes it; none is the spec's own."""
    batch: int = 1
    dtype: str = "float32"
    settings: tuple[str, ...] = ()
    """As `--set` takes them."""
    totals: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The figures of the layers and blocks of the first level, by path: see `first_level`."""
    budgets: Mapping[str, int] = field(default_factory=dict)
    """`max`: what a total may not exceed, whatever it was before."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One figure that is not what was accepted."""

    network: str
    metric: str
    was: int | None
    """None where there was none."""
    now: int | None
    budget: bool = False
    """Whether `was` is a limit."""

    @property
    def difference(self) -> int:
        return (self.now or 0) - (self.was or 0)


def locked(profile: Profile, before: Locked) -> Locked:
    """The network with the figures of a profile, under the same conditions and budgets as before."""
    peak = profile.inference_peak
    totals = _figures(profile.cost, profile.retained, peak.bytes if peak else 0)
    figures = {path: _figures(cost, profile.retained, cost.peak_bytes) for path, cost in first_level(profile).items()}
    return Locked(before.input, before.batch, before.dtype, before.settings, totals, figures, before.budgets)


def first_level(profile: Profile) -> dict[str, Cost]:
    """The costs of the layers and blocks below the network, by path; equal paths, as repeated calls have, together.

    What a plain Sequential groups counts as standing right below the network, so that a failure can name it.
    """
    costs: dict[str, Cost] = {}
    waiting = [*reversed(profile.root.children or (profile.root,))]
    while waiting:
        layer = waiting.pop()
        if layer.kind == "Sequential" and layer.children:
            waiting += reversed(layer.children)
            continue
        name = layer.path or layer.kind
        costs[name] = costs[name] + layer.cost if name in costs else layer.cost
    return costs


def _figures(cost: Cost, retained: bool, peak: int) -> dict[str, int]:
    found = {
        "params": cost.params,
        "products": cost.products,
        "output_bytes": cost.output_bytes,
        "model_bytes": cost.model_bytes,
    }
    if retained:
        found["retained_bytes"] = cost.retained_bytes
    if peak:
        found["inference_peak_bytes"] = peak
    return found


def failures(name: str, was: Locked, now: Locked, tolerances: Mapping[str, float]) -> list[Failure]:
    """The totals that differ by more than is tolerated, and those over their budget. One that the lock lacks differs."""
    found = []
    for metric in METRICS:
        old, new = was.totals.get(metric), now.totals.get(metric)
        if old != new and (old is None or new is None or abs(new - old) > tolerances.get(metric, 0.0) * abs(old)):
            found.append(Failure(name, metric, old, new))
    for metric, limit in was.budgets.items():
        new = now.totals.get(metric)
        if new is None or new > limit:
            found.append(Failure(name, metric, limit, new, budget=True))
    return found


def accepting(name: str, path: Path) -> str:
    """The command that puts what a network costs now into that lock."""
    return f"cnnprof check {name if name == ANY else shlex.quote(name)}{_option(path)} --update"


def removing(name: str, path: Path) -> str:
    """The command that takes a network out of that lock."""
    return f"cnnprof check --remove {shlex.quote(name)}{_option(path)}"


def _option(path: Path) -> str:
    """What names that lock in a command, nothing for the usual one."""
    return "" if path == Path(NAME) else f" --lock {shlex.quote(str(path))}"


ANY = "NETWORK…"
"""In such a command, where any network may stand."""


def changed_layers(was: Locked, now: Locked) -> list[tuple[str, str, int | None, int | None]]:
    """Path, metric, old and new figure of each first-level layer that changed, in the order of the network; those gone come last.

    A figure is None where there was, or is, none.
    """
    changes = []
    for path in dict.fromkeys([*now.layers, *was.layers]):
        old, new = was.layers.get(path), now.layers.get(path)
        for metric in METRICS:
            before, after = old.get(metric) if old else None, new.get(metric) if new else None
            if before != after:
                changes.append((path, metric, before, after))
    return changes


def named(texts: Iterable[str], networks: Mapping[str, Locked]) -> list[str]:
    """What the lock calls, or would call, those targets; each once. Raises UsageError for a name that a lock cannot have."""
    try:
        return [given.text(name) for name in dict.fromkeys(text if text in networks else normal(text) for text in texts)]
    except given.DamagedError as error:
        raise UsageError(f"this name cannot stand in a lock: {error}") from None


def read(path: Path) -> dict[str, Locked]:
    """The networks of a lock. Raises SpecError, with file and line, where it cannot be trusted."""
    source = read_file(path, MAX_BYTES)
    anew = f"take it back from version control, or remove it and write it anew: {accepting(ANY, path)}"
    if not source.text.strip():
        raise SpecError("lock", "the lock is damaged: it is empty", Span(source, 1, 1), anew)
    for number, line in enumerate(source.lines, 1):
        if re.match(r"(<{7}|={7}|>{7}|\|{7})( |$)", line):
            theirs = f"git checkout --theirs {shlex.quote(str(path))}"
            advice = f"settle the merge, or: {theirs} && cnnprof check{_option(path)} --update"
            raise SpecError("lock", "the lock has conflict markers of a merge", Span(source, number, 1, 7), advice)
    try:
        data = given.loads(source)
    except given.DamagedError as error:
        raise SpecError("lock", f"the lock is damaged: {error}", Span(source, error.line, error.column), anew) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or version < 1:
        raise SpecError("lock", "the lock is damaged: it has no schema_version", Span(source, 1, 1), anew)
    if version > VERSION:
        place = Span(source, _line_of(source, '"schema_version"'), 1)
        advice = f"this cnnprof reads version {VERSION}: upgrade it"
        raise SpecError("lock", f"the lock is of version {version}, written by a newer cnnprof", place, advice)
    networks = data.get("networks")
    if not isinstance(networks, dict):
        raise SpecError("lock", 'the lock is damaged: it has no "networks"', Span(source, 1, 1), anew)
    return {name: _locked(name, entry, source, anew) for name, entry in networks.items()}


def _line_of(source: Source, text: str, after: int = 1) -> int:
    return next((number for number, line in enumerate(source.lines, 1) if number >= after and text in line), after)


def _locked(name: str, entry: Any, source: Source, anew: str) -> Locked:
    span = Span(source, _line_of(source, json.dumps(name)), 1)
    try:
        given.text(name)
        found = given.table_of(given.anything)(entry)
        made = Locked(
            given.field(found, "input", _TEXTS),
            given.field(found, "batch", partial(given.whole, least=1)),
            given.field(found, "dtype", given.one_of(FLOATS)),
            given.field(found, "set", _TEXTS, ()),
            given.field(found, "totals", _FIGURES),
            given.field(found, "layers", given.table_of(_FIGURES)),
            given.field(found, "max", _FIGURES, {}),
        )
    except given.DamagedError as error:
        line = span.line
        for key in reversed(error.keys):
            line = _line_of(source, json.dumps(key), line)
        raise SpecError("lock", f"the lock is damaged: {json.dumps(name)}: {error}", Span(source, line, 1), anew) from None
    for key in entry:
        if key not in _ENTRY:
            advice = did_you_mean(key, _ENTRY) or f"there are {', '.join(_ENTRY)}"
            place = Span(source, _line_of(source, json.dumps(key), span.line), 1)
            raise SpecError("lock", f'"{key}" is nothing that a network of a lock has', place, advice)
    for key in (*made.totals, *made.budgets):
        if key not in METRICS:
            advice = did_you_mean(key, METRICS) or f"there are {', '.join(METRICS)}"
            raise SpecError("lock", f'"{key}" is no metric', Span(source, _line_of(source, json.dumps(key)), 1), advice)
    return made


_ENTRY = ("input", "batch", "dtype", "set", "totals", "layers", "max")


_TEXTS = given.list_of(given.text)
_FIGURES = given.table_of(given.whole)


def text_of(networks: Mapping[str, Locked]) -> str:
    """The lock as text: sorted, one figure a line, a newline at the end."""
    entries = {name: _entry(network) for name, network in networks.items()}
    return json.dumps({"schema_version": VERSION, "networks": entries}, indent=2, sort_keys=True) + "\n"


def _entry(network: Locked) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "input": list(network.input),
        "batch": network.batch,
        "dtype": network.dtype,
        "totals": dict(network.totals),
        "layers": {path: dict(figures) for path, figures in network.layers.items()},
    }
    if network.settings:
        entry["set"] = list(network.settings)
    if network.budgets:
        entry["max"] = dict(network.budgets)
    return entry


@contextmanager
def updating(path: Path) -> Iterator[None]:
    """While it is held, no other process updates the lock: two updates at once come one after the other.

    On Windows nothing keeps them apart: the lock is whole all the same, but that of the last to write.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        handle = os.open(_real(path).parent, os.O_RDONLY)
    except OSError as error:
        raise LockError(f"cannot update {path}: {error.strerror}; {_standing(path)}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write(path: Path, networks: Mapping[str, Locked]) -> None:
    """Puts the new lock in the place of the old one at once: at any moment one of them stands there, whole. A link stays one.

    Raises LockError, which says that the old one stands, where that fails.
    """
    temporary, real = "", _real(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text_of(networks))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(real.stat().st_mode & 0o777 if real.exists() else 0o644)
        Path(temporary).replace(real)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise LockError(f"cannot write {path}: {error.strerror}; {_standing(path)}") from None


def _real(path: Path) -> Path:
    """The file itself, where the path leads to it through links."""
    return Path(os.path.realpath(path))


def _standing(path: Path) -> str:
    return "the old lock stands as it was" if path.exists() else "there is no lock, as before"


def remove(path: Path, texts: Sequence[str]) -> list[str]:
    """Takes networks out of the lock: their names. Raises UsageError for one that it does not name; then nothing is written."""
    with updating(path):
        networks = read(path)
        names = named(texts, networks)
        for name in names:
            if name not in networks:
                advice = did_you_mean(name, list(networks)) or f"it names {', '.join(networks) or 'none'}"
                raise UsageError(f'the lock does not name "{name}"; {advice}')
        write(path, {name: network for name, network in networks.items() if name not in names})
    return names


def tolerances_of(texts: Sequence[str]) -> dict[str, float]:
    """`products=1%` as the share of a metric that may change. Raises UsageError for anything else."""
    found = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=(\d+(?:\.\d+)?)%", text)
        if not match:
            raise UsageError(f'--tolerance takes metric=percent, products=1%, not "{text}"')
        if match[1] not in METRICS:
            advice = did_you_mean(match[1], METRICS) or f"there are {', '.join(METRICS)}"
            raise UsageError(f'there is no metric "{match[1]}"; {advice}')
        found[match[1]] = float(match[2]) / 100
    return found
