"""Which line of the user's own code an error comes from."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_OTHERS = (str(Path(torch.__file__).parent) + os.sep, str(Path(__file__).parents[1]) + os.sep, "<")
"""Where the files of torch and of this package are; frozen modules have no file."""


def line_of(error: BaseException) -> str:
    """`nets/net.py:12`: the innermost line that is neither torch's nor ours, seen from this folder; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_written(error.filename)}:{error.lineno}"
    found, traceback = "", error.__traceback__
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(_OTHERS):
            found = f"{_written(file)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _written(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
