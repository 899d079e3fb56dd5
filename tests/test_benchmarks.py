"""The benchmarks' own judgement: what they count as right, over a bound, faster, and changed. Nothing is timed here."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import cnnprof
from benchmarks import agreement, readme, side_effects, startup
from benchmarks.__main__ import QUICK
from benchmarks.agreement import Answer, Tally, module_table, tally
from benchmarks.chart import CHARTS
from benchmarks.isolation import NoAnswerError, isolated
from benchmarks.peers import CNNPROF, PEERS, TORCH, Ask, Example, Figures, Side, Tool
from benchmarks.plain_networks import NETWORKS
from benchmarks.process import script
from benchmarks.readme import best, better, bounds
from benchmarks.speed import faster
from benchmarks.text import aligned, filled, reflowed
from benchmarks.timing import PACKAGES, Line, drop_failing, machine, process, table
from cnnprof.published import figures

FVCORE = next(tool for tool in PEERS if tool.name == "fvcore")
TRUTH = Figures(1000, 10_000)


@pytest.fixture(autouse=True)
def threads() -> Any:
    """Forking sets the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def tool(name: str, ask: Ask) -> Tool:
    return replace(TORCH, name=name, devices=("cpu",), ask=ask)


def said(params: int | None, products: int | None) -> Answer:
    return Answer("modules", "one", "tool", TRUTH, Figures(params, products))


# verdicts


@pytest.mark.parametrize(
    ("samples", "against", "bound", "verdict"),
    [
        ((1.0, 1.0, 9.0), (2.0, 2.0, 2.0), 0.5, "ok"),
        ((1.0, 1.1, 9.0), (2.0, 2.0, 2.0), 0.5, "OVER"),
        ((5.0,), (1.0,), None, ""),
    ],
)
def test_a_verdict_is_of_the_medians(
    samples: tuple[float, ...], against: tuple[float, ...], bound: float | None, verdict: str
) -> None:
    line = Line("ours", "s", samples, "theirs", against, bound)
    assert line.verdict == verdict
    assert table([line]).splitlines()[3].endswith(verdict)


def test_a_table_has_each_side_above_those_it_is_held_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # figures are never broken
    samples, others = (0.5, 1.5, 1.0), (4.0,)
    lines = [
        Line("ours", "s", samples, "slow", others, 0.2),
        Line("ours", "s", samples, "slower", (0.8,)),
        Line("ours", "s", (2.0,), "slower", (0.8,)),
        Line("ours", "MiB", (1000.0,), "slow", (1024.0,), 1),
    ]
    assert table(lines).splitlines() == [
        "what            median",
        "  against       median  ratio  at most",
        "ours           1.000 s",
        "  slow         4.000 s  0.250      0.2  OVER",
        "  slower     800.00 ms  1.250",
        "ours           2.000 s",
        "  slower     800.00 ms  2.500",
        "ours       1,000.0 MiB",
        "  slow     1,024.0 MiB  0.977        1  ok",
    ]


def test_sentences_go_on_below_where_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    rows = [
        ("tool", "count", "left"),
        ("one", "1", "nothing"),
        ("two", "10", "a word_with_hyphen-s and more"),
        ("a section",),
    ]
    assert aligned(rows, left=(0, 2)).splitlines() == [
        "tool  count  left",
        "one       1  nothing",
        "two      10  a word_with_hyphen-s",
        "             and more",
        "a section",
    ]
    assert filled("what is too long for one line of it, and goes on").splitlines() == [
        "what is too long for one line of it,",
        "  and goes on",
    ]
    assert filled("") == ""


def test_a_description_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    description = """
What is told in a sentence that is
wrapped anew.

    one        is explained, in more words
               than there is room for
    python -m  a command

The end."""
    assert reflowed(description).splitlines() == [
        "What is told in a sentence that is",
        "wrapped anew.",
        "",
        "    one        is explained, in more",
        "               words than there is",
        "               room for",
        "    python -m  a command",
        "",
        "The end.",
    ]


def test_a_faster_peer_is_named() -> None:
    slower, quicker = Line("ours", "s", (1.0,), "slow", (2.0,)), Line("ours", "s", (1.0,), "quick", (0.5,))
    assert list(faster([slower, quicker])) == ["quick is faster than ours: 0.50 x its time"]


