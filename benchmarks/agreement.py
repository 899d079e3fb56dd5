"""How many parameters and products each tool gets right, for networks and for small modules whose numbers are known.

    python -m benchmarks.agreement             every bundled network and every case of tests/module_table.py
    python -m benchmarks.agreement --all       the same, and what each tool says of each
    python -m benchmarks.agreement --quick     a few networks, every fourth case

The whole takes about ten minutes on two cores, most of them for networks on the CPU.

What is true: for a network what configs/published.csv has of it; where that has nothing, the sum over its parameters and half of
what torch's FLOP counter counts on the meta device, which knows nothing of cnnprof. For a module of the table the closed form that
stands there. The unit is products, without biases, norms, pools and activations: a tool that counts those too is wrong, or
within 1 %, which has a column of its own. Each answer comes from a process of its own, with the module in eval().
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import output
from benchmarks.isolation import NoAnswerError, isolated
from benchmarks.peers import CNNPROF, PEERS, Device, Example, Figures, Side, Tool, installed, quiet, sides
from benchmarks.text import aligned, filled
from benchmarks.timing import machine, progress

LARGEST = 1_500_000_000
"""Bytes of parameters beyond which no module is made on the CPU."""
QUICK = ("lenet", "lenet5", "alexnet", "googlenet", "resnet18", "conv5x5", "fully_connected")

DEVICES: tuple[Device, ...] = ("meta", "cpu")

Quantity = Literal["params", "products"]
QUANTITIES: tuple[Quantity, ...] = ("params", "products")


@dataclass(frozen=True, slots=True)
class Subject:
    """A module of which the numbers are known."""

    group: str
    name: str
    make: Callable[[Device], nn.Module]
    given: Callable[[nn.Module, Device], Example]
    truth: Figures
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said of a subject."""

    group: str
    subject: str
    side: str
    truth: Figures
    said: Figures | None
    trouble: str = ""
    """Why it said nothing."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One quantity over many answers of one tool."""

    of: int
    right: int
    close: int
    """Those that are wrong by at most 1 %."""
    wrong: int
    """Those that are wrong by more."""
    silent: int
    """Those where it raised or told nothing."""


def tally(answers: Iterable[Answer], quantity: Quantity) -> Tally:
    """How often the answers are right about that quantity."""
    counts: Counter[str] = Counter()
    for answer in answers:
        truth, said = getattr(answer.truth, quantity), getattr(answer.said, quantity, None)
        counts["of"] += 1
        counts[_grade(truth, said)] += 1
    return Tally(counts["of"], counts["right"], counts["close"], counts["wrong"], counts["silent"])


def _grade(truth: int, said: int | None) -> str:
    if said is None:
        return "silent"
    if said == truth:
        return "right"
    return "close" if abs(said - truth) * 100 <= truth else "wrong"


# the subjects


def networks(names: Sequence[str] | None = None) -> Iterator[Subject]:
    """The bundled networks, of the default variant's input each; those of these names, if there are any."""
    import cnnprof
    from cnnprof.published import figures
    from cnnprof.spec import library

    for name in names or library.entries():
        module = cnnprof.load(name)
        size = _size(name)
        known = figures().get(name)
        truth = Figures(known.params, known.products) if known else _by_torch_on_meta(module, size)
        yield Subject(
            "networks",
            name,
            partial(_loaded, name),
            partial(_image, size),
            truth,
            known.source if known else "torch's FLOP counter on meta, halved",
        )


def _size(name: str) -> tuple[int, ...]:
    from cnnprof.nets.targets import network
    from cnnprof.spec import target

    found = target.find(name)
    assert isinstance(found, target.SpecTarget)
    return network(found).input_shape


def _loaded(name: str, device: Device) -> nn.Module:
    import cnnprof

    net: nn.Module = cnnprof.load(name, device=device)
    return net


def _image(size: tuple[int, ...], module: nn.Module, device: Device) -> Example:
    return Example((torch.zeros(1, *size, device=device),))


