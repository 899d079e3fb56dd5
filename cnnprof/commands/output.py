"""Where a command's result goes: to stdout, or to a file that is written whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TextIO

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import Profile
from cnnprof.render import SUFFIXES, write
from cnnprof.render.view import View


@contextmanager
def measuring() -> Iterator[None]:
    """While the code of users runs: what it prints goes to stderr, for stdout is the result's."""
    with redirect_stdout(sys.stderr):
        yield


@dataclass(frozen=True, slots=True)
class Output:
    """A format, and the file that it is written to; None is stdout."""

    format: str
    path: Path | None

    @classmethod
    def of(cls, path: Path | None, format: str | None, force: bool) -> Output:
        """From the options `-o`, `--format` and `--force`. UsageError where the file stands already or its name says no format."""
        if path is None:
            if force:
                raise UsageError("--force goes with -o")
            return cls(format or "table", None)
        if path == Path():  # which an empty text is, too
            raise UsageError("-o takes the name of a file, and what it is given names none: -o net.json")
        implied = SUFFIXES.get(path.suffix.lower())
        if format is None and implied is None:
            raise UsageError(f'"{path}" ends in no known format ({", ".join(SUFFIXES)}): give one with --format')
        path = Path(os.path.realpath(path))  # what a link points to is written, and the link stays
        if path.is_dir():
            raise UsageError(f'"{path}" is a directory')
        if path.exists() and not force:
            raise UsageError(f'"{path}" is there already: --force overwrites it')
        if path.exists() and not path.is_file():
            raise UsageError(f'"{path}" is no regular file: redirect with > instead')
        if not path.absolute().parent.is_dir():
            raise UsageError(f'"{path}": there is no directory "{path.parent}"')
        return cls(format or implied or "table", path)

    def send(self, emit: Callable[[TextIO], None]) -> None:
        """Writes what `emit` writes: to a file through a neighbour of it, so that a failure leaves the old one."""
        if self.path is None:
            emit(sys.stdout)
            return
        text = StringIO()
        emit(text)
        try:
            handle, name = tempfile.mkstemp(dir=self.path.absolute().parent, prefix=f".{self.path.name}.")
        except OSError as error:
            raise UsageError(f'cannot write "{self.path}": {error.strerror}') from None
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
            Path(name).chmod(self.path.stat().st_mode & 0o777 if self.path.exists() else 0o666 & ~_umask())
            Path(name).replace(self.path)
        except OSError as error:
            Path(name).unlink()
            raise UsageError(f'cannot write "{self.path}": {error.strerror}') from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_profiles(profiles: Sequence[Profile], view: View, output: Output) -> None:
    """Writes the profiles one after another; as JSON several are an array."""
    before, between, after = _AROUND.get(output.format, ("", "\n", "")) if len(profiles) > 1 else ("", "", "")

    def emit(file: TextIO) -> None:
        file.write(before)
        for number, profile in enumerate(profiles):
            file.write(between if number else "")
            write(profile, view, file, output.format)
        file.write(after)

    output.send(emit)


_AROUND = {"json": ("[\n", ",\n", "]\n")}
"""What stands before, between and after several profiles in a format."""
