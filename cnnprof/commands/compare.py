"""`cnnprof compare`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from cnnprof.commands import options
from cnnprof.commands.output import Output, measuring
from cnnprof.errors import UsageError
from cnnprof.render.comparison import write
from cnnprof.spec import target
from cnnprof.spec.input import InputOption, parse_option


class By(str, Enum):
    total = "total"
    kind = "kind"
    layer = "layer"


def run(
    targets: options.Targets,
    input_shape: options.Input = None,
    batch: options.Batch = 1,
    settings: options.Settings = None,
    dtype: options.Dtype = options.DataType.float32,
    by: Annotated[By, typer.Option(metavar="ROWS", help="What is side by side: total, kind (of layers) or layer.")] = By.total,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --by kind or layer: the figure of the rows; products by default.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="With --by kind or layer: show the rows that are equal, too.")] = False,
    format: options.Format = None,
    output: options.OutputFile = None,
    force: options.Force = False,
) -> None:
    """Put networks side by side: what they cost, ratios to the first, and which layers differ.

    name@3x224x224 gives one network an input of its own, --input all of them.
    """
    where = Output.of(output, format.value if format else None, force)
    if len(targets) < 2:
        raise UsageError("compare takes two targets or more")
    if by is By.total and (metric is not None or every):
        raise UsageError("--metric and --all go with --by kind or --by layer")
    shared = tuple(parse_option(text) for text in input_shape or ())
    named = [_with_input(text) for text in targets]
    values = target.settings(settings or [])
    found = [target.find(text) for text, _ in named]
    # Only now, when what can be checked without torch is right.
    from cnnprof.compare import compare as compared
    from cnnprof.profiling.resolve import Conditions, profile_of

    profiles = []
    with measuring():
        for one, (_, own) in zip(found, named, strict=True):
            profiles.append(profile_of(one, Conditions(own or shared, batch, values, dtype.value, retained=True)))
    made = compared(profiles, by.value)
    where.send(lambda file: write(made, file, where.format, "products" if metric is None else metric, every))


def _with_input(text: str) -> tuple[str, tuple[InputOption, ...]]:
    """`alexnet@3x227x227` as the target and its input, where it has one."""
    name, at, shape = text.rpartition("@")
    return (name, (parse_option(shape, f'the "@" of {text}'),)) if at else (text, ())
