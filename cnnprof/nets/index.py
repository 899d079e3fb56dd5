"""What `cnnprof list` prints, measured once and kept beside the specs: `python -m cnnprof.nets.index [--check]` writes it anew."""

from __future__ import annotations

import argparse
import json
import sys

from cnnprof.nets.targets import network
from cnnprof.profiling.profiler import profile
from cnnprof.spec import library
from cnnprof.spec.target import SpecTarget


def index_text() -> str:
    """The index of the bundled networks as JSON, one network a line, in the order of the files."""
    lines = [f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in _facts().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _facts() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for entry in library.scan():
        spec = library.load(entry)
        if entry.name in found:
            raise SystemExit(f'two bundled networks have the name "{entry.name}"')
        built = network(SpecTarget(entry.name, spec, entry.variant))
        measured = profile(built.module, built.input_shape, name=built.name)
        found[entry.name] = {
            "file": entry.path.name,
            "variant": entry.variant,
            "params": measured.params,
            "products": measured.products,
            "input": "x".join(map(str, built.input_shape)),
            "year": spec.about.get("year", ""),
            "authors": spec.about.get("authors", ""),
            "title": spec.about.get("title", ""),
        }
    return found


def main() -> int:
    """The exit code: 1 where `--check` finds the index out of date."""
    parser = argparse.ArgumentParser(description="Write the index of the bundled networks.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if the index is out of date")
    check = parser.parse_args().check
    path = library.index_path()
    text = index_text()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{path} is out of date: python -m cnnprof.nets.index", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
