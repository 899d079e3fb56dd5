"""From a `Profile` to text: one format per file, each a pure function of the profile and of what the user asked to see.

Nothing here measures or imports torch; rich is imported only where something is painted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TextIO

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.profile import Profile
from cnnprof.render.columns import of_training
from cnnprof.render.style import STYLES
from cnnprof.render.view import View

__all__ = ["FORMATS", "STYLES", "SUFFIXES", "View", "write"]

FORMATS: Mapping[str, str] = {
    "table": "cnnprof.render.as_table",
    "json": "cnnprof.render.as_json",
    "csv": "cnnprof.render.as_csv",
    "markdown": "cnnprof.render.as_markdown",
    "latex": "cnnprof.render.as_latex",
}
"""Where the `write` of each format is."""

SUFFIXES: Mapping[str, str] = {".json": "json", ".csv": "csv", ".md": "markdown", ".tex": "latex", ".txt": "table"}
"""The format that the name of an output file implies."""


def write(
    profile: Profile,
    view: View,
    file: TextIO,
    format: str = "table",
) -> None:
    """Writes the view of the profile to `file` in that format; UsageError where there is no such format."""
    if format not in FORMATS:
        hint = did_you_mean(format, list(FORMATS)) or f"there are: {', '.join(FORMATS)}"
        raise UsageError(f'there is no format "{format}"; {hint}')
    if not profile.retained and (unknown := of_training([*view.columns, *([view.sort] if view.sort else [])])):
        why = profile.untrained or "it takes a training pass: --training"
        raise UsageError(f"{', '.join(unknown)} of {profile.network} is not known: {why}")
    import_module(FORMATS[format]).write(profile, view, file)
