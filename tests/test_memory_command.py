"""`cnnprof memory`, `summarize --training` and `verify --memory`: what they print, and that machines read the same figures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import StringIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_networks import AlexNet
from torch import Tensor, nn
from typer.testing import CliRunner

import cnnprof
from cnnprof.cli import app
from cnnprof.errors import Source, UsageError
from cnnprof.profiling.inputs import inputs_for
from cnnprof.profiling.profiler import measure
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.profiling.timeline import Timeline, kept_by, timeline
from cnnprof.render import View, chart
from cnnprof.render import write as write_profile
from cnnprof.render.glyphs import ASCII, UNICODE
from cnnprof.render.memory import write
from cnnprof.verify_memory import Verdict


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def alexnet(optimizer: str | None) -> Timeline:
    with torch.device("meta"):
        module = AlexNet()
    return timeline(module, inputs_for((3, 224, 224), 8, torch.float32), "alexnet", optimizer)


def text_of(made: Timeline, format: str = "table") -> str:
    file = StringIO()
    write(made, file, format)
    return file.getvalue()


# the page


def test_the_peak_of_training_and_its_parts() -> None:
    """Parameters, their gradients and momentum, and what MEMORY's table of AlexNet says lives at the peak."""
    page = text_of(alexnet("momentum"))
    assert "training peak  725.6 MiB (760.8 MB)" in page
    assert "momentum, cross entropy loss, at features.4, in threshold_backward of backward" in page
    for part in ("parameters        233.1 MiB (244.4 MB)", "optimizer state   233.1 MiB (244.4 MB)", "gradients", "temporary"):
        assert part in page
    assert "6,195,200 B  24.6 %  features.0: Conv2d(3, 64, kernel_size=11" in page
    assert len(page.split("retained for training")[1].split("live bytes")[0].splitlines()) >= 10


def test_the_peak_of_inference() -> None:
    page = text_of(alexnet(None))
    assert "inference peak  14.8 MiB (15.5 MB)" in page
    assert "beside it: parameters and buffers, 233.1 MiB (244.4 MB)" in page
    assert "retained" not in page


@pytest.mark.parametrize("optimizer", [None, "momentum"])
def test_the_whole_curve_is_written(optimizer: str | None) -> None:
    made = alexnet(optimizer)
    data = json.loads(text_of(made, "json"))
    events = data["events"]
    assert [event["live"] for event in events] == list(accumulate(event["change"] for event in events))
    assert max(event["live"] for event in events) == data["peak"]["bytes"] == events[data["peak"]["event"]]["live"]
    assert sum(data["at_peak"].values()) == data["peak"]["bytes"]
    rows = list(csv.DictReader(StringIO(text_of(made, "csv"))))
    assert [int(row["live"]) for row in rows] == [event["live"] for event in events]
    assert {row["phase"] for row in rows} == ({"forward", "loss", "backward", "zero_grad"} if optimizer else {"forward"})


def test_why_a_layer_keeps_what_it_keeps() -> None:
    """The in-place ReLU after the first convolution saves its result, which is the convolution's output; the pool needs it too."""
    made = alexnet("sgd")
    (kept,) = kept_by(made, "features.0")["features.0"]
    assert kept.bytes == 6_195_200
    assert kept.maker == "convolution in features.0"
    assert "relu in features.1, as result" in kept.needs
    assert any(need.startswith("max_pool2d_with_indices in features.2") for need in kept.needs)
    pool = kept_by(made, "features.2")["features.2"]
    assert sorted(one.bytes for one in pool) == [1_492_992, 2_985_984]
    assert sum(one.bytes for one in kept_by(made, "features")["features.2"]) == 4_478_976
    every = [one for found in made.kept.values() for one in found]
    assert sum(one.bytes for one in every) == made.profile.retained_bytes
    with pytest.raises(UsageError, match=r'there is no layer "features\.99" in alexnet; did you mean'):
        kept_by(made, "features.99")


def test_the_command_explains_and_refuses() -> None:
    code, out = run("memory", "lenet5", "--explain", "0")
    assert code == 0
    assert "18,816 B, made by convolution in 0" in out
    assert "for avg_pool2d in 1" in out
    code, out = run("memory", "lenet5", "--explain", "1")
    assert "1: of what it allocates nothing lives" in out
    with pytest.raises(UsageError, match="not as markdown"):
        run("memory", "lenet5", "-o", "x.md")


