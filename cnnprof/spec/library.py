"""The specs that come with the package: where they are, and which file has which network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cnnprof.errors import Source, UsageError, did_you_mean
from cnnprof.spec import parser
from cnnprof.spec.grammar import Spec
from cnnprof.spec.reader import read_file

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One bundled network."""

    name: str
    path: Path
    variant: str | None
    """None where the file has no variants: the network is called as the file."""


@cache
def folder() -> Path:
    """The folder of the bundled specs: in an installed wheel beside the modules, in a checkout at the top."""
    for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if path.is_dir():
            return path
    raise UsageError(f"the bundled specs are missing: neither {_PACKAGE / 'configs'} nor {_PACKAGE.parent / 'configs'} is there")


def entries() -> Iterator[Entry]:
    """Every bundled network, by file and then in the file's order."""
    for path in sorted(folder().glob("*.yaml")):
        yield from _entries(path)


def find(name: str) -> Entry:
    """The bundled network of that name; the name of a file stands for its first. Raises UsageError where there is none."""
    # Most networks stand in a file whose name their own begins with, so that one file is read and not all of them.
    likely = sorted(folder().glob("*.yaml"), key=lambda path: (not name.startswith(path.stem), -len(path.stem), path))
    for path in likely:
        for entry in _entries(path):
            if name in (entry.name, path.stem):
                return entry
    known = [entry.name for entry in entries()]
    advice = did_you_mean(name, known) or "`cnnprof list` names them, and a file is named with its ending, net.yaml"
    raise UsageError(f'there is no bundled network "{name}"; {advice}')


def load(entry: Entry) -> Spec:
    """The parsed file of a bundled network."""
    return _parsed(entry.path)


def _entries(path: Path) -> Iterator[Entry]:
    variants = _parsed(path).variants
    if not variants:
        yield Entry(path.stem, path, None)
    for variant in variants:
        yield Entry(variant, path, variant)


@cache
def _parsed(path: Path) -> Spec:
    return parser.parse(Source(path.name, read_file(path).text))
