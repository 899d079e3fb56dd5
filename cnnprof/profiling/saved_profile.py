"""A profile that was written as JSON, read back."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from fractions import Fraction
from functools import partial
from typing import Any, Literal, NamedTuple

from cnnprof import given_json as given
from cnnprof.errors import Source, Span, SpecError
from cnnprof.given_json import DamagedError, field, list_of, optional, text, whole
from cnnprof.profiling.memory import Peak, Split, Training
from cnnprof.profiling.profile import PRODUCTS, Cost, Layer, Profile, Shape
from cnnprof.render.conventions import CONVENTIONS

_VERSION = 1

_DEEPEST = 300
"""Containers in containers that are read: nothing that goes down them runs out of stack."""


def read_profile(source: Source) -> Profile:
    """The profile in a JSON text. Raises SpecError where it is none, or one of a version that is not known."""
    try:
        data = given.loads(source)
    except DamagedError as error:
        raise SpecError("profile", str(error), Span(source, error.line, error.column)) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != _VERSION:
        if isinstance(data, list):
            advice = "write each profile to a file of its own: cnnprof summarize NET -o net.json"
            raise SpecError("profile", f"{source.name} is a list of {len(data):,} profiles", Span(source, 1, 1), advice)
        what = f"its schema_version is {version}" if version else "it has no schema_version"
        advice = f"this cnnprof reads version {_VERSION}; cnnprof summarize NET -o net.json writes one"
        raise SpecError("profile", f"{source.name} is no profile that can be read: {what}", Span(source, 1, 1), advice)
    try:
        return _profile(data)
    except DamagedError as error:
        raise SpecError("profile", f"{source.name} is a damaged profile: {error}", Span(source, 1, 1)) from None


def _profile(data: dict[str, Any]) -> Profile:
    rows = field(data, "layers", list_of(_object))
    leaves = [given.at(f"layers[{number}]", partial(_leaf, number=number), row) for number, row in enumerate(rows)]
    containers: tuple[_Container, ...] = field(data, "containers", list_of(_container), ())
    network = field(data, "network", text)
    retained = field(field(data, "totals", _object), "retained_bytes", optional(whole), None) is not None
    return Profile(
        network,
        field(data, "input", _shapes),
        field(data, "batch", partial(whole, least=1)),
        field(data, "dtype", text),
        _root(network, leaves, containers),
        field(data, "convention", given.one_of(list(CONVENTIONS)), PRODUCTS),
        field(data, "inference_peak", optional(_made(Peak)), None),
        retained,
        field(data, "training", optional(_made(Training)), None),
        caveats=field(data, "caveats", _TEXTS, ()),
    )


def _made(kind: Any) -> Callable[[Any], Any]:
    """What makes one of the dataclasses of figures from an object with its fields."""

    def made(value: Any) -> Any:
        found = _object(value)
        wanted = [one for one in fields(kind) if one.name in found or one.default is MISSING]
        return kind(**{one.name: field(found, one.name, _OF_TYPE[str(one.type)]) for one in wanted})

    return made


def _leaf(row: dict[str, Any], number: int) -> Layer:
    keys = ("params", "trainable_params", "products", "output_bytes", "param_bytes", "buffer_bytes")
    params, trainable, products, output_bytes, param_bytes, buffer_bytes = (field(row, key, whole) for key in keys)
    cost = Cost(
        *(params, trainable, products, output_bytes, param_bytes, buffer_bytes),
        field(row, "unknown", _TEXTS),
        field(row, "retained_bytes", optional(whole), None) or 0,
        field(row, "peak_bytes", optional(whole), None) or 0,
    )
    if field(row, "path", optional(text)) is None:  # the rows that --top left out
        return Layer(f"others{number}", f"({field(row, 'others', whole)} others)", "", 1, (), (), cost)
    return replace(
        _layer(row),
        cost=cost,
        param_shapes=field(row, "param_shapes", _LISTS, ()),  # the first profiles had none
        product_terms=field(row, "product_terms", _LISTS, ()),
    )


def _layer(entry: dict[str, Any]) -> Layer:
    """What rows and containers have in common. The first profiles had no receptive fields, and no notes of containers."""
    return Layer(
        field(entry, "path", text),
        field(entry, "kind", text),
        field(entry, "arguments", text),
        field(entry, "depth", partial(whole, most=_DEEPEST)),
        field(entry, "input_shape", _shapes),
        field(entry, "output_shape", _shapes),
        note=field(entry, "note", text, ""),
        receptive_field=field(entry, "receptive_field", optional(list_of(_size)), None),
        stride=field(entry, "stride", optional(list_of(_number)), None),
    )


class _Container(NamedTuple):
    """A layer that holds others, and the range of their rows."""

    first: int
    stop: int
    layer: Layer


def _container(value: Any) -> _Container:
    entry = _object(value)
    first = field(entry, "first", whole)
    return _Container(first, first + field(entry, "rows", partial(whole, least=1)), _layer(entry))


def _root(network: str, leaves: Sequence[Layer], containers: Sequence[_Container]) -> Layer:
    if not leaves:
        raise DamagedError("layers: there are none")
    if not containers:
        return leaves[0] if len(leaves) == 1 else Layer("", network, "", 0, (), (), children=tuple(leaves))
    waiting = deque(sorted(containers, key=lambda one: (one.first, one.layer.depth)))
    root = _tree(waiting.popleft(), waiting, leaves)
    if waiting:
        raise DamagedError("containers: they are not inside one another")
    return root


def _tree(outer: _Container, waiting: deque[_Container], leaves: Sequence[Layer]) -> Layer:
    """The container with the leaves in its range; those inside it are taken off `waiting`."""
    if outer.stop > len(leaves):
        raise DamagedError("containers: they have more rows than there are layers")
    children: list[Layer] = []
    place = outer.first
    while place < outer.stop:
        if waiting and waiting[0].first == place and waiting[0].layer.depth > outer.layer.depth:
            inner = waiting.popleft()
            children.append(_tree(inner, waiting, leaves))
            place = inner.stop
        else:
            children.append(leaves[place])
            place += 1
    return replace(outer.layer, children=tuple(children))


def _size(value: Any) -> int | Literal["all"] | None:
    return value if value is None or value == "all" else whole(value)


def _number(value: Any) -> int | Fraction | None:
    """A number, or the text of a fraction."""
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}/[1-9][0-9]{0,17}", value):
        number = Fraction(value)
        return number.numerator if number.denominator == 1 else number
    return None if value is None else whole(value, least=-given.LARGEST)


def _shapes(value: Any) -> tuple[Shape, ...]:
    """None, one, or a list of several."""
    if value is None:
        return ()
    return _LISTS(value if value and isinstance(value, list) and isinstance(value[0], list) else [value])


_object = given.table_of(given.anything)
_TEXTS = list_of(text)
_LISTS = list_of(list_of(whole))
_OF_TYPE: Mapping[str, Callable[[Any], Any]] = {
    "int": partial(whole, least=-1),  # the event of a peak where nothing was allocated
    "str": text,
    "tuple[str, ...]": _TEXTS,
    "Peak": _made(Peak),
    "Split": _made(Split),
}
"""How a field of a dataclass is read, by its annotation."""