def test_a_saved_profile_has_no_passes(tmp_path: Path) -> None:
    saved = tmp_path / "net.json"
    run("summarize", "lenet5", "-o", str(saved))
    with pytest.raises(UsageError, match="this needs the network itself"):
        run("memory", str(saved))


# charts


def test_a_curve_keeps_its_highest_value_at_any_width() -> None:
    values = [1, 5, 100, 7, 3, 0]
    for width in (1, 2, 3, 6, 50):
        for glyphs, full in ((UNICODE, "█"), (ASCII, "#")):
            lines = chart.curve(values, width, 4, glyphs)
            assert len(lines) == 4
            assert full in lines[0]
            assert all(len(line) == min(width, len(values)) for line in lines)
    assert chart.curve([0, 0], 2, 3, UNICODE) == ["  "] * 3
    assert chart.curve([], 10, 3, UNICODE) == []


@pytest.mark.parametrize("parts", [(1,), (1, 10**9), (3, 3, 3), (10**9, 1, 1, 1), (5, 0, 5)])
def test_every_part_of_a_bar_is_seen(parts: tuple[int, ...]) -> None:
    bar = chart.stacked(parts, 60, UNICODE)
    assert len(set(bar)) == sum(part > 0 for part in parts)
    assert 59 <= len(bar) <= 60


