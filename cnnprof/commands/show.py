"""`cnnprof show`."""

from __future__ import annotations

import sys

from cnnprof.commands.options import BundledName
from cnnprof.spec import library


def show(name: BundledName) -> None:
    """Print the YAML of a bundled network, to start one's own from."""
    sys.stdout.write(library.find(name).path.read_text(encoding="utf-8"))
