"""The command line: which commands there are, and what happens to an error that one of them raises."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from cnnprof import __version__
from cnnprof.commands import check, compare, memory, schema, show, summarize, verify
from cnnprof.commands import list as list_networks
from cnnprof.errors import EXIT_CANNOT_RUN, CnnprofError, full
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
    try:
        app()
        code: int | str | None = 0
    except SystemExit as ended:
        code = ended.code
    except CnnprofError as error:
        print(full(error, getattr(sys.stderr, "encoding", "utf-8")), file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        code = _PIPE_CLOSED
    except OSError as error:
        print(f"error: cannot write the result: {error.strerror}", file=sys.stderr)
        code = EXIT_CANNOT_RUN
    _end(code if isinstance(code, int) else 0 if code is None else 1)


def _end(code: int) -> None:
    """Ends the process at once: tearing torch down takes a quarter of the time that it takes to import it."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BrokenPipeError:
        code = _PIPE_CLOSED
    except OSError as error:
        print(f"error: cannot write the result: {error.strerror}", file=sys.stderr)
        code = EXIT_CANNOT_RUN
    os._exit(code)


_PIPE_CLOSED = 141
"""What a shell reports for a program that a closed pipe has ended."""
