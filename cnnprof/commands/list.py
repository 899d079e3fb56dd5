"""`cnnprof list`."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.spec import library


def list_networks(
    pattern: Annotated[str, typer.Argument(metavar="[GLOB]", help="Only names that match: 'resnet*'.")] = "*",
) -> None:
    """List the bundled networks."""
    found = list(library.entries())
    chosen = [entry for entry in found if fnmatchcase(entry.name, pattern)]
    if not chosen:
        advice = did_you_mean(pattern, [entry.name for entry in found]) or "`cnnprof list` names them all"
        raise UsageError(f'no bundled network matches "{pattern}"; {advice}')
    width = max(len(entry.name) for entry in chosen)
    for entry in chosen:
        about = library.load(entry).about
        facts = ", ".join(about[key] for key in ("authors", "year", "title") if key in about)
        sys.stdout.write(f"{entry.name:{width}}  {facts}\n")
