"""`cnnprof memory`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnnprof.commands import options
from cnnprof.commands.output import Output, measuring
from cnnprof.errors import UsageError
from cnnprof.spec import target as targets
from cnnprof.spec.input import parse_option


class Format(str, Enum):
    table = "table"
    json = "json"
    csv = "csv"


def run(
    target: options.Network,
    input_shape: options.Input = None,
    batch: options.Batch = 1,
    settings: options.Settings = None,
    dtype: options.Dtype = options.DataType.float32,
    training: options.TrainingToo = False,
    optimizer: options.OfOptimizer = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Say which tensors a layer keeps for training, and for which operator's backward."),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="table, json or csv."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file: .json, .csv or .txt.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Show the memory of a pass: its peak and what it is made of, the layers that cost most, the live bytes over time.

    Without --training it is one inference pass, input included, parameters apart. With it, it is an iteration of a training
    loop: forward, loss, backward, optimizer step. Nothing is allocated to find out. As json and csv every event is written.
    """
    where = Output.of(output, format.value if format else None, force)
    if where.format not in {one.value for one in Format}:
        raise UsageError(f"the memory of a pass is written as {', '.join(one.value for one in Format)}, not as {where.format}")
    if explain is not None and where.format == "csv":
        raise UsageError("--explain is written as a table or as json")
    inputs = tuple(parse_option(text) for text in input_shape or ())
    values = targets.settings(settings or [])
    found = targets.find(target)
    # Only now, when what can be checked without torch is right.
    from cnnprof.nets.guest import guest
    from cnnprof.profiling.resolve import Conditions, subject_of
    from cnnprof.profiling.timeline import kept_by, timeline
    from cnnprof.render.memory import write

    asked = options.optimizer_of(training or explain is not None, optimizer)
    with measuring(), guest():
        subject = subject_of(found, Conditions(inputs, batch, values, dtype.value))
        made = timeline(subject.module, subject.given, subject.name, asked)
    explained = kept_by(made, explain) if explain is not None else None
    where.send(lambda file: write(made, file, where.format, explained))
