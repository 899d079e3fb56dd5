"""The command line: which commands there are, and what happens to an error that one of them raises."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from io import TextIOBase
from typing import Annotated

import typer

from cnnprof import __version__
from cnnprof.commands import check, compare, memory, schema, show, summarize, verify
from cnnprof.commands import list as list_networks
from cnnprof.errors import EXIT_CANNOT_RUN, CnnprofError, UsageError, full
from cnnprof.render.definitions import GLOSSARY

app = typer.Typer(
    name="cnnprof",
    help="What a network costs before anything is allocated: shapes, parameters, products and memory of every layer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cnnprof {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


app.command("summarize", epilog=GLOSSARY)(summarize.summarize)
app.command("compare", epilog=GLOSSARY)(compare.compare)
app.command("check")(check.check)
app.command("memory", epilog=GLOSSARY)(memory.memory)
app.command("verify")(verify.verify)
app.command("list")(list_networks.list_networks)
app.command("show")(show.show)
app.command("schema")(schema.schema)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    # Nearly everything that is allocated while torch is imported stays: collecting garbage meanwhile takes a tenth of the time.
    gc.disable()
    _replace_closed_streams()
    try:
        code = _run()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = _PIPE_CLOSED
    except OSError as error:
        with suppress(OSError):
            print(f"error: cannot write the result: {error.strerror}", file=sys.stderr, flush=True)
        code = EXIT_CANNOT_RUN
    # At once: tearing torch down takes a quarter of the time that it takes to import it.
    os._exit(code)


def _run() -> int:
    """Runs the command line: its exit code. Raises OSError where the result cannot be written."""
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer makes a 1 of it, which says that a check failed
            raise ended.__context__ from None
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except CnnprofError as error:
        print(full(error, sys.stderr.encoding or "utf-8"), file=sys.stderr)
        return error.exit_code
    return 0


class _Closed(TextIOBase):
    """Stands for a closed stdout: only what has something to write there fails, and `-o FILE` does not."""

    def write(self, text: str) -> int:
        raise UsageError("standard output is closed")


def _replace_closed_streams() -> None:
    """Puts something in the place of each stream that was closed before we began, which Python has as None.

    Their numbers are taken first: a file that is opened later would have one of them, and what torch prints would go into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


_PIPE_CLOSED = 141
"""What a shell reports for a program that a closed pipe has ended."""
