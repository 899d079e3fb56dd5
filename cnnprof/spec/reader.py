"""YAML text to nodes that keep their place in it.

Scalars are read as YAML 1.2 reads them (`1e-5` is a number, `no` is a word). What a spec has no use for is refused where it
stands: tags, duplicate keys, several documents, and anything built to exhaust the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from yaml import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from cnnprof.errors import Source, Span, SpecError

MAX_BYTES = 64 * 1024
"""A long spec has 5 kB; PyYAML's scanner reads this much in half a second."""
MAX_DEPTH = 40
MAX_NODES = 20_000
"""Nodes after aliases are followed."""
MAX_SCALAR = 2_000


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word, a number, true, false or null."""

    text: str
    value: int | float | bool | str | None
    span: Span
    quoted: bool = False
    size: int = 1

    @property
    def inner(self) -> Span:
        """Where its text stands, without the quotes."""
        return self.span.part(1, self.span.width - 2) if self.quoted else self.span


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    span: Span
    size: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: tuple[Entry, ...]
    span: Span
    size: int = 1

    def get(self, key: str) -> Node | None:
        """The value under that key."""
        return next((entry.value for entry in self.entries if entry.key.text == key), None)


Node: TypeAlias = Scalar | Sequence | Mapping


def read_file(path: Path, limit: int = MAX_BYTES) -> Source:
    """The text of a file, named as the user named it. Raises SpecError where it cannot be read as text."""
    name = str(path)

    def refuse(message: str, advice: str = "") -> SpecError:
        return SpecError("file", f"{name}: {message}", help=advice)

    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise refuse("is a directory, not a file", f"name a file in it: {path / 'net.yaml'}") from None
    except FileNotFoundError:
        raise refuse("no such file") from None
    except OSError as error:
        raise refuse(error.strerror or str(error)) from None
    if len(data) > limit:
        raise refuse(f"is larger than {limit // 1024} KiB, more than such a file may have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 text (byte {error.start})") from None
    if "\0" in text:
        raise refuse("is not text: it has NUL bytes")
    return Source(name, text)


def read(source: Source) -> Node:
    """The one document of a YAML text as nodes. Raises SpecError at the place that cannot be read."""
    try:
        return _Composer(source).document()
    except ReaderError as error:
        line = source.text.count("\n", 0, error.position) + 1
        column = error.position - source.text.rfind("\n", 0, error.position)
        message = f"a character that YAML does not allow: U+{error.character:04X}"
        raise SpecError("yaml", message, Span(source, line, column)) from None
    except MarkedYAMLError as error:
        if key := _without_colon(source, error):
            raise SpecError("yaml", "a colon is missing in this line, or the space after it", key, _COLON) from None
        mark = error.problem_mark or error.context_mark
        if error.context_mark and mark and not source.line(mark.line + 1).strip():
            mark = error.context_mark  # the file ends: what was not closed says more
        span = Span(source, mark.line + 1, mark.column + 1) if mark else None
        context = f"{error.context}: " if error.context else ""
        raise SpecError("yaml", f"{context}{error.problem}", span, _yaml_help(error)) from None


_COLON = 'write "input: 3x224x224", or "layers:" and "- ReLU:" where more stands below'


def _without_colon(source: Source, error: MarkedYAMLError) -> Span | None:
    """The line of a key that YAML took for a text for want of a colon, which it finds out further down; None for another error."""
    problem, number = str(error.problem), 0
    if "could not find expected ':'" in problem and error.context_mark:
        number = error.context_mark.line + 1
    elif error.problem_mark and ("mapping values are not allowed" in problem or "expected '<document start>'" in problem):
        above = range(error.problem_mark.line, 0, -1)
        number = next((number for number in above if not _NOTHING.match(source.line(number))), 0)
    line = source.line(number)
    text = line.strip()
    return Span(source, number, line.index(text) + 1, len(text)) if text and not _COLON_OF_KEY.search(line) else None


_NOTHING = re.compile(r"\s*(#|$)")
"""A line that is empty or a comment."""
_COLON_OF_KEY = re.compile(r":(\s|$)")


def _yaml_help(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "\\t" in problem:
        return "YAML is indented with spaces, not with tabs"
    if "undefined alias" in problem or "alias" in str(error.context):
        return 'a text that starts with "*" is an alias in YAML: write w*4, or quote the expression'
    if "mapping values are not allowed" in problem:
        return 'what stands beside a layer starts below its first letter; a text with ": " in it needs quotes'
    if "found character" in problem and "cannot start any token" in problem:
        return "quote the text"
    return ""


class _Events(Reader, Scanner, Parser):
    """PyYAML's reader, scanner and parser without its composer and constructors."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)

    def take(self) -> Event:
        """The next event."""
        event: Event = self.get_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it untyped
        return event

    def at(self, kind: type[Event]) -> bool:
        """Whether the next event is of that kind."""
        return bool(self.check_event(kind))


