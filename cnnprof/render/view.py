"""What of a profile is shown: the one place that selects rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import NOTHING, Layer, Profile
from cnnprof.render import columns as known_columns
from cnnprof.render import style as styles
from cnnprof.render.columns import Column
from cnnprof.render.row import Role, Row


@dataclass(frozen=True, slots=True)
class View:
    """What the user asked to see. UsageError where an option names nothing or makes no sense."""

    columns: tuple[str, ...] = ()
    """Keys of columns; none means the style's own."""
    depth: int | None = None
    """Containers at this depth are one row with the sum of their layers; None shows every layer."""
    sort: str | None = None
    """Key of a column: numbers and sizes descending, texts by the alphabet; None keeps the order of calls."""
    top: int | None = None
    """Rows to keep; the others become one row."""
    style: str = "products"
    expand: bool = False
    """Whether equal containers in a row are shown one by one, and not as one row with `x3`."""
    formulas: bool = False
    """Whether the arithmetic stands before each number. Machine formats have no place for it."""

    def __post_init__(self) -> None:
        for key in (*self.columns, *([self.sort] if self.sort is not None else [])):
            known_columns.find(key)
        styles.find(self.style)
        if self.depth is not None and self.depth < 0:
            raise UsageError(f"the depth is {self.depth}, but the network itself is depth 0")
        if self.top is not None and self.top < 1:
            raise UsageError(f"the number of rows to keep is {self.top}, but it has to be 1 or more")


def rows(profile: Profile, view: View, containers: bool = False, fold: bool = False) -> list[Row]:
    """The rows of the view, TOTAL last; the LAYER and OTHERS rows add up to it.

    With `containers` it is a tree: each container has a row before those of its layers, and sorting keeps layers below
    their containers. Both ways the same layers are kept by `top`. With `fold` equal containers in a row, as a repetition
    makes them, are one row.
    """
    every = _in_order_of_calls(profile.root, view.depth, fold and not view.expand and view.sort is None and view.top is None)
    column = known_columns.find(view.sort) if view.sort is not None else None
    layers = [row for row in every if row.role is Role.LAYER]
    if column is not None:
        layers.sort(key=partial(known_columns.rank, column))
    kept, left = layers[: view.top], layers[view.top :] if view.top is not None else []
    others = [Row(Role.OTHERS, sum((row.cost for row in left), NOTHING), number=len(left), level=1)] if left else []
    shown = _with_guides(_tree(every, {row.number for row in kept}, column) + others) if containers else kept + others
    return [*shown, Row(Role.TOTAL, profile.cost)]


def _in_order_of_calls(root: Layer, depth: int | None, fold: bool) -> list[Row]:
    """All rows down to that depth, containers before their layers."""
    kinds: dict[object, int] = {}
    found: list[Row] = []
    seen_of_level: dict[int, int] = {}
    number = place = 0
    waiting: list[tuple[Layer, int, Sequence[Layer]]] = [(root, 0, [root])]
    while waiting:
        layer, level, run = waiting.pop()
        times = len(run)
        counts = not layer.is_view
        index = seen_of_level.get(level, 0) + 1 if counts else 0
        seen_of_level[level] = seen_of_level.get(level, 0) + counts * times
        if layer.children and times == 1 and (depth is None or level < depth):
            found.append(Row(Role.CONTAINER, layer.cost, layer, level=level, index=index))
            runs = _runs(layer.children, kinds) if fold else ([child] for child in layer.children)
            waiting += reversed([(equal[0], level + 1, equal) for equal in runs])
        else:
            number += 1
            place += counts
            cost = layer.cost if times == 1 else sum([layer.cost] * times, NOTHING)
            last = run[-1] if times > 1 else None
            found.append(Row(Role.LAYER, cost, layer, number, times, level, place if counts else 0, index, last))
    return found


def _runs(children: Sequence[Layer], kinds: dict[object, int]) -> Iterator[Sequence[Layer]]:
    """The layers, equal ones in a row together; only containers are."""
    start = 0
    while start < len(children):
        stop = start + 1
        if children[start].children:
            kind = _kind(children[start], kinds)
            while stop < len(children) and children[stop].children and _kind(children[stop], kinds) == kind:
                stop += 1
        yield children[start:stop]
        start = stop


def _kind(layer: Layer, kinds: dict[object, int]) -> int:
    """A number that a container has in common with its equals: those that differ in their place alone.

    `kinds` has the numbers given so far, by identity and by what is equal.
    """
    if id(layer) not in kinds:
        below = tuple(_kind(child, kinds) for child in layer.children)
        shapes = layer.input_shapes, layer.output_shapes
        content = (layer.kind, layer.arguments, *shapes, layer.cost, layer.note, below)
        kinds[id(layer)] = kinds.setdefault(content, len(kinds))
    return kinds[id(layer)]


def _tree(every: Sequence[Row], kept: Set[int], column: Column | None) -> list[Row]:
    """The rows of the kept layers, each after the rows of the containers that it is in."""
    if column is not None:
        every = _siblings_sorted(every, column)
    tree: list[Row] = []
    for row in reversed(every):
        # From below, a container is wanted if the row that follows it is one of its layers.
        wanted = row.number in kept if row.role is Role.LAYER else bool(tree) and tree[-1].level > row.level
        if wanted:
            tree.append(row)
    return tree[::-1]


def _siblings_sorted(every: Sequence[Row], column: Column) -> list[Row]:
    """The rows sorted within their containers: a row's key has those of its containers before its own."""
    keys: list[tuple[object, ...]] = []
    path: list[object] = []
    for place, row in enumerate(every):
        del path[row.level :]
        path.append((*known_columns.rank(column, row), place))
        keys.append(tuple(path))
    return [row for _, row in sorted(zip(keys, every, strict=True), key=itemgetter(0))]


def _with_guides(tree: Sequence[Row]) -> list[Row]:
    """The rows of a tree with the lines that lead to them: from the last row up, it is known what follows."""
    followed: set[int] = set()
    guided: list[Row] = []
    for row in reversed(tree):
        guides = tuple(level in followed for level in range(1, row.level + 1))
        guided.append(replace(row, guides=guides))
        followed = {level for level in followed if level < row.level} | {row.level}
    return guided[::-1]
