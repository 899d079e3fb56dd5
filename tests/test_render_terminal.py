"""Colours, characters and widths by what the stream and the environment say."""

from __future__ import annotations

import io
import re

import pytest
from render_profiles import PROFILES, lenet, nested
from render_streams import ANSI, Stream, printed, read_table

from cnnprof.render import STYLES, View, write
from cnnprof.render.glyphs import ASCII, UNICODE
from cnnprof.render.terminal import terminal

VARIABLES = ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("is_terminal", "environ", "styled"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "xterm-256color"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": ""}, False),
        (True, {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_when_there_is_colour(is_terminal: bool, environ: dict[str, str], styled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = printed(lenet(), stream=Stream(terminal=is_terminal))
    assert bool(ANSI.search(text)) == styled
    assert ANSI.sub("", text) == printed(lenet(), stream=Stream()) or styled


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("width", ["60", "120"])
def test_colour_changes_nothing_but_colour(style: str, profile: str, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    plain = printed(PROFILES[profile](), View(style=style))
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = printed(PROFILES[profile](), View(style=style))
    assert coloured != plain
    assert ANSI.sub("", coloured) == plain
    assert all(line == line.rstrip() for line in ANSI.sub("", coloured).splitlines())


@pytest.mark.parametrize(
    ("stream", "columns", "width"),
    [
        (Stream(), None, None),
        (Stream(), "70", 70),
        (Stream(terminal=True), "70", 70),
        (Stream(terminal=True), "0", None),
        (Stream(terminal=True), "many", None),
        (Stream(terminal=True), None, None),
    ],
)
def test_width(stream: Stream, columns: str | None, width: int | None) -> None:
    assert terminal(stream, {"COLUMNS": columns} if columns else {}).width == width


def test_a_buffer_in_memory_depends_on_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = printed(nested())
    for name, value in (("COLUMNS", "40"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, value)
    buffer = io.StringIO()
    write(nested(), View(), buffer)
    assert buffer.getvalue() == piped
    assert printed(nested()) != piped


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no-such-encoding"])
def test_other_encodings_get_ascii(encoding: str) -> None:
    found = Stream("ascii")
    found._encoding = encoding
    assert terminal(found, {}).glyphs is ASCII


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig", "utf-16"])
def test_unicode_encodings(encoding: str) -> None:
    assert terminal(Stream(encoding), {}).glyphs is UNICODE


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("width", ["60", "200"])
@pytest.mark.parametrize("format_name", ["table", "markdown", "latex", "csv", "json"])
def test_ascii_streams_get_all_of_it_in_ascii(
    style: str, profile: str, width: str, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    view = View(style=style, formulas=True)
    text = printed(PROFILES[profile](), view, format_name, Stream("ascii"))  # refuses anything else
    assert text.isascii()
    if format_name == "table":
        unicode = read_table(printed(PROFILES[profile](), view))
        translated = [
            [re.sub("([²³])", lambda power: {"²": "^2", "³": "^3"}[power.group()], cell).replace("·", "*") for cell in row]
            for row in unicode.rows
        ]
        assert read_table(text).rows == translated


def test_ascii_lines_stay_aligned() -> None:
    lines = printed(PROFILES["names"](), stream=Stream("ascii")).splitlines()
    ends = {len(line) for line in lines[4:10]}
    assert len(ends) == 1
    assert "Gr\\xf6\\xdfe(h\\xf6he=3)" in lines[4]
    assert {line.rindex(" ") for line in lines[4:5] + lines[6:10]} == {lines[4].rindex(" ")}


def test_tree_in_ascii() -> None:
    text = printed(nested(), View(style="tree", depth=2), stream=Stream("ascii"))
    assert "|    |--Conv2d: 2-1 " in text
    assert "`--Linear: 1-5 " in text


def test_a_narrow_tree_gives_up_its_guides_before_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    text = printed(nested(), View(style="tree"))
    assert "\n│   │ │ └─BatchNorm2d: 5-2 " in text
    assert "…" not in text
