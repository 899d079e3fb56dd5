"""What the user typed, to the spec that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnprof.errors import Source, UsageError
from cnnprof.spec import library, parser, reader
from cnnprof.spec.grammar import Argument, Spec

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Target:
    """A spec and which of its variants is meant."""

    name: str
    spec: Spec
    variant: str | None


def find(text: str) -> Target:
    """The spec that `text` names: a bundled network, `file.yaml` or `file.yaml::variant`.

    Raises UsageError for a name that nothing has, SpecError for a file that cannot be read.
    """
    file, _, variant = text.partition("::")
    if not file.endswith(SUFFIXES) and "/" not in file and not Path(file).is_file():
        if variant:
            raise UsageError(f'"{text}": a bundled network is named without its file, a file with its ending .yaml')
        entry = library.find(file)
        return Target(entry.name, library.load(entry), entry.variant)
    spec = parser.parse(reader.read_file(Path(file)))
    chosen = variant or next(iter(spec.variants), None)
    return Target(chosen or Path(file).stem, spec, chosen)


def settings(texts: Sequence[str]) -> dict[str, Argument]:
    """The values of `name=value` texts, read as a spec reads the values of its variables."""
    values: dict[str, Argument] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f'--set takes name=value, not "{text}"')
        values[name.strip()] = parser.variable_value(reader.read(Source(f"--set {name.strip()}", value)), ())
    return values
