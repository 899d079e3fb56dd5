"""How wide a text is on a terminal, and making it narrower."""

from __future__ import annotations

from textwrap import wrap

_NARROW = str.maketrans(dict.fromkeys("·…─═├└│⁰¹²³⁴⁵⁶⁷⁸⁹\u00a0", " "))
"""The characters of our own that are no ASCII and one column wide: almost every text needs no other."""


def width(text: str) -> int:
    """The terminal columns that the text takes: Chinese characters take two, combining accents none."""
    if text.isascii() or text.translate(_NARROW).isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, columns: int, ellipsis: str, keeps_end: bool = False) -> str:
    """The text itself, or as much of its beginning, or of its end, as fits with the ellipsis in place of the rest."""
    if width(text) <= columns:
        return text
    room = columns - len(ellipsis)
    kept = 0
    for character in reversed(text) if keeps_end else text:
        room -= width(character)
        if room < 0:
            break
        kept += 1
    return ellipsis + text[len(text) - kept :] if keeps_end else text[:kept] + ellipsis


def padded(text: str, columns: int, right: bool) -> str:
    """The text with spaces up to that width, before it where it is aligned to the right."""
    spaces = " " * (columns - width(text))
    return spaces + text if right else text + spaces


def paragraph(text: str, columns: int, indent: str = "  ") -> list[str]:
    """The text in lines of at most that width, the later ones indented; no word is broken."""
    return wrap(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
