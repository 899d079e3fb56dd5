"""The command line: which commands there are, and what happens to an error that one of them raises."""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from io import TextIOBase
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cnnprof import __version__
from cnnprof.errors import EXIT_CANNOT_RUN, CnnprofError, UsageError, full

COMMANDS: Mapping[str, str] = {
    "summarize": (
        "Show what each layer of a network costs: output size, parameters, products, and the totals; with --training its memory."
    ),
    "compare": "Put networks side by side: what they cost, ratios to the first, and which layers differ.",
    "check": "Fail if a network does not cost what was accepted: its totals are compared exactly with those in cnnprof.lock.",
    "memory": "Show the memory of a pass: its peak and what it is made of, the layers that cost most, the live bytes over time.",
    "verify": "Ask independent sources what a network costs, and explain where they differ.",
    "list": "List the bundled networks with their parameters, products, input and reference.",
    "show": "Print the YAML of a bundled network, to start one's own from.",
    "schema": "Print the JSON Schema of a spec: save it beside your YAML files, and editors complete and check them.",
}
"""Each one's name, which is that of its module, and the beginning of its help: `--help` need not import them to say that."""
_WITH_FIGURES = frozenset({"summarize", "compare", "memory"})
"""Those whose help ends with what the figures are."""


class _Commands(TyperGroup):
    """Loads the command that is called, so that it need not wait for what the others import."""

    _listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        return found if found is None or self._listing else loaded(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def loaded(name: str) -> Any:
    """The command of that name, with its options."""
    run: Callable[..., None] = import_module(f"cnnprof.commands.{name}").run
    epilog = import_module("cnnprof.render.definitions").GLOSSARY if name in _WITH_FIGURES else None
    paragraphs = (inspect.getdoc(run) or "").split("\n\n")
    alone = typer.Typer(add_completion=False)
    alone.command(name, help="\n\n".join(" ".join(one.split()) for one in paragraphs), epilog=epilog)(run)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="cnnprof",
    cls=_Commands,
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


def _unloaded() -> None:
    """Stands for a command that has not been called."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_unloaded)


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
