r"""Docstrings in torch's style to plain text: what a class does, what its arguments mean, what shapes it takes.

torch writes reStructuredText with formulas in TeX. An editor shows neither, so both are taken off:
``:math:`\frac{1}{8}` `` becomes `1/8`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence


def summary(cls: type) -> str:
    """The first sentence of the class's own docstring; empty where it has none."""
    return first_sentences(_docstring(cls).partition("\n\n")[0], 1)


def arguments(cls: type) -> dict[str, str]:
    """What the docstring says of each argument, in RST: the entries under `Args:`."""
    lines = _section(cls, "Args")
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        entry = _ENTRY.match(line)
        if entry:
            current = entries.setdefault(entry["name"], [])
        current.append((entry["text"] if entry else line).strip())
    return {name: "\n".join(text).strip() for name, text in entries.items()}


def about(text: str) -> str:
    """The first plain sentences of an argument's description, three at most; its default stands elsewhere."""
    # Three, because torch's padding layers and adaptive pools explain a list only in the third.
    return first_sentences(_DEFAULT.sub("", text), 3)


def quoted_words(text: str) -> tuple[str, ...]:
    """The words that stand in the text as ``'word'``, each once, in order."""
    return tuple(dict.fromkeys(re.findall(r"``'([\w-]+)'``", text)))


def input_forms(cls: type) -> list[list[str]]:
    """The axes of each shape that the docstring says an input can have: `[["N", "C", "L"], ["C", "L"]]`.

    `*` stands for any number of axes.
    """
    match = re.search(r"- Input: *(.*?)(?=\n *- Output|\Z)", "\n".join(_section(cls, "Shape")), re.DOTALL)
    if match is None:
        return []
    formulas = re.findall(r":math:`\((.*?)\)`", match[1], re.DOTALL)
    forms = [[_STAR.sub("*", axis.strip()) for axis in _split(formula)] for formula in formulas]
    return [form for form in forms if form[0] in ("*", "N") or len(form) > 1]


_ENTRY = re.compile(r"(?P<name>\w+)(?: *\((?:[^()]|\([^()]*\))*\))? *: *(?P<text>.*)")
_DEFAULT = re.compile(r"\s*\(default = [^)]*\)|Default: *(?:``.*?``|:math:`.*?`|[^\s`]+?)(?:\.?\s*$|\.(?=\s))", re.DOTALL)
_STAR = re.compile(r"\*|\\ast(?:_\d)?|\+")


def _docstring(cls: type) -> str:
    # Not inspect.getdoc(), which answers with the docstring of nn.Module where a class has none.
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _section(cls: type, title: str) -> list[str]:
    """The lines under a heading, without the indentation of the first of them."""
    lines = _docstring(cls).splitlines()
    start = next((index for index, line in enumerate(lines) if line.strip() == f"{title}:"), None)
    if start is None:
        return []
    heading = _indentation(lines[start])
    body: list[str] = []
    for line in lines[start + 1 :]:
        if line.strip() and _indentation(line) <= heading:
            break
        body.append(line)
    margin = min((_indentation(line) for line in body if line.strip()), default=0)
    return [line[margin:] for line in body]


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _split(formula: str) -> list[str]:
    """The parts between the commas that stand in no braces."""
    return [part for part in re.split(r",(?![^{]*\})", formula) if part.strip()]


def first_sentences(text: str, count: int) -> str:
    """That many sentences of an RST text as plain text, with a capital letter and a full stop."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", plain(text))
    said = " ".join(sentences[:count]).strip()
    if not said:
        return ""
    if not text.lstrip().startswith("`"):
        said = said[0].upper() + said[1:]
    return said if said.endswith((".", "!", "?")) else f"{said}."


_ROLES: Sequence[tuple[str, str]] = (
    (r"\.\. math::\s*", ""),
    (r":(?:class|attr|func|meth|ref|doc):`~?(?:[^`<]*?\.)?([^`.<]*?)(?: <[^`]*>)?`", r"\1"),
    (r"``'([\w-]+)'``", r"\1"),
    (r"`{1,2}([^`]+)`{1,2}_?", r"\1"),
)

_TEX: Sequence[tuple[str, str]] = (
    (r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2"),
    (r"\\(?:left|right)\b", ""),
    (r"\\times\b", "x"),
    (r"\\l?dots\b", "..."),
    (r"\\(?:text|mathrm)\{([^{}]*)\}", r"\1"),
    (r"\\([a-z]+)\b", r"\1"),
    (r"\\", ""),
    (r"_\{(\w+)\}", r"_\1"),
)


def plain(text: str) -> str:
    """The text without RST markup and TeX, on one line."""
    # A paragraph of torch's often ends without a full stop.
    text = re.sub(r"(?<=[\w)\]])[ \n]*\n\n\s*(?=[A-Z])", ". ", text)
    text = re.sub(r":math:`([^`]*)`", lambda match: _tex(match[1]), text)
    text = re.sub(r"\.\. math::\s*((?:.+\n?)+)", lambda match: _tex(match[1]), text)
    for pattern, replacement in _ROLES:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"\s+", " ", text).strip()


def _tex(formula: str) -> str:
    for pattern, replacement in _TEX:
        formula = re.sub(pattern, replacement, formula)
    return formula
