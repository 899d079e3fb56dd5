"""Options and fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tensors are small, and a process with OpenMP's threads in it must not be forked

# The same examples in every run, so that a failure is there again tomorrow. `--hypothesis-profile=search` looks for other ones.
settings.register_profile("fixed", max_examples=2000, deadline=None, derandomize=True, database=None)
settings.register_profile("search", max_examples=20_000, deadline=None)
settings.load_profile("fixed")

GOLDEN = Path(__file__).resolve().parent / "golden"
"""Expected outputs. `pytest --update-golden` writes them anew; look at the diff before it is committed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the golden file of that name, character by character."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        assert path.is_file(), f"no golden file {name}: pytest --update-golden writes it"
        assert text == path.read_bytes().decode(), f"{name} differs: pytest --update-golden if that is right"

    return compare
