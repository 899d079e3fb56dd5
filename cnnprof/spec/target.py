"""What the user typed, and what it names: a spec, a Python object, a saved profile."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cnnprof.errors import Source, UsageError
from cnnprof.spec import library, parser, reader
from cnnprof.spec.grammar import Argument, Spec
from cnnprof.spec.variables import variable_value

SUFFIXES = (".yaml", ".yml")
MAX_SAVED = 64 * 1024 * 1024
"""Bytes of a saved profile: one of 10,000 layers has 5 MB."""


@dataclass(frozen=True, slots=True)
class SpecTarget:
    """A spec and which of its variants is meant."""

    name: str
    spec: Spec
    variant: str | None


@dataclass(frozen=True, slots=True)
class CodeTarget:
    """Something in a Python module that is, or makes, a `torch.nn.Module`. Using it runs the user's code."""

    module: str
    attribute: str

    @property
    def name(self) -> str:
        """The last part of what was typed."""
        return self.attribute.rpartition(".")[2]

    @property
    def text(self) -> str:
        """What was typed."""
        return f"{self.module}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class SavedTarget:
    """A profile that was written as JSON."""

    source: Source

    @property
    def name(self) -> str:
        """The file."""
        return self.source.name


Target: TypeAlias = SpecTarget | CodeTarget | SavedTarget

_PYTHON_FILE = re.compile(r"(.+)\.py(?:::?(.+))?")
_CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

_CONTROL = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
"""What ends a line or moves a cursor: it would do so in every message that has the name in it."""


def find(text: str) -> Target:
    """What `text` names: a bundled network, `file.yaml`, `file.yaml::variant`, `package.module:callable` or `profile.json`.

    Raises UsageError for a name that nothing has, SpecError for a file that cannot be read.
    """
    if _CONTROL.search(text):
        raise UsageError(f"a target is a name in one line, not {json.dumps(text)}")
    if python := _PYTHON_FILE.fullmatch(text):
        file, attribute = python.groups("Net")
        raise UsageError(f'"{text}": Python code is named as it is imported, in its folder {Path(file).name}:{attribute}')
    if _CODE.fullmatch(text):
        module, _, attribute = text.partition(":")
        return CodeTarget(module, attribute)
    if text.endswith(".json"):
        return SavedTarget(reader.read_file(Path(text), MAX_SAVED))
    file, _, variant = text.partition("::")
    if not _is_file(file):
        near = next((f"{file}{suffix}" for suffix in SUFFIXES if Path(f"{file}{suffix}").is_file()), None)
        if near and not library.knows(file):
            raise UsageError(f'there is no bundled network "{file}"; did you mean "{near}"?')
        entry = library.find(file)
        if variant:
            raise UsageError(f'"{text}": a bundled variant is named by itself, as `cnnprof list` does')
        return SpecTarget(entry.name, library.load(entry), entry.variant)
    spec = parser.parse(reader.read_file(Path(file)))
    chosen = variant or next(iter(spec.variants), None)
    return SpecTarget(chosen or Path(file).stem, spec, chosen)


def normal(text: str) -> str:
    """The same target with its file named from this folder, `nets/net.yaml` for `./nets/net.yaml`: one file has one name."""
    file, colons, variant = text.partition("::")
    if _CODE.fullmatch(text) or not _is_file(file):
        return text
    path, here = Path(os.path.normpath(file)), Path.cwd()
    name = (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
    return f"{name}{colons}{variant}" if _is_file(name) else text  # ./lenet is a file, lenet is bundled


def _is_file(name: str) -> bool:
    """Whether that, with its variant taken off, names a file and no bundled network; it need not be there."""
    return not library.knows(name) and (name.endswith((*SUFFIXES, ".json")) or "/" in name or Path(name).is_file())


def settings(texts: Sequence[str]) -> dict[str, Argument]:
    """The values of `name=value` texts, read as a spec reads the values of its variables."""
    values: dict[str, Argument] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f'--set takes name=value, not "{text}"')
        if not value.strip():
            raise UsageError(f"--set {name.strip()}= gives no value: --set {name.strip()}=10")
        values[name.strip()] = variable_value(reader.read(Source(f"--set {name.strip()}", value)), ())
    return values
