"""JSON: raw integers, the definitions beside them, and a schema version.

Keys may be added; none is removed or renamed without a new schema version.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TextIO

from cnnprof.profiling.profile import Cost, FieldSize, FieldStride, Profile, Shape
from cnnprof.render.conventions import definitions
from cnnprof.render.row import Role, Row
from cnnprof.render.view import View, rows

SCHEMA_VERSION = 1


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes the JSON object of the view, one line per layer, in ASCII: `\\u00e9` is read as é everywhere."""
    entries = ",\n".join(f"  {json.dumps(key)}: {_block(value)}" for key, value in to_dict(profile, view).items())
    file.write(f"{{\n{entries}\n}}\n")


def _block(value: Any) -> str:
    """The JSON of a value; an object and a list of objects with a line for each member."""
    if isinstance(value, dict):
        members = ",\n".join(f"    {json.dumps(key)}: {json.dumps(member)}" for key, member in value.items())
        return f"{{\n{members}\n  }}"
    if isinstance(value, list) and any(isinstance(member, dict) for member in value):
        members = ",\n".join(f"    {json.dumps(member)}" for member in value)
        return f"[\n{members}\n  ]"
    return json.dumps(value)


def to_dict(profile: Profile, view: View | None = None) -> dict[str, Any]:
    """The profile as what `json.dumps` takes; `layers` are the rows of the view and add up to `totals`.

    Columns, style and formulas of the view are for people and change nothing here. The row of the layers that `top`
    left out has `others`, their number, and no path.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "network": profile.network,
        "input": _shapes(profile.input_shapes),
        "batch": profile.batch,
        "dtype": profile.dtype,
        "convention": profile.convention,
        "definitions": {key: definition.full for key, definition in definitions(profile.convention).items()},
        "totals": _totals(profile),
        "inference_peak": None if profile.inference_peak is None else asdict(profile.inference_peak),
        "training": None if profile.training is None else asdict(profile.training),
        "caveats": [*profile.caveats, *([profile.untrained] if profile.untrained else [])],
        "layers": [_row(row, profile.retained) for row in rows(profile, view or View()) if row.role is not Role.TOTAL],
        "containers": _containers(profile, view or View()),
    }


def _containers(profile: Profile, view: View) -> list[dict[str, Any]]:
    """What holds other layers, by the range of its rows in `layers`; none where the rows stand in another order."""
    if view.sort is not None or view.top is not None:
        return []
    found: list[dict[str, Any]] = []
    open_: list[dict[str, Any]] = []
    place = 0
    for row in rows(profile, view, containers=True):
        while open_ and (row.role is Role.TOTAL or row.level <= open_[-1]["depth"]):
            entry = open_.pop()
            entry["rows"] = place - entry["first"]
        if row.role is Role.CONTAINER and row.layer:
            layer = row.layer
            entry = {"path": layer.path, "kind": layer.kind, "arguments": layer.arguments, "depth": row.level}
            entry |= {"input_shape": _shapes(layer.input_shapes), "output_shape": _shapes(layer.output_shapes)}
            entry |= {"receptive_field": _axes(layer.receptive_field), "stride": _axes(layer.stride)}
            entry |= {"note": layer.note, "first": place}
            found.append(entry)
            open_.append(entry)
        place += row.role is Role.LAYER
    return found


def _totals(profile: Profile) -> dict[str, Any]:
    """What nobody asked for is null."""
    peak, training = profile.inference_peak, profile.training
    return {
        **_cost(profile.cost, profile.retained),
        "inference_peak_bytes": None if peak is None else peak.bytes,
        "saved_bytes": None if training is None else training.saved_bytes,
        "training_peak_bytes": None if training is None else training.peak_bytes,
    }


def _row(row: Row, retained: bool) -> dict[str, Any]:
    layer = row.layer
    return {
        "path": layer.path if layer else None,
        "kind": layer.kind if layer else None,
        "arguments": layer.arguments if layer else None,
        "depth": layer.depth if layer else None,
        "input_shape": _shapes(layer.input_shapes) if layer else None,
        "output_shape": _shapes(layer.output_shapes) if layer else None,
        "receptive_field": _axes(layer.receptive_field) if layer else None,
        "stride": _axes(layer.stride) if layer else None,
        **_cost(row.cost, retained),
        "peak_bytes": row.cost.peak_bytes,
        "param_shapes": [list(shape) for shape in layer.param_shapes] if layer else [],
        "product_terms": [list(term) for term in layer.product_terms] if layer else [],
        "note": layer.note if layer else "",
        "others": row.number if row.role is Role.OTHERS else 0,
    }


def _cost(cost: Cost, retained: bool) -> dict[str, Any]:
    return {
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "products": cost.products,
        "output_bytes": cost.output_bytes,
        "retained_bytes": cost.retained_bytes if retained else None,
        "param_bytes": cost.param_bytes,
        "buffer_bytes": cost.buffer_bytes,
        "model_bytes": cost.model_bytes,
        "complete": cost.complete,
        "unknown": list(cost.unknown),
    }


def _axes(values: FieldSize | FieldStride) -> list[int | str | None] | None:
    """`[5, "all"]`, `["1/2", 1]`; null for an axis of which nothing is known, and where there is none."""
    if values is None:
        return None
    return [value if value is None or isinstance(value, int) else str(value) for value in values]


def _shapes(several: tuple[Shape, ...]) -> list[int] | list[list[int]] | None:
    """`[64, 55, 55]`; a list of such where there are several tensors, null where there is none."""
    if not several:
        return None
    return list(several[0]) if len(several) == 1 else [list(sizes) for sizes in several]