def test_the_page_in_ascii_and_in_eighty_columns() -> None:
    result = CliRunner(charset="ascii").invoke(app, ["memory", "resnet18", "--training"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.stdout.isascii()
    assert max(map(len, result.stdout.splitlines())) <= 80


# summarize


def test_training_in_a_summary() -> None:
    code, out = run("summarize", "alexnet", "--optimizer", "momentum", "--batch", "8")
    assert code == 0
    assert "retained bytes" in out
    assert "saved for backward       24.0 MiB (25.1 MB)" in out
    assert "training peak          725.6 MiB (760.8 MB)" in out


@pytest.mark.parametrize("style", ["products", "torchsummary", "tree"])
@pytest.mark.parametrize("format", ["table", "csv", "markdown", "latex", "json"])
def test_every_style_and_format_has_the_figures_of_training(style: str, format: str) -> None:
    made = cnnprof.profile(cnnprof.load("lenet5"), (1, 32, 32), optimizer="sgd")
    file = StringIO()
    write_profile(made, View(style=style), file, format)
    digits = file.getvalue().replace(",", "")
    if (style, format) == ("torchsummary", "table"):
        assert "Retained for training (MiB): 0.03" in digits
    else:
        assert str(made.retained_bytes) in digits
    if format == "json":
        totals = json.loads(file.getvalue())["totals"]
        assert made.training is not None
        assert made.inference_peak is not None
        assert (totals["retained_bytes"], totals["saved_bytes"]) == (made.retained_bytes, made.training.saved_bytes)
        assert totals["training_peak_bytes"] == made.training.peak_bytes
        assert totals["inference_peak_bytes"] == made.inference_peak.bytes


def test_what_was_not_asked_for_is_null_and_not_zero() -> None:
    data = json.loads(cnnprof.profile(cnnprof.load("lenet5"), (1, 32, 32)).to_json())
    assert data["totals"]["retained_bytes"] is data["totals"]["saved_bytes"] is data["totals"]["training_peak_bytes"] is None
    assert all(row["retained_bytes"] is None for row in data["layers"])
    assert data["totals"]["inference_peak_bytes"] > 0


@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_a_saved_profile_is_read_back_whole(optimizer: str | None) -> None:
    made = cnnprof.profile(cnnprof.load("resnet18"), (3, 64, 64), name="resnet18", optimizer=optimizer)
    read = read_profile(Source("net.json", made.to_json()))
    assert (read.inference_peak, read.training, read.retained) == (made.inference_peak, made.training, made.retained)
    assert read.retained_bytes == made.retained_bytes
    assert [layer.cost.peak_bytes for layer in read.layers] == [layer.cost.peak_bytes for layer in made.layers]


class OneValuePerChannel(nn.Module):
    """BatchNorm refuses it in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


def test_what_cannot_be_trained_says_so() -> None:
    made = cnnprof.profile(OneValuePerChannel(), (8,), retained=True)
    assert made.retained_bytes is None
    assert "Expected more than 1 value per channel when training" in made.untrained
    assert "retained for training is not known: cannot train norm (BatchNorm1d)" in " ".join(str(made).split())
    with pytest.raises(cnnprof.errors.CnnprofError, match=r"cannot train norm \(BatchNorm1d\)"):
        cnnprof.profile(OneValuePerChannel(), (8,), optimizer="sgd")


class Mixed(nn.Module):
    """As one writes mixed precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.conv(x)  # type: ignore[no-any-return]


class MixedFunctions(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.conv2d(x, self.conv.weight)


@pytest.mark.parametrize("module", [Mixed(), MixedFunctions()])
def test_autocast_is_labelled_and_not_trained(module: nn.Module) -> None:
    made = cnnprof.profile(module, (3, 8, 8), retained=True)
    assert made.products == 6 * 6 * 4 * 3 * 9
    assert any("autocast does nothing on the meta device" in caveat for caveat in made.caveats)
    assert "all bytes are those of the full precision" in " ".join(str(made).split())
    assert "autocast does nothing on the meta device" in made.untrained
    assert cnnprof.profile(nn.Conv2d(3, 4, 3), (3, 8, 8)).caveats == ()


# verify


def test_what_cannot_be_trained_is_measured_at_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    code, out = run("verify", "memory_networks:Classes", "--input", "3x8x8", "--memory", "--format", "json")
    found = json.loads(out)
    # The convolution's 4 maps of 6x6 beside its input, and then the classes, integers of 8 bytes, beside the maps.
    (exact,) = [one for one in found["measurements"] if one["source"].startswith("operators")]
    assert (code, exact["predicted"], exact["measured"]) == (0, *[4 * (3 * 64 + 4 * 36) + 8 * 36] * 2)
    assert "it has no loss" in found["untrained"]
    assert "no training: the first output" in run("verify", "memory_networks:Classes", "--input", "3x8x8", "--memory")[1]


def test_autocast_explains_what_a_real_pass_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    code, out = run("verify", "test_memory_command:Mixed", "--input", "3x8x8", "--memory")
    assert code == 0
    assert "explained" in out
    assert "autocast does nothing on the meta device" in " ".join(out.split())


class Heads(nn.Module):
    """Two outputs, each with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.heads = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [head(self.body(x)) for head in self.heads]


def test_parameters_that_the_loss_does_not_reach_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = cnnprof.profile(Heads(), (3, 8, 8), optimizer="sgd")
    told = "the loss is that of the first of 2 outputs, which gives no gradient to heads.1.weight and 1 more"
    assert any(caveat.startswith(told) for caveat in made.caveats)
    assert told in " ".join(str(made).split())
    assert cnnprof.profile(Heads().body, (3, 8, 8), optimizer="sgd").caveats == ()
    monkeypatch.syspath_prepend(Path(__file__).parent)
    code, out = run("memory", "test_memory_command:Heads", "--input", "3x8x8", "--training")
    assert code == 0
    assert told in " ".join(out.split())


def test_predicted_beside_measured() -> None:
    code, out = run("verify", "lenet5", "--memory", "--batch", "4", "--optimizer", "adam", "--format", "json")
    data = json.loads(out)
    assert code == 0
    assert data["passed"]
    exact = [one for one in data["measurements"] if one["source"] == "operators on the CPU"]
    assert {one["quantity"] for one in exact} == {"inference_peak_bytes", "live_bytes", "saved_bytes", "training_peak_bytes"}
    assert all(one["predicted"] == one["measured"] and one["verdict"] == "equal" for one in exact)
    assert sum(one["source"] == "allocator of the CPU" and one["measured"] > 0 for one in data["measurements"]) == 2
    code, out = run("verify", "lenet5", "--memory")
    assert code == 0
    assert "+0.00 %  equal" in out


def test_a_wrong_prediction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = measure

    def wrong(*args: Any, **kwargs: Any) -> Any:
        measured = right(*args, **kwargs)
        training = measured.profile.training
        assert training is not None
        return replace(
            measured, profile=replace(measured.profile, training=replace(training, saved_bytes=training.saved_bytes + 4))
        )

    monkeypatch.setattr("cnnprof.verify_memory.measure", wrong)
    code, out = run("verify", "lenet5", "--memory")
    assert code == 1
    assert "+4" in out
    assert Verdict.DIFFERS.value in out


def test_what_is_too_large_or_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes .* GiB, more than 4 GiB: give a smaller --batch or --input"):
        run("verify", "vgg16", "--memory", "--batch", "64")
    with pytest.raises(UsageError, match='there is no device "gpu"'):
        run("verify", "lenet5", "--memory", "--device", "gpu")
    with pytest.raises(UsageError, match="--optimizer and --device go with --memory"):
        run("verify", "lenet5", "--device", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="there is no CUDA device here"):
            run("verify", "lenet5", "--memory", "--device", "cuda")