def test_a_side_that_fails_is_named_and_dropped() -> None:
    def fails() -> int:
        raise ValueError("not today")

    sides = {"fine": lambda: 1, "broken": fails}
    assert drop_failing(sides) == ["broken: raises ValueError: not today"]
    assert list(sides) == ["fine"]


def test_the_memory_of_a_process_is_its_own() -> None:
    # This process has torch in it and is larger.
    run = process(sys.executable, "-I", "-S", "-c", "pass")()
    assert 1 < run.peak_mib < 60
    held = process(sys.executable, "-I", "-S", "-c", "x = bytearray(100 << 20); x[::4096] = b'1' * len(x[::4096])")()
    assert 95 < held.peak_mib - run.peak_mib < 130


def test_a_process_that_fails_says_why() -> None:
    work = {"broken": process(sys.executable, "-I", "-S", "-c", "import sys; sys.exit('no such thing')")}
    assert drop_failing(work) == ["broken: ends with 1: no such thing"]


# agreement


def test_what_is_right_close_wrong_and_silent() -> None:
    answers = [
        said(1000, 10_000),
        said(1001, 10_100),
        said(1000, 10_101),
        said(1000, 9_899),
        said(None, 0),
        Answer("modules", "one", "tool", TRUTH, None, "raises ValueError: no"),
    ]
    assert tally(answers, "params") == Tally(of=6, right=3, close=1, wrong=0, silent=2)
    assert tally(answers, "products") == Tally(of=6, right=1, close=1, wrong=3, silent=1)


def test_of_nothing_only_nothing_is_close() -> None:
    nothing = replace(said(0, 1), truth=Figures(0, 0))
    assert tally([nothing], "params").right == 1
    assert tally([nothing], "products").wrong == 1


def _wrong(module: nn.Module, example: Example) -> Figures:
    return Figures(1, 1)


def _raising(module: nn.Module, example: Example) -> Figures:
    vars(functional)["relu"] = None
    raise ValueError("odd")


def _dying(module: nn.Module, example: Example) -> Figures:
    os._exit(3)


CONV = next(subject for subject in module_table() if subject.name == "conv2d")
# The lectures' arithmetic: 8 maps of 16x16, each number from 3x3x3; 28 parameters a map.
CONV_FIGURES = Figures(8 * 28, 8 * 16 * 16 * 27)


def test_each_peer_is_judged_by_its_own_process() -> None:
    relu = functional.relu
    tools = [tool("wrong", _wrong), tool("raising", _raising), tool("dying", _dying), TORCH, FVCORE, CNNPROF]
    found = agreement.answers([CONV], tools)
    assert functional.relu is relu
    by_side = {answer.side: answer for answer in found}
    assert CONV.truth == CONV_FIGURES
    assert by_side["wrong"].said == Figures(1, 1)
    assert by_side["raising"].trouble == "raises ValueError: odd"
    assert by_side["dying"].trouble == "dies (3)"
    assert by_side["FlopCounterMode"].said == by_side["FlopCounterMode (meta)"].said == Figures(None, CONV_FIGURES.products)
    assert by_side["fvcore"].said == by_side["cnnprof"].said == by_side["cnnprof (cpu)"].said == CONV_FIGURES
    heading, kinds, *totals = agreement.totals(found).splitlines()
    assert heading.split() == ["1", "modules", "params", "products"]
    assert kinds.split() == [*("right", "1", "%", "wrong", "none") * 2]
    rows = {row[:18].strip(): row.split()[-8:] for row in totals}
    assert rows["wrong"] == ["0", "0", "1", "0", "0", "0", "1", "0"]
    assert rows["raising"] == ["0", "0", "0", "1", "0", "0", "0", "1"]
    assert rows["cnnprof"] == ["1", "0", "0", "0", "1", "0", "0", "0"]
    notes = agreement.troubles(found)
    assert notes == ["raising says nothing: raises ValueError (1)", "dying says nothing: dies (3) (1)"]
    assert json.loads(json.dumps(agreement.result(found)))["tallies"]


def test_a_module_too_large_for_the_cpu_is_not_made_there() -> None:
    large = next(subject for subject in module_table() if subject.name == "linear of 10^12")
    found = {answer.side: answer for answer in agreement.answers([large], [TORCH])}
    assert found["FlopCounterMode"].trouble == "its module is too large for the CPU"
    assert found["FlopCounterMode (meta)"].said == Figures(None, 10**12)


