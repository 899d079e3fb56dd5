"""Parameters and products of the bundled networks as they were published, or as the definition of record has them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from cnnprof.spec import library
from cnnprof.spec.target import SpecTarget


@dataclass(frozen=True, slots=True)
class Published:
    """The figures of one network, for one input."""

    input: str
    """`3x224x224`."""
    params: int
    products: int
    source: str


@cache
def figures() -> dict[str, Published]:
    """The table of all of them, by the name of the network. It stands beside the specs and no program writes it."""
    with (library.folder() / "published.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["network"]: Published(row["input"], int(row["params"]), int(row["products"]), row["source"])
            for row in csv.DictReader(file)
        }


def is_bundled(target: SpecTarget) -> bool:
    """Whether it is a network that comes with cnnprof, and not a file of the user's with a variant of that name."""
    entry = library.entries().get(target.name)
    return entry is not None and library.load(entry) is target.spec
