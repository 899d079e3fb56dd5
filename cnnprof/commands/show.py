"""`cnnprof show`."""

from __future__ import annotations

import sys
from pathlib import Path

from cnnprof.commands.options import BundledName
from cnnprof.errors import UsageError
from cnnprof.spec import library
from cnnprof.spec.target import SUFFIXES


def run(name: BundledName) -> None:
    """Print the YAML of a bundled network, to start one's own from."""
    if not library.knows(name) and (name.endswith(SUFFIXES) or Path(name).is_file()):
        raise UsageError(f'show prints bundled networks only, which `cnnprof list` names, and "{name}" is a file')
    entry = library.find(name)
    sys.stdout.write(entry.path.read_text(encoding="utf-8"))
    if entry.variant and entry.variant != next(iter(library.load(entry).variants)):
        print(f"note: in a file of yours, {entry.name} is net.yaml::{entry.variant}", file=sys.stderr)