def test_networks_are_held_against_what_was_published() -> None:
    lenet, resnet = agreement.networks(["lenet", "resnet18"])
    assert (resnet.truth.params, resnet.truth.products) == (11_689_512, 1_814_073_344)
    assert resnet.source == figures()["resnet18"].source
    assert (lenet.truth, lenet.source) == (Figures(105_506, 1_333_200), "torch's FLOP counter on meta, halved")


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(NoAnswerError, match=r"takes more than 0\.2 s"):
        isolated(lambda: time.sleep(60), longest=0.2)


# side effects


def _plants(module: nn.Module, example: Example) -> None:
    assert isinstance(module, nn.Sequential)
    module.train()
    module[0].register_buffer("total_ops", torch.zeros(1))
    module[3].register_forward_hook(print)
    vars(module[4])["extra"] = 1
    module[5].eval()
    module[6].half()
    module[6].weight.requires_grad_(False)
    next(module[1].buffers()).add_(1)
    vars(functional)["relu"] = functional.silu
    nn.modules.module.register_module_forward_hook(print)
    torch.rand(1)
    torch.set_grad_enabled(False)
    print("hello")


def test_a_planted_change_is_seen() -> None:
    left, trouble = isolated(lambda: side_effects.left_by(_plants, raising=False))
    assert not trouble
    assert {kind: names for kind, names in left.items() if kind != "attributes"} == {
        "training flags": ["1", "5"],
        "hooks": ["3._forward_hooks"],
        "buffers": ["1.running_mean", "0.total_ops"],
        "parameters": ["6.weight", "6.bias"],
        "requires_grad": ["6.weight"],
        "functions of torch": ["torch.nn.functional.relu"],
        "hooks on every module": ["_global_forward_hooks"],
        "random state": ["torch"],
        "defaults": ["grad mode"],
        "printed to stdout": ["1 line"],
    }
    assert "4.extra" in left["attributes"]


def _pass(module: nn.Module, example: Example) -> None:
    with torch.no_grad():
        module(*example.args)


def test_what_changes_nothing_changes_nothing() -> None:
    assert isolated(lambda: side_effects.left_by(lambda module, example: None, raising=False)) == ({}, "")


def test_a_pass_in_training_mode_is_seen_also_where_it_raises() -> None:
    left, trouble = isolated(lambda: side_effects.left_by(_pass, raising=True))
    assert trouble == "raises RuntimeError: the module's own error"
    assert left == {
        "buffers": ["4.1.running_mean", "4.1.running_var", "4.1.num_batches_tracked"],
        "random state": ["torch"],
    }


@pytest.mark.parametrize("raising", [False, True])
def test_cnnprof_leaves_nothing_changed(raising: bool) -> None:
    left, trouble = isolated(lambda: side_effects.left_by(CNNPROF.ask, raising))
    assert left == {}
    assert bool(trouble) == raising


def test_a_table_of_side_effects() -> None:
    found: dict[str, dict[str, tuple[side_effects.Changes, str]]] = {
        "careful": {"a pass": ({}, ""), "a pass that raises": ({}, "raises RuntimeError: the module's own error")},
        "careless": {"a pass": ({"hooks": list("abcde")}, ""), "a pass that raises": ({}, "")},
    }
    assert side_effects.table(found).splitlines() == [
        "  after               leaves changed",
        "careful",
        "  a pass              nothing",
        "  a pass that raises  nothing",
        "careless",
        "  a pass              hooks           a, b, c and 2 more",
        "  a pass that raises  nothing",
    ]
    assert side_effects.notes(found) == ["careless does not pass on the module's own error: it raises nothing"]


# what is measured


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_networks_are_those_of_the_same_name(name: str) -> None:
    with torch.device("meta"):
        net = NETWORKS[name].make()
    bundled = cnnprof.profile(cnnprof.load(name), NETWORKS[name].size)
    found = cnnprof.profile(net, NETWORKS[name].size)
    known = figures().get(name)
    assert (found.params, found.products) == ((known.params, known.products) if known else (61_706, 416_520))
    assert (found.params, found.products) == (bundled.params, bundled.products)


