"""Asks the tools what they count, and records it: `python tests/update_conventions.py` writes tests/facts/conventions.csv.

It needs thop and ptflops, which cnnprof itself does not: `pip install --no-deps thop ptflops`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch
from convention_networks import BUNDLED, NETWORKS
from torch import nn

import cnnprof
from cnnprof.nets.targets import network
from cnnprof.spec.target import SpecTarget, find

FACTS = Path(__file__).resolve().parent / "facts" / "conventions.csv"


def by_fvcore(module: nn.Module, shape: tuple[int, ...]) -> int:
    analysis = import_module("fvcore.nn").FlopCountAnalysis(module, torch.rand(1, *shape))
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def by_thop(module: nn.Module, shape: tuple[int, ...]) -> int:
    return int(import_module("thop").profile(module, (torch.rand(1, *shape),), verbose=False)[0])


def by_ptflops(module: nn.Module, shape: tuple[int, ...], backend: str = "pytorch") -> int:
    ask = import_module("ptflops").get_model_complexity_info
    count, _ = ask(module, shape, print_per_layer_stat=False, as_strings=False, backend=backend)
    if count is None:
        raise RuntimeError("ptflops could not run the module")
    return int(count)


def by_ptflops_aten(module: nn.Module, shape: tuple[int, ...]) -> int:
    return by_ptflops(module, shape, "aten")


TOOLS: Mapping[str, tuple[str, Callable[[nn.Module, tuple[int, ...]], int]]] = {
    "mac+bias": ("ptflops", by_ptflops_aten),
    "fvcore": ("fvcore", by_fvcore),
    "thop": ("thop", by_thop),
    "ptflops": ("ptflops", by_ptflops),
}
"""For each convention the package that is asked, and how."""


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of that name on the CPU, and the shape of its input."""
    if name in NETWORKS:
        make, shape = NETWORKS[name]
        return make().eval(), shape
    target = find(name)
    assert isinstance(target, SpecTarget)
    return cnnprof.load(name, device="cpu").eval(), network(target).input_shape


def asked(name: str, convention: str) -> int:
    """What the tool of that convention counts for a network, whatever it prints."""
    module, shape = made(name)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return TOOLS[convention][1](module, shape)


def main() -> None:
    """Writes the file of facts."""
    with FACTS.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["network", "convention", "count", "tool", "version"])
        for name in (*BUNDLED, *NETWORKS):
            for convention, (tool, _) in TOOLS.items():
                # The aten backend leaves out many products of small modules, which the convention does not.
                if convention != "mac+bias" or name in BUNDLED:
                    rows.writerow([name, convention, asked(name, convention), tool, version(tool)])


if __name__ == "__main__":
    main()
