"""`cnnprof summarize`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from cnnprof.commands import options
from cnnprof.commands.output import Output, measuring, write_profiles
from cnnprof.errors import EXIT_FAILED, UsageError
from cnnprof.render.columns import COLUMNS
from cnnprof.render.view import View
from cnnprof.spec import target
from cnnprof.spec.input import parse_option


class Style(str, Enum):
    products = "products"
    torchsummary = "torchsummary"
    tree = "tree"


class Convention(str, Enum):
    products = "products"
    flops = "flops"
    mac_bias = "mac+bias"
    fvcore = "fvcore"
    thop = "thop"
    ptflops = "ptflops"


def run(
    targets: options.Targets,
    input_shape: options.Input = None,
    batch: options.Batch = 1,
    settings: options.Settings = None,
    dtype: options.Dtype = options.DataType.float32,
    style: Annotated[Style, typer.Option(metavar="STYLE", help=f"Whose table it looks like: {', '.join(Style)}.")] = Style.products,
    formulas: Annotated[bool, typer.Option("--formulas", help="Show the arithmetic behind every number.")] = False,
    depth: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Containers at this depth are one row with their sum.")
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Show equal blocks in a row one by one, not as one row with x3.")
    ] = False,
    columns: Annotated[str | None, typer.Option(metavar="NAME,...", help=f"The columns to show, of: {', '.join(COLUMNS)}.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by a column: numbers and sizes from the largest, texts from A to Z.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show N rows, the others as one.")] = None,
    convention: Annotated[
        Convention,
        typer.Option(
            metavar="NAME", help=f"Whose count stands in place of products, of what other tools print: {', '.join(Convention)}."
        ),
    ] = Convention.products,
    training: options.TrainingToo = False,
    optimizer: options.OfOptimizer = None,
    format: options.Format = None,
    output: options.OutputFile = None,
    force: options.Force = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a count is only a lower bound: an operator is unknown.")
    ] = False,
) -> None:
    """Show what each layer of a network costs: output size, parameters, products, and the totals; with --training its memory.

    A YAML spec is data: reading it runs no code. package.module:callable runs the Python code that it names.
    """
    view = View(
        columns=tuple(columns.split(",")) if columns is not None else (),
        depth=depth,
        expand=expand,
        sort=sort,
        top=top,
        style=style.value,
        formulas=formulas,
    )
    where = Output.of(output, format.value if format else None, force)
    if where.format == "csv" and len(targets) > 1:
        raise UsageError("a csv holds one network: give one target, or another format")
    inputs = tuple(parse_option(text) for text in input_shape or ())
    values = target.settings(settings or [])
    found = [target.find(text) for text in targets]
    # Only now, when what can be checked without torch is right.
    from cnnprof.profiling.resolve import Conditions, profile_of

    conditions = Conditions(inputs, batch, values, dtype.value, convention.value, options.optimizer_of(training, optimizer))
    with measuring():
        profiles = [profile_of(one, conditions) for one in found]
    write_profiles(profiles, view, where)
    if strict and not all(profile.complete for profile in profiles):
        raise typer.Exit(EXIT_FAILED)
