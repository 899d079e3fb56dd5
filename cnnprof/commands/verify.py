"""`cnnprof verify`."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeAlias

import typer

from cnnprof.commands import options
from cnnprof.commands.output import Output, measuring
from cnnprof.commands.progress import steps
from cnnprof.errors import EXIT_FAILED, UsageError
from cnnprof.render.verification import FORMATS
from cnnprof.spec import target as targets
from cnnprof.spec.input import parse_option
from cnnprof.spec.target import Target

if TYPE_CHECKING:
    from cnnprof.profiling.resolve import Conditions

Answer: TypeAlias = tuple[Callable[[TextIO], None], bool]
"""What writes the result, and whether it passed."""


class Format(str, Enum):
    table = "table"
    json = "json"


def run(
    target: options.Network,
    input_shape: options.Input = None,
    batch: options.Batch = 1,
    settings: options.Settings = None,
    dtype: options.Dtype = options.DataType.float32,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Run it for real, and put the memory that it takes beside the prediction."),
    ] = False,
    optimizer: Annotated[
        options.Optimizer | None,
        typer.Option("--optimizer", metavar="NAME", help="With --memory: whose step; sgd by default."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="With --memory: cpu, or cuda where there is one.")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="table or json."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file: .json or .txt.")] = None,
    force: options.Force = False,
) -> None:
    """Ask independent sources what a network costs, and explain where they differ.

    They are torch's FLOP counter, fvcore on real tensors, the shapes of a real pass on the CPU, and what was published.
    What needs more than 4 GiB of real numbers is left out, and said to be. package.module:callable runs the code that it names.

    With --memory they are the same passes on real tensors, operator by operator, and what the allocator hands out meanwhile.

    Exit codes: 0 if every difference is explained, 1 if one is not, 2 if there is no answer.
    """
    where = Output.of(output, format.value if format else None, force)
    if where.format not in FORMATS:
        raise UsageError(f"a verification is written as {' or '.join(FORMATS)}, not as {where.format}")
    if not memory and (optimizer or device):
        raise UsageError("--optimizer and --device go with --memory")
    inputs = tuple(parse_option(text) for text in input_shape or ())
    values = targets.settings(settings or [])
    found = targets.find(target)
    # Only now, when what can be checked without torch is right.
    with steps() as notify:
        notify("importing torch")
        if memory:
            # torch's profiler, which tells what the allocator does, writes to stderr that it starts and stops.
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        from cnnprof.nets.guest import guest
        from cnnprof.profiling.resolve import Conditions

        conditions = Conditions(inputs, batch, values, dtype.value)
        verified = (
            partial(_memory, optimizer=(optimizer or options.Optimizer.sgd).value, device=device or "cpu") if memory else _products
        )
        with measuring(), guest():
            emit, passed = verified(found, conditions, where.format, notify)
    where.send(emit)
    if not passed:
        raise typer.Exit(EXIT_FAILED)


def _products(found: Target, conditions: Conditions, written: str, notify: Callable[[str], None]) -> Answer:
    from cnnprof.verify import verify as verified

    result = verified(found, conditions, notify)
    return partial(FORMATS[written], result), result.passed


def _memory(
    found: Target, conditions: Conditions, written: str, notify: Callable[[str], None], *, optimizer: str, device: str
) -> Answer:
    from cnnprof.render.memory_verification import FORMATS as FORMATS_OF_MEMORY
    from cnnprof.verify_memory import verify_memory

    result = verify_memory(found, conditions, optimizer, device, notify)
    return partial(FORMATS_OF_MEMORY[written], result), result.passed
