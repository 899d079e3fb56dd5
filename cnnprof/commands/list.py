"""`cnnprof list`."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.render.listing import write_listing
from cnnprof.spec import library


def run(
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="Only names that match, 'resnet*', or a family, resnet.")] = "*",
) -> None:
    """List the bundled networks with their parameters, products, input and reference."""
    found = library.entries()
    chosen = [entry for name, entry in found.items() if fnmatchcase(name, pattern) or entry.path.stem == pattern]
    if not chosen:
        advice = did_you_mean(pattern.strip("*?"), list(found)) or "`cnnprof list` names them all"
        raise UsageError(f'no bundled network matches "{pattern}"; {advice}')
    write_listing(chosen, sys.stdout)
