"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnnprof.spec import library


class DataType(str, Enum):
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    float64 = "float64"


class Optimizer(str, Enum):
    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"
    adamw = "adamw"


class FileFormat(str, Enum):
    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


def complete_network(incomplete: str) -> Iterator[tuple[str, str]]:
    """The bundled networks whose names begin so, for the shell."""
    for name, entry in library.entries().items():
        if name.startswith(incomplete):
            yield name, entry.title


def optimizer_of(training: bool, optimizer: Optimizer | None) -> str | None:
    """The optimizer that `--training` and `--optimizer` ask for; None without either."""
    return (optimizer or Optimizer.sgd).value if training or optimizer else None


BundledName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A bundled network; `cnnprof list` names them.", autocompletion=complete_network),
]
Network = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A bundled network, file.yaml, file.yaml::variant, or package.module:callable.",
        autocompletion=complete_network,
    ),
]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET",
        help="A bundled network, file.yaml, file.yaml::variant, package.module:callable, or a saved profile.json.",
        autocompletion=complete_network,
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]CxHxW[:TYPE]",
        help="The input without its batch dimension; the spec's own by default. Repeatable for a module with several.",
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Inputs in one pass: products and outputs grow with it.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a variable of the spec: classes=10. Repeatable.")
]
Dtype = Annotated[
    DataType,
    typer.Option("--dtype", metavar="TYPE", help=f"Of the input and the parameters: {', '.join(DataType)}."),
]
TrainingToo = Annotated[
    bool, typer.Option("--training", help="Show what training costs too: what layers retain, and the peak of an iteration.")
]
OfOptimizer = Annotated[
    Optimizer | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help=f"Whose state and step the training peak has: {', '.join(Optimizer)}; sgd by default. Implies --training.",
    ),
]
Format = Annotated[
    FileFormat | None,
    typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FileFormat)}; by default what the name after -o says, or table."),
]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file: .json, .csv, .md, .tex or .txt.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file after -o.")]