def _by_torch_on_meta(module: nn.Module, size: tuple[int, ...]) -> Figures:
    def count() -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(torch.empty(1, *size, device="meta"))
        return int(counter.get_total_flops()) // 2

    return Figures(sum(parameter.numel() for parameter in module.parameters()), isolated(count))


def module_table() -> Iterator[Subject]:
    """The cases of tests/module_table.py."""
    tests = str(Path(__file__).parent.parent / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    for case in import_module("module_table").CASES:
        yield Subject(
            "modules",
            case.name,
            partial(_made, case.make, case.inputs),
            partial(_given, case.inputs),
            Figures(case.params, case.products),
            "closed form",
        )


def _made(make: Callable[[], nn.Module], inputs: Any, device: Device) -> nn.Module:
    """The case's module; a lone layer in a Sequential, for two of the tools leave out the very module that they are given."""
    with torch.device(device):
        module = make()
    alone = next(module.children(), None) is None and (isinstance(inputs, Tensor) or _is_shape(inputs))
    return nn.Sequential(module) if alone else module


def _is_shape(inputs: Any) -> bool:
    return isinstance(inputs, tuple) and all(isinstance(size, int) for size in inputs)


def _given(inputs: Any, module: nn.Module, device: Device) -> Example:
    """The inputs as the table has them: a shape without its batch, a list of such, a tensor, some by position or by name."""
    inputs = tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)
    if _is_shape(inputs):
        dtype = next((parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()), None)
        return Example((torch.zeros(1, *inputs, device=device, dtype=dtype),))
    if isinstance(inputs, list):
        return Example(tuple(torch.zeros(1, *shape, device=device) for shape in inputs))
    if isinstance(inputs, dict):
        return Example((), inputs)
    return Example(inputs if isinstance(inputs, tuple) else (inputs,))


# the answers


def answers(subjects: Sequence[Subject], tools: Sequence[Tool]) -> list[Answer]:
    """What each tool says of each subject, on each device on which it can."""
    _warm()
    found = []
    for number, subject in enumerate(subjects):
        progress(f"{number + 1} of {len(subjects)}: {subject.name}")
        for device in DEVICES:
            found += list(_answers(subject, [side for side in sides(tools) if side.device == device], device))
    progress("")
    return found


def _answers(subject: Subject, asked: Sequence[Side], device: Device) -> Iterator[Answer]:
    answer = partial(Answer, subject.group, subject.name)
    if device == "cpu" and 4 * (subject.truth.params or 0) > LARGEST:
        for side in asked:
            yield answer(side.name, subject.truth, None, "its module is too large for the CPU")
        return
    with quiet():
        module = subject.make(device).eval()
        example = subject.given(module, device)
    for side in asked:
        yield answer(side.name, subject.truth, *_asked(side.tool, module, example))


def _asked(tool: Tool, module: nn.Module, example: Example) -> tuple[Figures | None, str]:
    def ask() -> Figures:
        with quiet():
            return tool.ask(module, example)

    try:
        return isolated(ask), ""
    except NoAnswerError as error:
        return None, str(error)


def _warm() -> None:
    """Has this process import what torch imports with its first operators on meta, so that no child has to."""
    torch.set_num_threads(1)
    with torch.device("meta"), torch.no_grad():
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1)).eval()(
            torch.empty(1, 1, 2, 2)
        )


# the tables


def totals(found: Sequence[Answer]) -> str:
    """A row for each tool: right, within 1 %, wrong and silent, of parameters and of products."""
    kinds = ("right", "1 %", "wrong", "none")
    rows: list[tuple[str, ...]] = []
    for group in dict.fromkeys(answer.group for answer in found):
        of_group = [answer for answer in found if answer.group == group]
        number = len({answer.subject for answer in of_group})
        rows += [(f"{number} {group}", "params", "", "", "", "products", "", "", ""), ("", *kinds, *kinds)]
        for side in dict.fromkeys(answer.side for answer in of_group):
            of = [answer for answer in of_group if answer.side == side]
            params, products = (tally(of, quantity) for quantity in QUANTITIES)
            cells = (str(count) for each in (params, products) for count in (each.right, each.close, each.wrong, each.silent))
            rows.append((f"  {side}", *cells))
    return aligned(rows, left=(0,))