class _Composer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.events = _Events(source.text)
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0

    def document(self) -> Node:
        self.events.take()  # the stream's start
        if self.events.at(StreamEndEvent):
            raise SpecError("empty", f"{self.source.name}: the file is empty", help='a spec needs "input" and "layers"')
        self.events.take()  # the document's start
        node = self.node(0)
        self.events.take()  # the document's end
        if not self.events.at(StreamEndEvent):
            raise SpecError("yaml", "a spec is one YAML document", self.span(self.events.take()), 'remove what follows "---"')
        return node

    def span(self, event: Event) -> Span:
        start, end = event.start_mark, event.end_mark
        assert start is not None  # a parser's events have marks
        assert end is not None
        line = self.source.line(start.line + 1)
        stop = end.column if end.line == start.line else len(line.rstrip())
        return Span(self.source, start.line + 1, start.column + 1, max(1, stop - start.column))

    def node(self, depth: int) -> Node:
        event = self.events.take()
        span = self.span(event)
        if isinstance(event, AliasEvent):
            return self.alias(str(event.anchor), span)
        if depth > MAX_DEPTH:
            raise SpecError("nesting", f"nested more than {MAX_DEPTH} levels deep", span)
        assert isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent)  # a node starts with nothing else
        if event.tag is not None:
            advice = "remove it: a spec has no use for YAML tags"
            raise SpecError("tag", f"the tag {_tag(event.tag)} is not allowed", span, advice)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None  # until it is complete, an alias to it would be an endless loop
        node: Node = _COMPOSE[type(event)](self, event, span, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def alias(self, anchor: str, span: Span) -> Node:
        if anchor not in self.anchors:
            advice = 'a text that starts with "*" is an alias in YAML: write w*4, or quote the expression'
            raise SpecError("alias", f'there is no anchor "{anchor}"', span, advice)
        node = self.anchors[anchor]
        if node is None:
            raise SpecError("alias", f'the anchor "{anchor}" contains itself', span)
        self.count(node.size, span)
        return node

    def count(self, nodes: int, span: Span) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise SpecError("size", f"more than {MAX_NODES:,} nodes once aliases are followed", span)

    def scalar(self, event: ScalarEvent, span: Span, depth: int) -> Scalar:
        self.count(1, span)
        text = event.value
        if len(text) > MAX_SCALAR:
            raise SpecError("size", f"a text of more than {MAX_SCALAR:,} characters", span)
        quoted = event.style is not None
        return Scalar(text, text if quoted else resolve(text), span, quoted)

    def sequence(self, event: SequenceStartEvent, span: Span, depth: int) -> Sequence:
        self.count(1, span)
        items = tuple(self.children(depth))
        return Sequence(items, span, 1 + sum(item.size for item in items))

    def mapping(self, event: MappingStartEvent, span: Span, depth: int) -> Mapping:
        self.count(1, span)
        entries: dict[str, Entry] = {}
        children = self.children(depth)
        for key in children:
            value = next(children)
            if not isinstance(key, Scalar):
                raise SpecError("yaml", "a key has to be a word", key.span)
            if key.text in entries:
                first = entries[key.text].key.span
                raise SpecError("duplicate-key", f'"{key.text}" stands here twice', key.span, f"it is also on line {first.line}")
            entries[key.text] = Entry(key, value)
        size = 1 + sum(entry.key.size + entry.value.size for entry in entries.values())
        return Mapping(tuple(entries.values()), span, size)

    def children(self, depth: int) -> Iterator[Node]:
        while not (self.events.at(SequenceEndEvent) or self.events.at(MappingEndEvent)):
            yield self.node(depth + 1)
        self.events.take()


_COMPOSE: dict[type[Event], Callable[..., Node]] = {
    ScalarEvent: _Composer.scalar,
    SequenceStartEvent: _Composer.sequence,
    MappingStartEvent: _Composer.mapping,
}

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def resolve(text: str) -> int | float | bool | str | None:
    """The value of a plain scalar in the core schema of YAML 1.2. Infinities and NaN stay words: no size is one."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
