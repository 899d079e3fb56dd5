"""The index that `cnnprof list` prints is what measuring gives."""

from __future__ import annotations

from facts import PUBLISHED

from cnnprof.nets.index import index_text
from cnnprof.spec import library


def test_the_index_is_up_to_date() -> None:
    assert library.index_path().read_text() == index_text(), "python -m cnnprof.nets.index writes it anew"


def test_it_has_every_network_of_every_file_once() -> None:
    assert [(e.name, e.path, e.variant) for e in library.scan()] == [
        (e.name, e.path, e.variant) for e in library.entries().values()
    ]


def test_it_agrees_with_the_papers() -> None:
    for row in PUBLISHED:
        entry = library.entries()[row["network"]]
        assert (entry.params, entry.products, entry.input) == (int(row["params"]), int(row["products"]), row["input"])


def test_references() -> None:
    found = {name: entry.reference for name, entry in library.entries().items()}
    assert found["alexnet"] == "Krizhevsky 2014"
    assert found["vgg16"] == "Simonyan & Zisserman 2015"
    assert found["resnet50"] == "He et al. 2016"
