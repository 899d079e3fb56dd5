"""The characters that the drawings are made of: one set for Unicode streams, one for all others."""

from __future__ import annotations

from dataclasses import dataclass

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What is drawn with. All members are one character wide, but for `ellipsis` and the tree's guides."""

    times: str
    ellipsis: str
    rule: str
    branch: str
    """Before a row that has later siblings."""
    last: str
    """Before the last of its siblings."""
    through: str
    """Under an ancestor that has later siblings."""
    blank: str
    """Under an ancestor that was the last."""
    bars: str
    """Parts of a full bar character, in equal steps, the full one last."""
    ascii: bool
    """Whether the stream takes ASCII only, so that names are escaped and there are no superscripts."""

    def power(self, base: str, exponent: int) -> str:
        """`5²`, or `5^2` where there are no superscripts."""
        return base + (str(exponent).translate(_SUPERSCRIPTS) if not self.ascii else f"^{exponent}")

    def bar(self, share: float, width: int) -> str:
        """A bar as long as that share of `width` characters; what is more than nothing shows at least a thin one."""
        if share <= 0:
            return ""
        steps = len(self.bars)
        pieces = max(1, round(share * width * steps))
        full, rest = divmod(pieces, steps)
        return self.bars[-1] * full + (self.bars[rest - 1] if rest else "")


UNICODE = Glyphs("·", "…", "─", "├─", "└─", "│    ", "     ", "▏▎▍▌▋▊▉█", ascii=False)
ASCII = Glyphs("*", "...", "-", "|--", "`--", "|    ", "     ", "#", ascii=True)
