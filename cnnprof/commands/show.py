"""`cnnprof show`."""

from __future__ import annotations

import sys

from cnnprof.commands.options import BundledName
from cnnprof.spec import library


def show(name: BundledName) -> None:
    """Print the YAML of a bundled network, to start one's own from."""
    entry = library.find(name)
    sys.stdout.write(entry.path.read_text(encoding="utf-8"))
    if entry.variant and entry.variant != next(iter(library.load(entry).variants)):
        print(f"note: in a file of yours, {entry.name} is net.yaml::{entry.variant}", file=sys.stderr)
