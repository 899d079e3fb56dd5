"""The specs that come with the package: where they are, and which file has which network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cnnprof.errors import Source, UsageError, did_you_mean

if TYPE_CHECKING:
    from cnnprof.spec.grammar import Spec

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One bundled network."""

    name: str
    path: Path
    variant: str | None
    """None where the file has no variants: the network is called as the file."""
    params: int = 0
    products: int = 0
    input: str = ""
    year: str = ""
    authors: str = ""
    title: str = ""

    @property
    def reference(self) -> str:
        """`He et al. 2016`."""
        names = self.authors.split(", ")
        who = names[0] if len(names) == 1 else f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
        return f"{who} {self.year}".strip()


@cache
def folder() -> Path:
    """The folder of the bundled specs: in an installed wheel beside the modules, in a checkout at the top."""
    for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if path.is_dir():
            return path
    raise UsageError(f"the bundled specs are missing: neither {_PACKAGE / 'configs'} nor {_PACKAGE.parent / 'configs'} is there")


def index_path() -> Path:
    """Where the facts of all networks are kept, so that listing them measures nothing: see `cnnprof.nets.index`."""
    return folder() / "index.json"


@cache
def entries() -> Mapping[str, Entry]:
    """Every bundled network by name, by file and then in the file's order."""
    index = json.loads(index_path().read_text(encoding="utf-8"))
    return {name: Entry(name, folder() / facts.pop("file"), **facts) for name, facts in index.items()}


def scan() -> Iterator[Entry]:
    """The same from the files themselves, without what has to be measured."""
    for path in sorted(folder().glob("*.yaml")):
        variants = _parsed(path).variants
        if not variants:
            yield Entry(path.stem, path, None)
        for variant in variants:
            yield Entry(variant, path, variant)


def knows(name: str) -> bool:
    """Whether a bundled network, or a file of them, has that name."""
    return name in entries() or any(entry.path.stem == name for entry in entries().values())


def find(name: str) -> Entry:
    """The bundled network of that name; the name of a file stands for its first. Raises UsageError where there is none."""
    known = entries()
    if name in known:
        return known[name]
    for entry in known.values():
        if entry.path.stem == name:
            return entry
    advice = did_you_mean(name, list(known)) or "`cnnprof list` names them, and a file is named with its ending, net.yaml"
    raise UsageError(f'there is no bundled network "{name}"; {advice}')


def load(entry: Entry) -> Spec:
    """The parsed file of a bundled network."""
    return _parsed(entry.path)


@cache
def _parsed(path: Path) -> Spec:
    from cnnprof.spec import parser  # which names, and the shell's completion of them, need not wait for
    from cnnprof.spec.reader import read_file

    return parser.parse(Source(path.name, read_file(path).text))
