"""`cnnprof schema`."""

from __future__ import annotations

import sys


def run() -> None:
    """Print the JSON Schema of a spec: save it beside your YAML files, and editors complete and check them."""
    from cnnprof.spec.schema import schema_text

    sys.stdout.write(schema_text())
