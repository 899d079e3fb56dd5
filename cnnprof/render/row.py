"""A row of a table, before anything of it is text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cnnprof.profiling.profile import Cost, Layer


class Role(Enum):
    """What a row stands for. The costs of the LAYER and OTHERS rows of a table add up to that of its TOTAL row."""

    LAYER = "layer"
    """A leaf, or a container whose layers are below the depth that is shown."""
    CONTAINER = "container"
    """A container whose layers have rows of their own; only trees show it."""
    OTHERS = "others"
    """The layers that `--top` left out."""
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    role: Role
    cost: Cost
    layer: Layer | None = None
    """None in OTHERS and TOTAL."""
    number: int = 0
    """The place of a LAYER among all of its view in the order of calls, from 1; in OTHERS how many there are."""
    times: int = 1
    """How many equal containers in a row it stands for; its cost is theirs together."""
    level: int = 0
    """Steps below the network, which is 0."""
    place: int = 0
    """The place of a LAYER among those of its view that are more than a change of shape, from 1; 0 for one that is not.

    torchsummary and torchinfo number the calls of modules, and a change of shape is mostly written as a function.
    """
    index: int = 0
    """The same among the rows of its level, as `depth-idx` in torchinfo."""
    last: Layer | None = None
    """The last of the equal containers, where there are several."""
    guides: tuple[bool, ...] = ()
    """For each level from 1 to the row's own: whether a sibling follows further down, so that a line is drawn to it."""

    @property
    def adds(self) -> bool:
        """Whether the row is a summand of the total."""
        return self.role in (Role.LAYER, Role.OTHERS)
