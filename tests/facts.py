"""The facts that the tests hold the program to, read once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "facts"

LECTURES: dict[str, Any] = yaml.safe_load((_FOLDER / "lectures.yaml").read_text())

with (_FOLDER / "published.csv").open(newline="") as _file:
    PUBLISHED: list[dict[str, str]] = list(csv.DictReader(_file))
