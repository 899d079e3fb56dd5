"""The time from a constructed module to all its figures: cnnprof, its peers, and the bare forward pass on the meta device.

    python -m benchmarks.speed                                six networks, and the first call of a process for ResNet-152
    python -m benchmarks.speed --networks lenet5 resnet152    these
    python -m benchmarks.speed --runs 9 --no-first            more rounds, later calls only; ResNet-152, which is held to bounds,
                                                              has three times as many

The networks are benchmarks/plain_networks.py, torch alone. Each tool has a module of its own, in eval(), and is called as its
documentation shows it, output thrown away; where a tool can take a module on the meta device, that is a side of its own. Every side
runs once before anything is counted, then they take turns. In its turn a side runs once untimed, so that none pays for what another
left in the caches, then over and over for a third of a second, three times at least; hooks that it leaves are taken off between.
The ratio is that of the medians: above 1 the other side is faster. A first call is the first thing that a
new process does once it has imported the tool and constructed the module.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

from benchmarks.peers import CNNPROF, PEERS, Device, Example, Figures, Side, Tool, installed, quiet, sides
from benchmarks.plain_networks import NETWORKS
from benchmarks.timing import Line, drop_failing, interleaved, options, report, seconds

OURS = Side(CNNPROF, "meta")
BARE = "forward pass on meta"
BOUNDED = "resnet152"
_MORE = 3
"""Times the rounds for the network that is held to bounds: the load of a machine changes within seconds, and a few rounds may meet
only one."""
BOUNDS = {BARE: 0.25, "torchinfo (meta)": 0.15, "torchinfo": 0.1, "fvcore": 0.05}

Sides = dict[str, Callable[[], object]]


def module(network: str, device: Device) -> nn.Module:
    """The network on that device, ready for inference."""
    with torch.device(device):
        return NETWORKS[network].make().eval()


def _example(network: str, device: Device) -> Example:
    return Example((torch.zeros(1, *NETWORKS[network].size, device=device),))


def _forward(net: nn.Module, size: Sequence[int]) -> object:
    with torch.no_grad():
        return net(torch.empty(1, *size, device="meta"))


def _asked(tool: Tool, net: nn.Module, example: Example) -> Figures:
    with quiet():
        return tool.ask(net, example)


def of_network(network: str, tools: Sequence[Tool]) -> tuple[Sides, dict[str, nn.Module], list[str]]:
    """The sides of one network, each run once, the module of each, and what could not be run."""
    modules = {BARE: module(network, "meta")} | {side.name: module(network, side.device) for side in sides(tools)}
    work: Sides = {BARE: partial(_forward, modules[BARE], NETWORKS[network].size)}
    work |= {side.name: partial(_asked, side.tool, modules[side.name], _example(network, side.device)) for side in sides(tools)}
    return work, modules, [f"{network}: {trouble}" for trouble in drop_failing(work)]


def _unhook(net: nn.Module) -> None:
    """Takes off the hooks that a tool has left on a module: they add up, and each call would be slower than the one before it."""
    for part in net.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()


def later(network: str, tools: Sequence[Tool], runs: int) -> tuple[list[Line], list[str]]:
    """cnnprof against every other side, calls after the first."""
    work, modules, notes = of_network(network, tools)
    timed = {name: seconds(call, partial(_unhook, modules[name])) for name, call in work.items()}
    bounds = BOUNDS if network == BOUNDED else {}
    samples = interleaved(timed, _MORE * runs if bounds else runs)
    return lines(f"cnnprof {network}", samples, bounds), notes


def first(network: str, tools: Sequence[Tool], runs: int) -> tuple[list[Line], list[str]]:
    """cnnprof against every other side, the first call in a process each."""
    work: dict[str, Callable[[], float]] = {side.name: partial(_first_of_process, side, network) for side in sides(tools)}
    notes = [f"{network}, first call: {trouble}" for trouble in drop_failing(work)]
    return lines(f"cnnprof {network}, first call", interleaved(work, runs), {}), notes


def _first_of_process(side: Side, network: str) -> float:
    command = [sys.executable, "-m", "benchmarks.speed", "--first-of", side.tool.name, side.device, network]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=root)
    return float(done.stdout)


def _time_first(name: str, device: Device, network: str) -> float:
    """What the process of a first call does: all that is imported before the clock starts is what a script would import."""
    tool = next(tool for tool in (CNNPROF, *PEERS) if tool.name == name)
    assert tool.installed, name  # imports it
    net, example = module(network, device), _example(network, device)
    start = time.perf_counter()
    _asked(tool, net, example)
    return time.perf_counter() - start


def lines(what: str, samples: Mapping[str, Sequence[float]], bounds: Mapping[str, float]) -> list[Line]:
    """cnnprof held against each other side, slowest of them first."""
    ours = tuple(samples[OURS.name])
    others = sorted((name for name in samples if name != OURS.name), key=lambda name: -median(samples[name]))
    return [Line(what, "s", ours, name, tuple(samples[name]), bounds.get(name)) for name in others]


def faster(found: Sequence[Line]) -> Iterator[str]:
    """A line for each side that is faster than cnnprof."""
    for line in found:
        if line.ratio > 1:
            yield f"{line.against} is faster than {line.what}: {1 / line.ratio:.2f} x its time"


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = options(__doc__ or "", runs=5, fewest=3)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME", help="only these")
    parser.add_argument("--no-first", action="store_true", help="later calls only")
    parser.add_argument("--first-of", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.first_of:
        print(_time_first(*chosen.first_of))
        return
    tools, notes = installed([CNNPROF, *PEERS])
    found: list[Line] = []
    for network in chosen.networks:
        of, troubles = later(network, tools, chosen.runs)
        found, notes = found + of, notes + troubles
    if not chosen.no_first:
        of, troubles = first(BOUNDED if BOUNDED in chosen.networks else chosen.networks[0], tools, 3)
        found, notes = found + of, notes + troubles
    threads = f"torch computes on {torch.get_num_threads()} threads: what else runs on them slows the peers on the CPU most"
    report("speed", found, [threads, *notes, *faster(found)], chosen)


if __name__ == "__main__":
    main()
