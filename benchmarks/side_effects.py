"""What each tool leaves changed, in the module and in the process, after a pass and after one in which the module raises.

    python -m benchmarks.side_effects

The module is a small CNN on the CPU, in train() but for a frozen BatchNorm in eval(), as one fine-tunes. Each tool is asked once in
a process of its own that has imported it; snapshots before and after are compared. The tools are told to print nothing where they
have an option for that. Last comes a forward pass by itself: a tool that runs the module as it is leaves at least as much.
"""

from __future__ import annotations

import gc
import io
import logging
import random
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from hashlib import sha256
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as module_hooks

from benchmarks import output
from benchmarks.isolation import NoAnswerError, isolated
from benchmarks.peers import CNNPROF, PEERS, Ask, Example, Figures, Tool, installed
from benchmarks.text import aligned, filled
from benchmarks.timing import machine
from benchmarks.trouble import described

Snapshot = Mapping[str, Mapping[str, Any]]
"""By kind, by name: something that is equal as long as nothing changed."""

Changes = dict[str, list[str]]
"""By kind: the names of what changed, appeared or went."""

ALONE = "forward pass"
OCCASIONS = ("a pass", "a pass that raises")
_SHOWN = 3
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)
_NAMESPACES: Mapping[str, Any] = {
    "torch": torch,
    "torch.nn.functional": functional,
    "torch.Tensor": Tensor,
    "nn.Module": nn.Module,
    "nn.Conv2d": nn.Conv2d,
    "nn.Linear": nn.Linear,
}


class Raising(nn.Module):
    """A layer with an error in it."""

    def forward(self, x: Tensor) -> Tensor:
        """Nothing: it raises."""
        raise RuntimeError("the module's own error")


