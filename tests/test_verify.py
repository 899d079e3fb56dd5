"""Second opinions: that they are asked, that known differences fit exactly, and that any other difference is found."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import verify_networks
from torch import nn

import cnnprof
from cnnprof import published
from cnnprof.operators.table import RULES, Rule
from cnnprof.profiling import direct
from cnnprof.profiling.resolve import Conditions
from cnnprof.profiling.traced_operators import OPERATORS
from cnnprof.render.verification import as_json, as_table
from cnnprof.second_opinions import emptied
from cnnprof.spec import target
from cnnprof.spec.input import parse_option
from cnnprof.verification import (
    Difference,
    Opinion,
    Reason,
    Verdict,
    Verification,
    params_differ,
    products_differ,
    shapes_differ,
    summed,
)
from cnnprof.verify import verify

TESTS = Path(__file__).resolve().parent


def verified(name: str, *inputs: str, limit: int = 2**30, **conditions: Any) -> Verification:
    return verify(target.find(name), Conditions(tuple(map(parse_option, inputs)), **conditions), limit=limit)


def opinion(found: Verification, source: str) -> Opinion:
    (one,) = [one for one in found.opinions if one.source.startswith(source)]
    return one


def printed(found: Verification) -> str:
    file = StringIO()
    as_table(found, file)
    return file.getvalue()


# what a difference is


def test_only_reasons_that_fit_exactly_explain() -> None:
    ours, theirs = {"a": 10, "b": 5}, {"a": 12, "b": 5, "c": 1}
    fitting = {"a": [Reason(5, "x"), Reason(-3, "y")], "c": [Reason(1, "x")]}
    assert products_differ(ours, theirs, fitting) == ()
    assert products_differ(ours, theirs, {**fitting, "a": [Reason(3, "x")]}) == (Difference("a", "products", "10", "12"),)
    assert products_differ(ours, theirs, {**fitting, "b": [Reason(1, "x")]}) == (Difference("b", "products", "5", "5"),)
    # As much too little here as too much there: the sum alone would agree.
    assert len(products_differ({"a": 2, "b": 1}, {"a": 1, "b": 2}, {})) == 2


def test_shapes_are_compared_call_by_call() -> None:
    assert shapes_differ({"a": ["1x2", "1x3"]}, {"a": ["1x2", "1x3"]}) == ()
    assert shapes_differ({"a": ["1x2", "1x3"]}, {"a": ["1x3", "1x2"]}) == (Difference("a", "output_shape", "1x2; 1x3", "1x3; 1x2"),)
    assert shapes_differ({"a": ["1x2"]}, {}) == (Difference("a", "output_shape", "1x2", "not called"),)
    assert params_differ(3, 3) == ()
    assert params_differ(1000, 3) == (Difference("", "params", "1,000", "3"),)


def test_reasons_are_summed_by_text() -> None:
    reasons = [Reason(3, "norm"), Reason(-9, "attention"), Reason(4, "norm"), Reason(1, "pool"), Reason(-1, "pool")]
    assert summed(reasons) == (Reason(-9, "attention"), Reason(7, "norm"))


def test_verdicts() -> None:
    difference = Difference("", "params", "1", "2")
    assert Opinion("x").verdict is Verdict.NONE
    assert Opinion("x", params=1).verdict is Verdict.AGREES
    assert Opinion("x", params=1, reasons=(Reason(1, "y"),)).verdict is Verdict.EXPLAINED
    assert Opinion("x", params=1, reasons=(Reason(1, "y"),), differences=(difference,)).verdict is Verdict.DIFFERS


# what the sources say


def test_resnet50_as_the_sources_have_it() -> None:
    found = verified("resnet50")
    assert found.passed
    assert (found.params, found.products) == (25_557_032, 4_089_184_256)
    assert opinion(found, "torch").verdict is Verdict.AGREES
    assert opinion(found, "published").verdict is Verdict.AGREES
    fvcore = opinion(found, "fvcore")
    assert fvcore.products == 4_111_512_576
    assert fvcore.reasons == (Reason(22_227_968, "batch_norm"), Reason(100_352, "adaptive_avg_pool2d"))
    shapes = opinion(found, "a pass").shapes
    assert shapes == sum(1 for _ in cnnprof.load("resnet50").modules())  # each is called once
    text = printed(found)
    assert "fvcore 0.1.5 also counts 22,328,320:" in text
    assert text.endswith("every difference is explained\n")
    assert max(map(len, text.splitlines())) <= 80


def test_what_a_source_has_no_rule_for_is_explained() -> None:
    found = verified("verify_networks:Sequence", "6x16", batch=3)
    assert found.passed
    assert opinion(found, "torch").verdict is Verdict.AGREES
    # Two layers of attention: scores and sums of 2 heads; a sequence of 6 through 4 gates of 8 units.
    attention, memory = 2 * 2 * (2 * 6 * 6 * 8), 6 * 4 * 8 * (16 + 8)
    norms = 2 * 2 * 5 * 6 * 16
    assert set(opinion(found, "fvcore").reasons) == {
        Reason(-3 * attention, "no rule for scaled_dot_product_attention"),
        Reason(-3 * memory, "no rule for lstm"),
        Reason(3 * norms, "layer_norm"),
    }
    text = printed(found)
    assert "fvcore 0.1.5 does not count" in text


def test_torch_without_a_rule_and_fvcore_that_stops() -> None:
    found = verified("verify_networks:Vector", "5x4")
    assert found.passed
    assert found.products == 20
    assert opinion(found, "torch").reasons == (Reason(-20, "no rule for mv"),)
    fvcore = opinion(found, "fvcore")
    assert fvcore.products is None
    assert "cannot trace" in fvcore.note
    assert "parameters agree" in printed(found)


def test_inputs_and_outputs_of_any_structure() -> None:
    found = verified("verify_networks:Mixed", "7:int64", "image=3x8x8")
    assert found.passed
    assert found.products == 7 * 4 * 4 * 3
    for source in ("torch", "fvcore"):
        assert opinion(found, source).products == found.products
        assert opinion(found, source).params == 10 * 4 + 4 * 4 + 4 + 4
    assert opinion(found, "a pass").shapes == 4


def test_a_network_with_other_conditions_is_not_the_published_one() -> None:
    changed = verified("resnet18", "3x64x64", settings=target.settings(["classes=10"]))
    assert changed.passed
    assert "--set" in opinion(changed, "published").note
    smaller = verified("resnet18", "3x64x64")
    assert "3x224x224" in opinion(smaller, "published").note
    assert smaller.passed
    lecture = verified("lenet", batch=2)
    assert opinion(lecture, "published").verdict is Verdict.NONE
    assert lecture.products == opinion(lecture, "torch").products == 2 * 1_333_200


def test_the_published_figures_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = published.figures()["alexnet"]
    wrong = published.Published(known.input, known.params + 1, known.products, known.source)
    monkeypatch.setitem(published.figures(), "alexnet", wrong)
    found = verified("alexnet", batch=2, limit=0)
    assert not found.passed
    assert opinion(found, "published").differences == (Difference("", "params", "61,100,840", "61,100,841"),)
    assert opinion(found, "published").products == 2 * 714_188_480


def test_a_file_of_the_users_is_not_the_published_network(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("input: 3x8x8\nvariants: {alexnet: {w: 4}}\nlayers: [Conv2d: {out_channels: w, kernel_size: 3}]\n")
    found = verified(f"{path}::alexnet")
    assert found.network == "alexnet"
    assert [one.source.split()[0] for one in found.opinions] == ["torch", "fvcore", "a"]


def test_the_table_in_the_package_is_the_facts_table() -> None:
    from cnnprof.spec import library

    assert (library.folder() / "published.csv").read_bytes() == (TESTS / "facts" / "published.csv").read_bytes()


# what is wrong is found


def replaced(monkeypatch: pytest.MonkeyPatch, operator: Any, rule: Rule) -> None:
    """Puts another rule in the table, which a trace has then not looked up yet; what runs directly looked it up when imported."""
    monkeypatch.setitem(RULES, operator, rule)
    monkeypatch.setattr("cnnprof.profiling.trace.OPERATORS", type(OPERATORS)())
    monkeypatch.setattr(direct, "_KINDS", {})


def test_a_wrong_product_rule_is_found_with_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = torch.ops.aten.convolution.default
    right = RULES[operator]
    assert right is not None

    def one_channel_too_many(args: Any, kwargs: Any, out: Any) -> tuple[tuple[int, ...], ...]:
        assert right is not None
        assert right.products is not None
        (factors,) = right.products(args, kwargs, out)
        return ((*factors[:-1], factors[-1] + 1),)

    replaced(monkeypatch, operator, Rule(right.output, one_channel_too_many, writes=True))
    found = verified("lenet")
    assert not found.passed
    for source in ("torch", "fvcore"):
        assert opinion(found, source).differences == (
            Difference("0", "products", f"{32 * 24**2 * 5 * 6:,}", f"{32 * 24**2 * 5 * 5:,}"),
            Difference("3", "products", f"{64 * 4**2 * 32 * 5 * 6:,}", f"{64 * 4**2 * 32 * 5 * 5:,}"),
        )
    text = printed(found)
    assert "not explained: torch 2.13.0, fvcore 0.1.5" in text
    assert "  0: products 552,960 here, 460,800 there" in text


def test_a_wrong_shape_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = torch.ops.aten.relu.default
    right = RULES[operator]
    assert right is not None
    wrong = Rule(lambda x: torch.empty((*x.shape, 1), device="meta").squeeze(-1)[:, :1], right.products, writes=True)
    replaced(monkeypatch, operator, wrong)
    found = verify(target.find("verify_networks:trained"), Conditions((parse_option("3x8x8"),)))
    assert found.passed  # there is no relu in it
    monkeypatch.setattr(verify_networks, "trained", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    found = verified("verify_networks:trained", "3x8x8")
    assert opinion(found, "a pass").differences == (
        Difference("1", "output_shape", "1x1x6x6", "1x4x6x6"),
        Difference("", "output_shape", "1x1x6x6", "1x4x6x6"),
    )


def test_a_network_that_is_another_one_with_data() -> None:
    found = verified("verify_networks:OtherShape", "3x8x8")
    assert not found.passed
    assert opinion(found, "a pass").differences == (Difference("", "output_shape", "1x4x6x6", "1x2x6x6"),)
    failing = verified("verify_networks:NotWithData", "3x8x8")
    assert not failing.passed
    assert "the network: it cannot run, this one wants no data" in printed(failing)


# what is not asked is said


def test_what_takes_too_much_memory_is_left_out_and_said() -> None:
    found = verified("lenet", limit=100_000)
    assert found.passed
    for source in ("fvcore", "a pass"):
        assert opinion(found, source).verdict is Verdict.NONE
        assert opinion(found, source).note.endswith("the limit is 97.7 KiB (100.0 kB)")
    assert "no opinion" in printed(found)
    assert opinion(verified("lenet", limit=600_000), "a pass").shapes is not None


def test_a_saved_profile_has_no_second_opinion(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text("{}")
    with pytest.raises(cnnprof.CnnprofError, match="the network itself"):
        verified(str(path))


def test_the_users_module_is_as_it_was() -> None:
    module = verify_networks.trained
    module[2].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.random.get_rng_state()
    found = verified("verify_networks:trained", "3x8x8", batch=2)
    assert found.passed
    assert opinion(found, "fvcore").reasons == (Reason(2 * 2 * 4 * 6 * 6, "batch_norm"),)
    assert [part.training for part in module] == [True, True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_copy_with_zeros_keeps_what_is_tied() -> None:
    with torch.device("meta"):
        module = verify_networks.Mixed()
    copy = emptied(module)
    assert isinstance(copy, verify_networks.Mixed)
    assert copy.tied.weight is copy.linear.weight
    assert isinstance(copy.tied.weight, nn.Parameter)
    assert not any(tensor.is_meta for tensor in copy.state_dict().values())
    assert copy.places.dtype is torch.int64
    assert all(tensor.is_meta for tensor in module.state_dict().values())


# the command


def run(*arguments: str, cwd: Path = TESTS) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(
        [sys.executable, "-m", "cnnprof", "verify", *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environ
    )


def test_exit_codes_and_a_clean_stderr() -> None:
    explained = run("verify_networks:Sequence", "--input", "6x16")
    assert (explained.returncode, explained.stderr) == (0, "")
    assert explained.stdout.startswith("Sequence  input 6x16  batch 1  float32\n")
    differing = run("verify_networks:OtherShape", "--input", "3x8x8")
    assert (differing.returncode, differing.stderr) == (1, "")
    unknown = run("lenett")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert 'did you mean "lenet"' in unknown.stderr


def test_the_largest_network_is_told_without_real_numbers(tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text("input: 1000000\nlayers: [Linear: {out_features: 1000000, bias: false}]\n")
    found = run("wide.yaml", "-o", "out.json", cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    read = json.loads((tmp_path / "out.json").read_text())
    assert read["products"] == 10**12
    assert [one["verdict"] for one in read["opinions"]] == ["agrees", "no opinion", "no opinion"]
    assert "the limit is 4.00 GiB" in read["opinions"][1]["note"]
    assert run("wide.yaml", "-o", "out.csv", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "out.csv").exists()


def test_json_has_everything() -> None:
    found = verified("verify_networks:OtherShape", "3x8x8")
    file = StringIO()
    as_json(found, file)
    read = json.loads(file.getvalue())
    assert (read["schema_version"], read["network"], read["input"], read["batch"]) == (1, "OtherShape", [3, 8, 8], 1)
    assert read["passed"] is False
    assert read["products"] == math.prod((4, 6, 6, 3, 3, 3))
    assert read["opinions"][-1]["differences"] == [{"path": "", "metric": "output_shape", "ours": "1x4x6x6", "theirs": "1x2x6x6"}]
    assert "multiplications" in read["definitions"]["products"]
