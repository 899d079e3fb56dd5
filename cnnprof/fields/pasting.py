"""Writing through a view: what a tensor depends on of which a piece is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from cnnprof.fields.dependence import Dependence
from cnnprof.fields.moving import padded


class Piece(NamedTuple):
    """A box of elements of a tensor."""

    start: tuple[int, ...]
    size: tuple[int, ...]

    def apart(self, other: Piece) -> bool:
        """Whether the two have no element in common."""
        return any(a + n <= b or b + m <= a for a, n, b, m in zip(self.start, self.size, other.start, other.size, strict=True))


def piece_of(whole: Tensor, view: Tensor) -> Piece | None:
    """Which piece of a tensor a view of it is; None where it is not simply cut out."""
    if not whole.is_contiguous() or whole.dim() != view.dim():
        return None
    steps = zip(whole.stride(), view.stride(), view.shape, strict=True)
    if any(theirs != ours for ours, theirs, size in steps if size > 1):
        return None
    start, rest = [], int(view.storage_offset()) - int(whole.storage_offset())
    for stride in whole.stride():
        first, rest = divmod(rest, stride)
        start.append(first)
    return Piece(tuple(start), tuple(view.shape))


def pasted(known: Dependence, piece: Piece, shape: Sequence[int]) -> Dependence | None:
    """That of a tensor of constants of this shape into which a piece is written; None where it has not all of its channels."""
    moved = [place for place, size in enumerate(piece.size) if size != shape[place]]
    if any(not isinstance(known.layout[place], int) for place in moved):
        return None
    before = {place: piece.start[place] for place in moved}
    after = {place: shape[place] - piece.start[place] - piece.size[place] for place in moved}
    return padded(known, piece.size, before, after, shape)