def subject(raising: bool) -> nn.Module:
    """The small CNN."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()),
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 12 * 12, 10)),
        *([Raising()] if raising else []),
    ).train()
    frozen = net[1].requires_grad_(False)
    frozen.eval()
    return net


# snapshots


def of_module(net: nn.Module) -> Snapshot:
    """What a module is."""
    modules = dict(net.named_modules())
    parameters = dict(net.named_parameters())
    return {
        "training flags": {path or "the module": part.training for path, part in modules.items()},
        "attributes": {_join(path, name): id(value) for path, part in modules.items() for name, value in _attributes(part).items()},
        "hooks": {_join(path, name): tuple(vars(part)[name]) for path, part in modules.items() for name in _HOOKS},
        "classes": {path: id(type(part)) for path, part in modules.items()},
        "buffers": {name: _content(buffer) for name, buffer in net.named_buffers()},
        "parameters": {name: (id(parameter), _content(parameter)) for name, parameter in parameters.items()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "gradients": {name: parameter.grad is not None for name, parameter in parameters.items()},
    }


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _attributes(part: nn.Module) -> dict[str, Any]:
    """What is set on the module itself and stands under no other kind."""
    return {name: value for name, value in vars(part).items() if name not in _HOOKS and name != "training"}


def _content(tensor: Tensor) -> tuple[str, ...]:
    values = "" if tensor.is_meta else sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return str(tensor.device), str(tensor.dtype), str(tuple(tensor.shape)), values


def of_process() -> Snapshot:
    """What the module's process shares with everything else in it."""
    numpy: Any = sys.modules.get("numpy")
    return {
        "functions of torch": {
            f"{space}.{name}": id(value) for space, of in _NAMESPACES.items() for name, value in vars(of).items() if callable(value)
        },
        "hooks on every module": {
            name: tuple(value)
            for name, value in vars(module_hooks).items()
            if name.startswith("_global_") and isinstance(value, dict)
        },
        "random state": {
            "torch": sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
            "python": hash(random.getstate()),
            "numpy": sha256(numpy.random.get_state()[1].tobytes()).hexdigest() if numpy else None,
        },
        "defaults": {
            "dtype": torch.get_default_dtype(),
            "device": torch.get_default_device(),
            "grad mode": torch.is_grad_enabled(),
            "threads": torch.get_num_threads(),
            "autocast": torch.is_autocast_enabled("cpu"),
            "attention's fast path": torch.backends.mha.get_fastpath_enabled(),
            **{name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")},
        },
        "garbage collector": {"enabled": gc.isenabled(), "thresholds": gc.get_threshold(), "frozen": gc.get_freeze_count()},
        "threads": {thread.name: id(thread) for thread in threading.enumerate()},
        "warning filters": {str(number): str(entry) for number, entry in enumerate(reversed(warnings.filters))},
        "logging": {"root": (logging.root.level, len(logging.root.handlers), logging.root.manager.disable)},
    }


def changes(before: Snapshot, after: Snapshot) -> Changes:
    """What differs between two snapshots; functions that are new are imports, and no change."""
    found = {}
    for kind, old in before.items():
        new = after[kind]
        names = old if kind == "functions of torch" else {**old, **new}
        missing = object()
        changed = [name for name in names if old.get(name, missing) != new.get(name, missing)]
        if changed:
            found[kind] = changed
    return found


# the tools


def left_by(ask: Callable[[nn.Module, Example], object], raising: bool) -> tuple[Changes, str]:
    """What asking about the small CNN changes here, and what was raised; to be called in a process of its own."""
    net, example = subject(raising), Example((torch.zeros(1, 3, 16, 16),))
    before = {**of_module(net), **of_process()}
    printed, trouble = {"stdout": io.StringIO(), "stderr": io.StringIO()}, ""
    with redirect_stdout(printed["stdout"]), redirect_stderr(printed["stderr"]):
        try:
            ask(net, example)
        except Exception as error:
            trouble = described(error)
    found = changes(before, {**of_module(net), **of_process()})
    for stream, text in printed.items():
        if text.getvalue():
            count = len(text.getvalue().splitlines())
            found[f"printed to {stream}"] = [f"{count} line" + "s" * (count != 1)]
    return found, trouble


def measured(tools: Sequence[Tool]) -> dict[str, dict[str, tuple[Changes, str]]]:
    """For each tool and occasion, what it left and what it raised; last the same of the module alone."""
    asked: dict[str, Ask] = {**{tool.name: tool.ask for tool in tools}, ALONE: _forward}
    # torch puts a function of its own in the place of another when it imports its compiler: that is no tool's doing.
    import_module("torch._dynamo")
    return {name: {when: _isolated(ask, when == OCCASIONS[1]) for when in OCCASIONS} for name, ask in asked.items()}


def _forward(net: nn.Module, example: Example) -> Figures:
    """A forward pass, which says nothing."""
    net(*example.args)
    return Figures(None, None)


def _isolated(ask: Ask, raising: bool) -> tuple[Changes, str]:
    try:
        return isolated(partial(left_by, ask, raising))
    except NoAnswerError as error:
        return {}, str(error)


def table(found: Mapping[str, Mapping[str, tuple[Changes, str]]]) -> str:
    """A row for each kind of thing that a tool leaves changed, below the tool."""
    rows: list[tuple[str, ...]] = [("  after", "leaves changed", "")]
    for tool, occasions in found.items():
        rows.append((tool,))
        for when, (left, _) in occasions.items():
            kinds = [(kind, _names(names)) for kind, names in left.items()] or [("nothing", "")]
            rows += [(f"  {when}" if number == 0 else "", *cells) for number, cells in enumerate(kinds)]
    return aligned(rows, left=range(3))


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def notes(found: Mapping[str, Mapping[str, tuple[Changes, str]]]) -> list[str]:
    """What was raised although the module is fine, and where the module's own error did not come through."""
    lines = []
    for tool, occasions in found.items():
        well, ill = (occasions[when][1] for when in OCCASIONS)
        if well:
            lines.append(f"{tool}: {well}")
        if "the module's own error" not in ill:
            lines.append(f"{tool} does not pass on the module's own error: {ill or 'it raises nothing'}")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Asks and prints the table."""
    parser = output.parser(__doc__ or "")
    output.add_options(parser)
    chosen = parser.parse_args(argv)
    tools, missing = installed([CNNPROF, *PEERS])
    found = measured(tools)
    about, lines = machine(), [*missing, *notes(found)]
    left = {tool: {when: {"changes": left, "raised": raised} for when, (left, raised) in of.items()} for tool, of in found.items()}
    output.write("side_effects", {**about, "notes": lines, "left": left}, chosen)
    print(filled(", ".join(about.values())))
    print(table(found))
    for line in lines:
        print(filled(line))


if __name__ == "__main__":
    main()
