"""What independent second opinions say of a profile, and whether every difference is explained. Nothing here measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from cnnprof.profiling.profile import Shape

ByLayer: TypeAlias = "Mapping[str, int]"
"""Products by the path of the module that computed them itself, those of its parts left out."""


class Verdict(str, Enum):
    """What an opinion comes to."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    """It differs, and what is known of how it counts says by how much."""
    DIFFERS = "DIFFERS"
    NONE = "no opinion"


@dataclass(frozen=True, slots=True)
class Reason:
    """A known way in which a source counts otherwise."""

    amount: int
    """What it makes the source count more; negative for less."""
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a layer, or of the network where the path is empty, that a source has otherwise and for no known reason."""

    path: str
    metric: str
    """`params`, `products`, `output_shape`, or `pass` where the network did not run."""
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one source says."""

    source: str
    params: int | None = None
    products: int | None = None
    """With all that it counts; None where it says nothing of products."""
    shapes: int | None = None
    """The number of calls whose output shapes it saw; None where it says nothing of shapes."""
    reasons: tuple[Reason, ...] = ()
    differences: tuple[Difference, ...] = ()
    note: str = ""
    """Where the figures come from, or why there are none."""

    @property
    def verdict(self) -> Verdict:
        if self.differences:
            return Verdict.DIFFERS
        if self.params is None and self.products is None and self.shapes is None:
            return Verdict.NONE
        return Verdict.EXPLAINED if self.reasons else Verdict.AGREES


@dataclass(frozen=True, slots=True)
class Verification:
    """A network's figures beside those of all sources."""

    network: str
    input_shapes: tuple[Shape, ...]
    batch: int
    dtype: str
    params: int
    products: int
    complete: bool
    """Whether cnnprof's products are exact and no lower bound."""
    opinions: tuple[Opinion, ...]

    @property
    def passed(self) -> bool:
        """Whether no source differs without a known reason."""
        return all(opinion.verdict is not Verdict.DIFFERS for opinion in self.opinions)


def params_differ(ours: int, theirs: int) -> tuple[Difference, ...]:
    """The difference of the parameters of a network, if there is one."""
    return () if ours == theirs else (Difference("", "params", f"{ours:,}", f"{theirs:,}"),)


def products_differ(ours: ByLayer, theirs: ByLayer, reasons: Mapping[str, Sequence[Reason]]) -> tuple[Difference, ...]:
    """The layers whose products differ by another amount than their reasons add up to."""
    found = []
    for path in dict.fromkeys((*ours, *theirs, *reasons)):
        own, other = ours.get(path, 0), theirs.get(path, 0)
        if other != own + sum(reason.amount for reason in reasons.get(path, ())):
            found.append(Difference(path, "products", f"{own:,}", f"{other:,}"))
    return tuple(found)


def shapes_differ(ours: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]]) -> tuple[Difference, ...]:
    """The layers whose outputs differ, call by call; the outputs of a call as text."""
    missing = ("not called",)
    return tuple(
        Difference(path, "output_shape", "; ".join(ours.get(path, missing)), "; ".join(theirs.get(path, missing)))
        for path in dict.fromkeys((*ours, *theirs))
        if list(ours.get(path, ())) != list(theirs.get(path, ()))
    )


def summed(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """One reason for each text, the largest amount first; those that cancel out are left out."""
    amounts: Counter[str] = Counter()
    for reason in reasons:
        amounts[reason.text] += reason.amount
    left = [Reason(amount, text) for text, amount in amounts.items() if amount]
    return tuple(sorted(left, key=lambda reason: -abs(reason.amount)))
