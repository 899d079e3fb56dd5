"""A profile that was written as JSON, read back."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

from cnnprof.errors import Source, Span, SpecError
from cnnprof.profiling.memory import Peak, Split, Training
from cnnprof.profiling.profile import PRODUCTS, Cost, Layer, Profile, Shape
from cnnprof.render.conventions import CONVENTIONS

_VERSION = 1


def read_profile(source: Source) -> Profile:
    """The profile in a JSON text. Raises SpecError where it is none, or one of a version that is not known."""
    try:
        data = json.loads(source.text)
    except json.JSONDecodeError as error:
        raise SpecError("profile", error.msg, Span(source, error.lineno, error.colno)) from None
    except RecursionError:
        raise SpecError("profile", "nested too deeply", Span(source, 1, 1)) from None
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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            "profile", f"{source.name} is a damaged profile: {type(error).__name__} {error}", Span(source, 1, 1)
        ) from None


def _profile(data: dict[str, Any]) -> Profile:
    leaves = [_leaf(row, number) for number, row in enumerate(data["layers"])]
    containers = sorted(data.get("containers", []), key=lambda entry: (entry["first"], entry["depth"]))
    if not containers:
        root = leaves[0] if len(leaves) == 1 else Layer("", str(data["network"]), "", 0, (), (), children=tuple(leaves))
    else:
        root = _tree(containers.pop(0), containers, leaves)
    convention = data.get("convention", PRODUCTS)
    if convention not in CONVENTIONS:
        raise ValueError(f'has an unknown convention "{convention}"')
    named = str(data["network"]), _shapes(data["input"]), int(data["batch"]), str(data["dtype"])
    retained = data["totals"].get("retained_bytes") is not None
    peak, training = _peak(data.get("inference_peak")), _training(data.get("training"))
    return Profile(*named, root, convention, peak, retained, training, caveats=tuple(data.get("caveats", ())))


def _peak(data: dict[str, Any] | None) -> Peak | None:
    return Peak(**data) if data else None


def _training(data: dict[str, Any] | None) -> Training | None:
    if not data:
        return None
    splits = {key: Split(**data[key]) for key in ("live_after_forward", "at_peak")}
    return Training(**{**data, **splits, "peak": Peak(**data["peak"]), "deviations": tuple(data["deviations"])})


def _leaf(row: dict[str, Any], number: int) -> Layer:
    keys = ("params", "trainable_params", "products", "output_bytes", "param_bytes", "buffer_bytes")
    params, trainable, products, output_bytes, param_bytes, buffer_bytes = (int(row[key]) for key in keys)
    cost = Cost(params, trainable, products, output_bytes, param_bytes, buffer_bytes, tuple(row["unknown"]))
    cost = replace(cost, retained_bytes=int(row.get("retained_bytes") or 0), peak_bytes=int(row.get("peak_bytes") or 0))
    if row["path"] is None:  # the rows that --top left out
        return Layer(f"others{number}", f"({row['others']} others)", "", 1, (), (), cost)
    shapes = _shapes(row["input_shape"]), _shapes(row["output_shape"])
    arithmetic = _lists(row.get("param_shapes", [])), _lists(row.get("product_terms", []))  # the first profiles had none
    named = row["path"], row["kind"], row["arguments"], int(row["depth"])
    return Layer(*named, *shapes, cost, *arithmetic, note=row["note"], **_fields(row))


def _tree(entry: dict[str, Any], waiting: list[dict[str, Any]], leaves: list[Layer]) -> Layer:
    """The container with the leaves from its first on, as many as it says; those inside it are taken off `waiting`."""
    children: list[Layer] = []
    place, stop = int(entry["first"]), int(entry["first"]) + int(entry["rows"])
    while place < stop:
        inner = waiting[0] if waiting and waiting[0]["first"] == place and waiting[0]["depth"] > entry["depth"] else None
        if inner is None:
            children.append(leaves[place])
            place += 1
        else:
            children.append(_tree(waiting.pop(0), waiting, leaves))
            place += int(inner["rows"])
    shapes = _shapes(entry["input_shape"]), _shapes(entry["output_shape"])
    named = entry["path"], entry["kind"], entry["arguments"], int(entry["depth"])
    return Layer(*named, *shapes, children=tuple(children), **_fields(entry))


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    """The receptive field and the stride of a row, as a layer takes them; the first profiles had none."""
    size, stride = entry.get("receptive_field"), entry.get("stride")
    return {
        "receptive_field": None if size is None else tuple(value if value in (None, "all") else int(value) for value in size),
        "stride": None if stride is None else tuple(value if value is None else _number(value) for value in stride),
    }


def _number(value: Any) -> int | Fraction:
    """A number, or the text of a fraction."""
    number = Fraction(value)
    return number.numerator if number.denominator == 1 else number


def _shapes(value: Any) -> tuple[Shape, ...]:
    if not value:
        return ()
    return _lists(value if isinstance(value[0], list) else [value])


def _lists(value: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(size) for size in sizes) for sizes in value)