@pytest.mark.parametrize("peer", [CNNPROF, *PEERS], ids=lambda peer: peer.name)
def test_scripts_are_programs(peer: Tool) -> None:
    for device in peer.devices:
        compile(script(Side(peer, device)), peer.name, "exec")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["readme", "{folder}"], "lacks agreement.json, side_effects.json, speed.json, process.json, startup.json"),
        (["speed", "-o", "{folder}/none/speed.json"], "cannot be written: No such file"),
        (["growth", "-o", "{folder}"], "cannot be written: Is a directory"),
        (["growth", "-o", "{folder}/a.svg"], "would be the chart"),
        (["startup", "--runs", "1"], "at least"),
        (["startup", "--runs", "few"], "at least"),
        (["startup", "nope"], "there is no network nope"),
        (["agreement", "-o", "{folder}/none/a.json"], "cannot be written: No such file"),
        (["side_effects", "-o", "{folder}/none/a.json"], "cannot be written: No such file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_measured(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = [argument.format(folder=tmp_path) for argument in arguments]
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_page_names_the_best_of_the_others() -> None:
    def of(quantity: str, group: str, side: str, right: int) -> dict[str, Any]:
        return {"group": group, "side": side, "quantity": quantity, "right": right, "silent": 9 - right, "of": 9}

    products = {"cnnprof": 9, "cnnprof (cpu)": 8, "thop": 4, "fvcore (meta)": 7}
    tallies = [of("products", group, *side) for group in ("networks", "modules") for side in products.items()]
    tallies += [of("params", "networks", *side) for side in {"cnnprof": 9, "thop": 8, "fvcore (meta)": 8}.items()]
    assert best(tallies) == (
        "The most that another gets right, in any form: parameters of 8 of 9 networks (thop, fvcore (meta)); "
        "products of 7 of 9 networks (fvcore (meta)); products of 7 of 9 modules (fvcore (meta)); "
        "too large for the CPU here: 1 of the networks."
    )


def test_the_page_says_what_is_weak() -> None:
    def line(what: str, against: str, ratio: float, bound: float | None = None, unit: str = "s") -> dict[str, Any]:
        return {"what": what, "against": against, "against_samples": [0.3, 9.0, 0.2], "ratio": ratio, "bound": bound, "unit": unit}

    lines = [
        line("cnnprof lenet5", "thop", 1.25),
        line("cnnprof lenet5", "ptflops", 2.0),
        line("cnnprof lenet5", "fvcore", 1.04),
        line("cnnprof lenet5", "forward pass on meta", 1.5),
        line("cnnprof resnet152", "torchinfo", 0.15, 0.1),
        line("cnnprof resnet152", "fvcore", 0.04, 0.05),
        line("cnnprof summarize resnet152", "thop (meta)", 1.25, unit="MiB"),
        line("cnnprof summarize resnet152", "script with cnnprof (meta)", 1.25),
        line("cnnprof --help", startup.TORCH, 1.2, 1.15, "MiB"),
    ]
    start = "Better than cnnprof by more than 5 %, in any form:"
    memory = "for summarize resnet152 in memory thop (meta) (0.80 x)"
    assert better(lines) == f"{start} for lenet5 ptflops (0.50 x), thop (0.80 x); {memory}."
    assert better(lines[8:]) == f"{start} none."
    assert bounds(lines) == (
        "Of 3 ratios with a bound 1 hold; cnnprof resnet152 takes 0.15 x torchinfo (300 ms), not 0.1; "
        f"cnnprof --help takes 1.2 x {startup.TORCH} (0 MiB), not 1.15."
    )
    assert bounds(lines[5:6]) == "Of 1 ratios with a bound 1 hold."


def test_results_of_several_runs_are_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in readme.FILES:
        commit = "commit a" if name == "speed" else "commit b"
        about = {"python": "3", "platform": "Linux", "processors": "2", "commit": commit}
        (tmp_path / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "speed.svg").touch()
    with pytest.raises(SystemExit) as ended:
        readme.main([str(tmp_path)])
    assert ended.value.code == 2
    assert "several runs: they differ in commit" in capsys.readouterr().err


def test_a_result_names_the_releases_of_all_tools() -> None:
    assert {tool.package for tool in (CNNPROF, *PEERS)} == set(PACKAGES)
    assert f"torch {torch.__version__}, cnnprof {cnnprof.__version__}" in machine()["versions"]


def test_each_benchmark_has_a_chart_and_a_program() -> None:
    folder = Path(agreement.__file__).parent
    assert set(CHARTS) == set(QUICK) == {name for name in QUICK if (folder / f"{name}.py").exists()}
