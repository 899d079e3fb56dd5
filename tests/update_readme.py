"""Writes the real output of README.md's commands below them: `python tests/update_readme.py [--check]`.

A fenced `console` block holds commands, each on a line that starts with `$ cnnprof`, and what they print, errors
included. They run in a pipe 80 columns wide, in a folder that holds the page's own examples and nothing else: a fenced
`yaml` block whose first line is `# name.yaml` is the file of that name.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
PROMPT = "$ "
WIDTH = "80"
SECONDS = 60

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(r"(?<=^allocator of the CPU\n)(?:.+\n)+", re.MULTILINE)
"""What depends on the machine: how much workspace its kernels take."""
_FILE = re.compile(r"^```yaml\n(# (\w+\.yaml)\n.*?)^```$", re.MULTILINE | re.DOTALL)


def updated(page: str) -> str:
    """The page with the real output below every command."""
    with tempfile.TemporaryDirectory() as folder:
        for text, name in _FILE.findall(page):
            Path(folder, name).write_text(text, encoding="utf-8")
        return _CONSOLE.sub(lambda block: f"```console\n{_rerun(block[1], folder)}```", page)


def comparable(page: str) -> str:
    """The page without what another machine measures otherwise."""
    return _MEASURED.sub("", page)


def _rerun(block: str, folder: str) -> str:
    commands = [line for line in block.splitlines() if line.startswith(PROMPT)]
    if not commands or not block.startswith(PROMPT):
        raise SystemExit(f"README: a console block starts with no command:\n{block}")
    return "".join(f"{command}\n{_output(command.removeprefix(PROMPT), folder)}" for command in commands)


def _output(command: str, folder: str) -> str:
    program, *arguments = shlex.split(command)
    if program != "cnnprof":
        raise SystemExit(f"README: only cnnprof is run, not {command!r}")
    done = subprocess.run(
        [sys.executable, "-m", "cnnprof", *arguments],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    if "Traceback (most recent call last)" in done.stdout:
        raise SystemExit(f"README: {command!r} crashed:\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines).rstrip("\n") + "\n"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "CLICOLOR_FORCE", "LINES")}
    return {**kept, "COLUMNS": WIDTH, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(README.parent)}


def main() -> int:
    """The exit code: 1 where `--check` finds the page out of date."""
    parser = argparse.ArgumentParser(description="Write the real output below every command in README.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, print what would change, exit 1 if anything")
    options = parser.parse_args()
    page = README.read_text(encoding="utf-8")
    new = updated(page)
    if comparable(new) == comparable(page):
        return 0
    if not options.check:
        README.write_text(new, encoding="utf-8")
        return 0
    sys.stdout.writelines(difflib.unified_diff(page.splitlines(True), new.splitlines(True), "README.md", "real output"))
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
