"""What `cnnprof check` found, as people and machines read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from cnnprof.errors import CnnprofError, Span, SpecError, printable
from cnnprof.lock import Failure
from cnnprof.render.as_markdown import escaped
from cnnprof.render.comparison import change


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A figure of one layer that changed."""

    path: str
    metric: str
    was: int | None
    now: int | None
    span: Span | None
    """The line of the spec that the layer comes from."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One network: what failed, and which layers changed."""

    network: str
    failures: tuple[Failure, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    accept: str = ""
    """The command that accepts what it is now."""
    error: str = ""
    """Why it could not be measured."""
    span: Span | None = None
    """Where, if it is a line of its spec."""

    @property
    def passed(self) -> bool:
        return not self.failures and not self.error


def write(results: Sequence[Checked], file: TextIO, format: str) -> None:
    """Writes the results in one of `FORMATS`. JSON has names as they are, since it escapes what is special.

    What the stream does not take is escaped, as stderr does.
    """
    made = StringIO()
    FORMATS[format](results if format == "json" else _printable(results), made)
    encoding = file.encoding or "utf-8"
    file.write(made.getvalue().encode(encoding, "xmlcharrefreplace" if format == "junit" else "backslashreplace").decode(encoding))


def _printable(results: Sequence[Checked]) -> list[Checked]:
    """The results with names that end no line, so that a lock cannot write lines of its own into a log, and fit for XML."""
    return [
        replace(
            result,
            network=printable(result.network),
            layers=tuple([replace(layer, path=printable(layer.path)) for layer in result.layers]),
            accept=printable(result.accept),
        )
        for result in results
    ]


def summary(results: Sequence[Checked]) -> str:
    """`34 passed, 1 failed`, and how many could not be checked if there are any."""
    errors = sum(bool(result.error) for result in results)
    passed = sum(result.passed for result in results)
    return f"{passed} passed, {len(results) - passed - errors} failed{f', {errors} not checked' if errors else ''}"


def number(value: int | None) -> str:
    """`1,333,200`; `-` where there is none."""
    return "-" if value is None else f"{value:,}"


def _step(layer: LayerChange) -> str:
    if layer.was is None:
        return f"new, {number(layer.now)}"
    return f"{layer.was:,} -> {layer.now:,}" if layer.now is not None else f"gone, was {layer.was:,}"


def sentence(failure: Failure) -> str:
    """`products was 714,188,480, is 739,000,000: +24,811,520 (+3.5 %)`."""
    if failure.budget and failure.now is None:
        return f"{failure.metric} is not known, the budget is {number(failure.was)}"
    if failure.budget:
        return f"{failure.metric} is {number(failure.now)}, the budget is {number(failure.was)}: {failure.difference:+,} over"
    if failure.was is None or failure.now is None:
        return f"{failure.metric} was {number(failure.was)}, is {number(failure.now)}"
    share = change(failure.now, failure.was)
    return f"{failure.metric} was {failure.was:,}, is {failure.now:,}: {failure.difference:+,} ({share})"


def _full(results: Sequence[Checked], file: TextIO) -> None:
    for result in results:
        if result.error:
            file.write(f"{result.network}: cannot be checked\n  {result.error.replace(chr(10), chr(10) + '  ')}\n")
        if not result.failures:
            continue
        file.write(f"{result.network}: FAILED\n")
        file.writelines(f"  {sentence(failure)}\n" for failure in result.failures)
        for layer in result.layers:
            at = f"  at {layer.span}" if layer.span else ""
            file.write(f"    {layer.path}: {layer.metric} {_step(layer)}{at}\n")
        if result.accept:
            file.write(f"  to accept: {result.accept}\n")
    file.write(f"{summary(results)}\n")


def _located(result: Checked, failure: Failure) -> tuple[Span | None, str]:
    """The line of the spec with the first layer whose figure changed, and the sentence, all such layers behind it."""
    span = next((layer.span for layer in result.layers if layer.metric == failure.metric and layer.span), None)
    layers = _layers(result, failure)
    return span, f"{sentence(failure)}{'; layers: ' if layers else ''}{', '.join(layers)}"


def _layers(result: Checked, failure: Failure) -> list[str]:
    """`features.3 +12,288` for each of the first layers whose figure changed, and how many more there are."""
    layers = [layer for layer in result.layers if layer.metric == failure.metric]
    return first([f"{layer.path} {(layer.now or 0) - (layer.was or 0):+,}" for layer in layers])


def first(names: Sequence[str]) -> list[str]:
    """The first of the names, and how many more there are."""
    return [*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]


_NAMED = 5
"""How many layers are named on one line."""


def _concise(results: Sequence[Checked], file: TextIO) -> None:
    for result in results:
        if result.error:
            file.write(f"{'' if result.span else f'{result.network}: '}{result.error.partition(chr(10))[0]}\n")
        for failure in result.failures:
            span, text = _located(result, failure)
            file.write(f"{f'{span}: ' if span else ''}{result.network}: {text}\n")
    file.write(f"{summary(results)}\n")


def _github(results: Sequence[Checked], file: TextIO) -> None:
    """GitHub's workflow commands: annotations beside the line of the spec."""
    for result in results:
        lines = [(result.span, result.error)] if result.error else [_located(result, failure) for failure in result.failures]
        file.writelines(f"{_annotation(span, result.network, text)}\n" for span, text in lines)
    file.write(f"{summary(results)}\n")


def annotation(error: CnnprofError) -> str:
    """What GitHub shows where nothing could be checked."""
    span = error.span if isinstance(error, SpecError) else None
    return _annotation(span, "cnnprof check", error.message if isinstance(error, SpecError) else str(error))


def _annotation(span: Span | None, title: str, text: str) -> str:
    place = f"file={_property(span.source.name)},line={span.line},col={span.column}," if span else ""
    return f"::error {place}title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _json(results: Sequence[Checked], file: TextIO) -> None:
    file.write(json.dumps({"schema_version": 1, "networks": [_entry(result) for result in results]}, indent=2) + "\n")


def _entry(result: Checked) -> dict[str, object]:
    return {
        "network": result.network,
        "passed": result.passed,
        "error": result.error,
        "failures": [{"metric": f.metric, "was": f.was, "is": f.now, "budget": f.budget} for f in result.failures],
        "layers": [
            {"path": c.path, "metric": c.metric, "was": c.was, "is": c.now, "line": str(c.span) if c.span else None}
            for c in result.layers
        ],
        "accept": result.accept,
    }


def _junit(results: Sequence[Checked], file: TextIO) -> None:
    failed, errors = sum(bool(r.failures) for r in results), sum(bool(r.error) for r in results)
    file.write('<?xml version="1.0" encoding="utf-8"?>\n')
    file.write(f'<testsuite name="cnnprof check" tests="{len(results)}" failures="{failed}" errors="{errors}">\n')
    for result in results:
        inner = ""
        if result.error:
            inner = f"<error>{escape(result.error)}</error>"
        elif result.failures:
            lines = [_located(result, failure)[1] for failure in result.failures]
            lines += [f"to accept: {result.accept}"] if result.accept else []
            metrics = ", ".join(failure.metric for failure in result.failures)
            inner = f"<failure message={quoteattr(f'{metrics}: not as accepted')}>{escape(chr(10).join(lines))}</failure>"
        file.write(f'  <testcase classname="cnnprof" name={quoteattr(result.network)}>{inner}</testcase>\n')
    file.write("</testsuite>\n")


def markdown(results: Sequence[Checked]) -> str:
    """A table fit for a job's summary or a comment."""
    results = _printable(results)
    lines = [f"### cnnprof check: {summary(results)}", ""]
    if any(result.failures for result in results):
        lines += ["| network | metric | was | is | change | layers |", "|---|---|---:|---:|---:|---|"]
    for result in results:
        for failure in result.failures:
            share = "over budget" if failure.budget else change(failure.now or 0, failure.was or 0)
            where = ", ".join(_layers(result, failure))
            cells = [result.network, failure.metric, number(failure.was), number(failure.now), share, where]
            lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    lines += [f"- {escaped(result.network)}: {escaped(result.error.partition(chr(10))[0])}" for result in results if result.error]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Checked], TextIO], None]] = {
    "full": _full,
    "concise": _concise,
    "github": _github,
    "json": _json,
    "junit": _junit,
}