def each(found: Sequence[Answer], subjects: Sequence[Subject]) -> str:
    """A row for each answer below what is true."""
    sources = {(subject.group, subject.name): subject.source for subject in subjects}
    rows: list[tuple[str, ...]] = [("", "params", "products")]
    for subject in dict.fromkeys((answer.group, answer.subject) for answer in found):
        of = [answer for answer in found if (answer.group, answer.subject) == subject]
        truth = of[0].truth
        rows += [(subject[1], f"{truth.params:,}", f"{truth.products:,}"), (f"  true, by {sources[subject]}",)]
        for answer in of:
            side = f"  {answer.side}"
            rows.append((side, *(_cell(answer, quantity) for quantity in QUANTITIES)))
            if answer.trouble:
                rows[-1] = (side, answer.trouble)
    return aligned(rows, left=(0,))


def _cell(answer: Answer, quantity: Quantity) -> str:
    truth, said = getattr(answer.truth, quantity), getattr(answer.said, quantity, None)
    if said is None:
        return "-"
    return "right" if said == truth else f"{said:,}"


def troubles(found: Sequence[Answer]) -> list[str]:
    """For each tool that said nothing somewhere: why, and how often, without the details of each error."""
    by_side: dict[str, Counter[str]] = {}
    for answer in found:
        if answer.trouble:
            by_side.setdefault(answer.side, Counter())[_kind(answer.trouble)] += 1
    return [
        f"{side} says nothing: " + "; ".join(f"{why} ({count})" for why, count in counts.most_common())
        for side, counts in by_side.items()
    ]


def _kind(trouble: str) -> str:
    return trouble.partition(":")[0] if trouble.startswith("raises ") else trouble


def result(found: Sequence[Answer]) -> dict[str, Any]:
    """What is written as JSON."""
    tallies: list[Mapping[str, Any]] = []
    for group in dict.fromkeys(answer.group for answer in found):
        for side in dict.fromkeys(answer.side for answer in found):
            of = [answer for answer in found if (answer.group, answer.side) == (group, side)]
            tallies += [{"group": group, "side": side, "quantity": name, **asdict(tally(of, name))} for name in QUANTITIES]
    return {"tallies": tallies, "answers": [asdict(answer) for answer in found]}


def main(argv: Sequence[str] | None = None) -> None:
    """Asks and prints the tables."""
    parser = output.parser(__doc__ or "")
    parser.add_argument("--all", action="store_true", help="what each tool says of each network and module too")
    parser.add_argument("--quick", action="store_true", help="a few networks, every fourth module")
    parser.add_argument("--only", choices=("networks", "modules"), help="half of it")
    output.add_options(parser)
    chosen = parser.parse_args(argv)
    tools, missing = installed([CNNPROF, *PEERS])
    with quiet():
        subjects = [] if chosen.only == "modules" else list(networks(QUICK if chosen.quick else None))
        subjects += [] if chosen.only == "networks" else list(module_table())[:: 4 if chosen.quick else 1]
    found = answers(subjects, tools)
    unpublished = [subject.name for subject in subjects if subject.group == "networks" and subject.source.startswith("torch's")]
    notes = [*missing, *(f"{tool.name} counts {tool.unit}" for tool in tools), *troubles(found)]
    if unpublished:
        notes.insert(0, f"held against torch's FLOP counter, being in no publication: {', '.join(unpublished)}")
    about = machine()
    output.write("agreement", {**about, "notes": notes, **result(found)}, chosen)
    print(filled(", ".join(about.values())))
    if chosen.all:
        print(each(found, subjects), end="\n\n")
    print(totals(found))
    for note in notes:
        print(filled(note))


if __name__ == "__main__":
    main()
