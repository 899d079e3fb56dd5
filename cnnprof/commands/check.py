"""`cnnprof check`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from cnnprof import lock
from cnnprof.commands import options
from cnnprof.commands.output import measuring
from cnnprof.errors import EXIT_CANNOT_RUN, EXIT_FAILED, CnnprofError, UsageError, printable
from cnnprof.render import checked
from cnnprof.spec.input import parse_option


class OutputFormat(str, Enum):
    full = "full"
    concise = "concise"
    github = "github"
    json = "json"
    junit = "junit"


def run(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="Networks to check; all that the lock names by default.",
            autocompletion=options.complete_network,
        ),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Accept what the networks cost now.")] = False,
    lock_file: Annotated[Path, typer.Option("--lock", metavar="FILE", help="The lock.")] = Path(lock.NAME),
    tolerance: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=N%", help="How far a figure may be off: products=1%. Repeatable.")
    ] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--output-format", metavar="FORMAT", help=f"How failures are told: {', '.join(OutputFormat)}.")
    ] = OutputFormat.full,
    input_shape: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="[NAME=]CxHxW[:TYPE]", help="With --update: the input to hold for. Repeatable."),
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, metavar="N", help="With --update: the batch to hold for.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="With --update: a variable of the spec. Repeatable.")
    ] = None,
    dtype: Annotated[options.DataType | None, typer.Option("--dtype", metavar="TYPE", help="With --update: its type.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TARGET", help="Take a network out of the lock. Repeatable.")
    ] = None,
) -> None:
    """Fail if a network does not cost what was accepted: its totals are compared exactly with those in cnnprof.lock.

    Exit codes: 0 if all is as it was, 1 if a total changed or is over its budget ("max" in the lock), 2 if there is no answer.
    """
    with _annotated(output_format is OutputFormat.github):
        names = targets or []
        _look_at_place(lock_file)
        tolerances = lock.tolerances_of(tolerance or [])
        for text in input_shape or []:
            parse_option(text)
        options_given = {
            "input": input_shape and tuple(input_shape),
            "batch": batch,
            "dtype": dtype and dtype.value,
            "settings": settings and tuple(settings),
        }
        conditions = {key: value for key, value in options_given.items() if value is not None}
        if remove:
            if names or update or conditions or tolerances:
                raise UsageError("--remove goes with --lock alone")
            _say(*[f"{name}: removed" for name in lock.remove(lock_file, remove)])
        elif update:
            if tolerances:
                raise UsageError("--tolerance is for a check: with --update the figures are accepted as they are")
            _update(lock_file, names, conditions)
        elif conditions:
            raise UsageError("the lock says which input, batch, type and settings hold: change them with --update")
        else:
            _check(lock_file, names, tolerances, output_format)


def _look_at_place(path: Path) -> None:
    """Raises UsageError where no lock can be."""
    if path.is_dir():
        raise UsageError(f"--lock takes a file, and {path} is a folder: --lock {path / lock.NAME}")
    if not path.parent.is_dir():
        raise UsageError(f"--lock {path}: there is no folder {path.parent}")


def _check(path: Path, names: Sequence[str], tolerances: Mapping[str, float], output_format: OutputFormat) -> None:
    """Says what each network costs beside what was accepted, and exits with what that means."""
    if not path.exists():
        raise UsageError(f"there is no {path}: {lock.accepting(lock.ANY, path)} writes it")
    accepted = lock.read(path)
    if not accepted:
        raise UsageError(f"{path} names no network, so there is nothing to check: {lock.accepting(lock.ANY, path)} adds one")
    from cnnprof.check import check

    with _progress(len(names or accepted)) as advance, measuring():
        results = check(names, accepted, tolerances, path, advance)
    checked.write(results, sys.stdout, output_format.value)
    _summarize_job(results)
    if any(result.error for result in results):
        raise typer.Exit(EXIT_CANNOT_RUN)
    if not all(result.passed for result in results):
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _annotated(wanted: bool) -> Iterator[None]:
    """Shows an error beside the code on GitHub, too."""
    try:
        yield
    except CnnprofError as error:
        if wanted:
            print(checked.annotation(error))
        raise


def _update(path: Path, names: Sequence[str], conditions: Mapping[str, Any]) -> None:
    """Writes down what the networks cost now, and says what is other than before."""
    if not names and not path.exists():
        raise UsageError(f"there is no {path} yet: name the networks that it shall hold: {lock.accepting(lock.ANY, path)}")
    from cnnprof.check import update

    with _progress(len(names)) as advance, measuring():
        changes = update(path, names, conditions, advance)
    for name, before, now, caveats in changes:
        for caveat in caveats:
            _say(f"warning: {name}: {caveat}", file=sys.stderr)
        if before is None:
            _say(f"{name}: added{_under(now)}, {', '.join(f'{metric} {value:,}' for metric, value in now.totals.items())}")
            continue
        for failure in lock.failures(name, now, now, {}):
            _say(f'warning: {name}: {checked.sentence(failure)}; the lock\'s own "max" says so', file=sys.stderr)
        _say(f"{name}: {'unchanged' if now == before else 'accepted'}{_under(now)}", *_differences(before, now))


def _say(*lines: str, file: TextIO | None = None) -> None:
    """Prints the lines: names in them end none, and what the stream does not take is escaped."""
    stream = file or sys.stdout
    print(*[printable(line, stream.encoding or "utf-8") for line in lines], sep="\n", file=stream)


def _differences(before: lock.Locked, now: lock.Locked) -> list[str]:
    """`  params 61,706 -> 61,722 (+16)` for each total; where none differs, which layers do."""
    totals = [
        f"  {metric} {_changed(before.totals.get(metric), now.totals.get(metric))}"
        for metric in lock.METRICS
        if before.totals.get(metric) != now.totals.get(metric)
    ]
    layers = list(dict.fromkeys(path for path, *_ in lock.changed_layers(before, now)))
    return totals or [f"  no total changed, but layers: {', '.join(checked.first(layers))}"] * bool(layers)


def _under(now: lock.Locked) -> str:
    """` with --input 3x224x224`: what is not the network's own."""
    asked = [f"--input {shape}" for shape in now.input] + [f"--set {setting}" for setting in now.settings]
    asked += [f"--batch {now.batch}"] * (now.batch != 1) + [f"--dtype {now.dtype}"] * (now.dtype != "float32")
    return f" with {' '.join(asked)}" if asked else ""


def _changed(was: int | None, now: int | None) -> str:
    step = f"{checked.number(was)} -> {checked.number(now)}"
    return step if was is None or now is None else f"{step} ({now - was:+,})"


def _summarize_job(results: Sequence[checked.Checked]) -> None:
    """Appends a table to the summary of the GitHub job, where there is one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(checked.markdown(results))
        except OSError as error:
            print(f"warning: cannot append to GITHUB_STEP_SUMMARY: {error.strerror}", file=sys.stderr)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Shows a bar on a terminal, once it has taken more than a second; in a pipe nothing."""
    if not sys.stderr.isatty() or total < 2:
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    )
    task = bar.add_task("checking", total=total)
    started = time.monotonic()

    def advance(name: str) -> None:
        bar.advance(task)
        if not bar.live.is_started and time.monotonic() - started > 1:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
