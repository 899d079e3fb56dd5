"""`cnnprof verify`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnnprof.commands import options
from cnnprof.commands.output import Output
from cnnprof.commands.progress import steps
from cnnprof.errors import EXIT_FAILED, UsageError
from cnnprof.render.verification import FORMATS
from cnnprof.spec import target as targets
from cnnprof.spec.input import parse_option


class Format(str, Enum):
    table = "table"
    json = "json"


def verify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A bundled network, file.yaml, file.yaml::variant, or package.module:callable.",
            autocompletion=options.complete_network,
        ),
    ],
    input_shape: options.Input = None,
    batch: options.Batch = 1,
    settings: options.Settings = None,
    dtype: options.Dtype = options.DataType.float32,
    format: Annotated[Format | None, typer.Option("--format", help="Table by default, or what the name after -o says.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file: .json or .txt.")] = None,
    force: options.Force = False,
) -> None:
    """Ask independent sources what a network costs, and explain where they differ.

    They are torch's FLOP counter, fvcore on real tensors, the shapes of a real pass on the CPU, and what was published.
    What needs more than 4 GiB of real numbers is left out, and said to be. package.module:callable runs the code that it names.

    Exit codes: 0 if every difference is explained, 1 if one is not, 2 if there is no answer.
    """
    where = Output.of(output, format.value if format else None, force)
    if where.format not in FORMATS:
        raise UsageError(f"a verification is written as {' or '.join(FORMATS)}, not as {where.format}")
    inputs = tuple(parse_option(text) for text in input_shape or ())
    values = targets.settings(settings or [])
    found = targets.find(target)
    # Only now, when what can be checked without torch is right.
    with steps() as notify:
        notify("importing torch")
        from cnnprof.profiling.resolve import Conditions
        from cnnprof.verify import verify as verified

        result = verified(found, Conditions(inputs, batch, values, dtype.value), notify)
    where.send(lambda file: FORMATS[where.format](result, file))
    if not result.passed:
        raise typer.Exit(EXIT_FAILED)
