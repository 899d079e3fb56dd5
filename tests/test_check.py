"""`cnnprof check`: what fails, what it says, and a lock that is always whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cnnprof
from cnnprof import lock
from cnnprof.cli import app
from cnnprof.errors import CnnprofError, SpecError, full

NET = """input: 3x32x32
layers:
  - Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}
  - ReLU
  - name: body
    do:
      - Conv2d: {out_channels: 16, kernel_size: 5, padding: 2}
      - ReLU
  - Flatten
  - Linear: 10
"""


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`cnnprof check` in this process: importing torch for each would take most of the time. See `process` for a real one."""
    before = Path.cwd()
    os.chdir(cwd)
    try:
        result = CliRunner().invoke(app, ["check", *arguments], env=environ)
    finally:
        os.chdir(before)
    code, errors = result.exit_code, result.stderr
    if isinstance(result.exception, CnnprofError):  # as `cnnprof.cli.main` does
        code, errors = result.exception.exit_code, f"{errors}{full(result.exception)}\n"
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, code, result.stdout, errors)


def process(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`cnnprof check` as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "cnnprof", "check", *arguments],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(NET)
    assert run("net.yaml", "lenet5", "--update", cwd=tmp_path).returncode == 0
    return tmp_path


def change_the_kernel(project: Path) -> None:
    (project / "net.yaml").write_text(NET.replace("kernel_size: 5, padding: 2", "kernel_size: 3, padding: 1"))


def test_nothing_changed(project: Path) -> None:
    for running in (run, process):
        result = running(cwd=project)
        assert (result.returncode, result.stdout, result.stderr) == (0, "2 passed, 0 failed\n", "")


@pytest.mark.parametrize("running", [run, process])
def test_a_changed_kernel_fails_with_its_layer_numbers_and_line(project: Path, running: Any) -> None:
    change_the_kernel(project)
    result = running(cwd=project)
    assert result.returncode == 1
    old, new = 8 * 5 * 5 * 16 + 16, 8 * 3 * 3 * 16 + 16
    assert f"body.0: params {old:,} -> {new:,}  at net.yaml:7:9" in result.stdout
    assert f"body.0: products {16 * 1024 * 8 * 25:,} -> {16 * 1024 * 8 * 9:,}  at net.yaml:7:9" in result.stdout
    assert "to accept: cnnprof check net.yaml --update" in result.stdout
    assert result.stdout.endswith("1 passed, 1 failed\n")


def test_update_accepts_and_changes_only_what_changed(project: Path) -> None:
    before = (project / lock.NAME).read_text().splitlines()
    change_the_kernel(project)
    result = run("net.yaml", "--update", cwd=project)
    assert result.returncode == 0
    assert "net.yaml: accepted" in result.stdout
    assert run(cwd=project).returncode == 0
    after = (project / lock.NAME).read_text().splitlines()
    assert len(before) == len(after)
    changed = [line.split(":")[0].strip() for line, old in zip(after, before, strict=True) if line != old]
    assert sorted(changed) == sorted(['"model_bytes"', '"params"', '"products"'] * 2)  # body.0 and the total


def test_the_lock_is_sorted_has_one_figure_a_line_and_ends_in_a_newline(project: Path) -> None:
    text = (project / lock.NAME).read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert json.loads(text)["networks"]["lenet5"]["totals"]["params"] == 61_706


def test_shrinking_fails_too_and_tolerance_is_by_metric(project: Path) -> None:
    (project / "net.yaml").write_text(NET.replace("Linear: 10", "Linear: {out_features: 10, bias: false}"))
    assert run(cwd=project).returncode == 1
    assert run("--tolerance", "params=0.01%", "--tolerance", "model_bytes=0.01%", cwd=project).returncode == 0
    assert run("--tolerance", "params=0.0001%", "--tolerance", "model_bytes=1%", cwd=project).returncode == 1
    for change in (("--update",), ("--remove", "net.yaml")):
        assert run(*change, "--tolerance", "params=1%", cwd=project).returncode == 2
    wrong = run("--tolerance", "parms=1%", cwd=project)
    assert wrong.returncode == 2
    assert 'did you mean "params"' in wrong.stderr


def test_budgets(project: Path) -> None:
    path = project / lock.NAME
    data = json.loads(path.read_text())
    data["networks"]["net.yaml"]["max"] = {"params": 100}
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    result = run(cwd=project)
    assert result.returncode == 1
    assert "the budget is 100" in result.stdout
    assert "to accept" not in result.stdout  # an update does not raise a budget
    assert run("net.yaml", "--update", cwd=project).returncode == 0
    assert json.loads(path.read_text())["networks"]["net.yaml"]["max"] == {"params": 100}


def test_conditions_are_kept(project: Path) -> None:
    done = run("alexnet", "--update", "--input", "1x224x224", "--batch", "2", "--set", "classes=10", cwd=project)
    assert done.returncode == 0
    assert run("alexnet", cwd=project).returncode == 0
    entry = json.loads((project / lock.NAME).read_text())["networks"]["alexnet"]
    assert (entry["input"], entry["batch"], entry["set"]) == (["1x224x224"], 2, ["classes=10"])
    assert entry["totals"]["products"] == 2 * (667_337_280 - 990 * 4096)
    assert run("--batch", "4", cwd=project).returncode == 2


def test_output_formats(project: Path) -> None:
    change_the_kernel(project)
    assert json.loads(run("--output-format", "json", cwd=project).stdout)["networks"][0]["passed"] in (True, False)
    github = run("--output-format", "github", cwd=project).stdout
    assert "::error file=net.yaml,line=7,col=9,title=net.yaml::" in github
    suite = ET.fromstring(run("--output-format", "junit", cwd=project).stdout)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert run("--output-format", "concise", cwd=project).stdout.startswith("net.yaml:7:9: net.yaml: ")
    summary = project / "summary.md"
    run(cwd=project, GITHUB_STEP_SUMMARY=str(summary))
    assert "| net.yaml | params |" in summary.read_text()


def test_every_layer_that_changed_is_named_on_the_line_of_its_figure(project: Path) -> None:
    """The second kernel changes its own products alone; two more channels before it those of both convolutions."""
    change_the_kernel(project)
    lines = run("--output-format", "concise", cwd=project).stdout.splitlines()
    products = next(line for line in lines if "products was" in line)
    assert products.endswith(f"; layers: body.0 {32 * 32 * 8 * 16 * (9 - 25):+,}")
    (project / "net.yaml").write_text(NET.replace("out_channels: 8", "out_channels: 10"))
    lines = run("--output-format", "github", cwd=project).stdout.splitlines()
    products = next(line for line in lines if "products was" in line)
    assert "file=net.yaml,line=3," in products
    assert products.endswith(f"; layers: 0 {32 * 32 * 3 * 9 * 2:+,}, body.0 {32 * 32 * 16 * 25 * 2:+,}")
    summary = project / "summary.md"
    run(cwd=project, GITHUB_STEP_SUMMARY=str(summary))
    assert f"| 0 {3 * 9 * 2 + 2:+,}, body.0 {16 * 25 * 2:+,} |" in summary.read_text()


def test_a_figure_that_the_lock_lacks_is_a_failure(project: Path) -> None:
    """Else a merge that lost a line would turn the check off."""
    path = project / lock.NAME
    data = json.loads(path.read_text())
    del data["networks"]["lenet5"]["totals"]["products"]
    path.write_text(json.dumps(data))
    result = run("lenet5", cwd=project)
    assert result.returncode == 1
    assert "products was -, is " in result.stdout
    assert run("lenet5", "--update", cwd=project).returncode == 0
    assert run("lenet5", cwd=project).returncode == 0


def test_advice_names_the_lock_that_was_given(project: Path) -> None:
    other = project / "my lock"
    (project / lock.NAME).rename(other)
    change_the_kernel(project)
    result = run("--lock", str(other), cwd=project)
    assert f"to accept: cnnprof check net.yaml --lock '{other}' --update\n" in result.stdout
    assert f"cnnprof check nothing --lock '{other}' --update adds it" in run("nothing", "--lock", str(other), cwd=project).stderr
    other.write_text(other.read_text()[:100])
    assert f"--lock '{other}' --update" in run("--lock", str(other), cwd=project).stderr


def test_only_layers_whose_figure_failed_are_shown(project: Path) -> None:
    change_the_kernel(project)
    shown = run("--tolerance", "products=90%", cwd=project).stdout
    assert ": params " in shown
    assert ": products " not in shown


def test_a_spec_that_is_wrong_is_annotated_on_its_line(project: Path) -> None:
    (project / "net.yaml").write_text(NET.replace("Conv2d", "Conv2D", 1))
    lines = run("--output-format", "github", cwd=project).stdout.splitlines()
    assert lines[0].startswith("::error file=net.yaml,line=3,col=5,title=net.yaml::net.yaml:3:5: error[")
    assert lines[-1] == "1 passed, 0 failed, 1 not checked"
    assert run("--output-format", "concise", cwd=project).stdout.startswith("net.yaml:3:5: error[")


def test_a_lock_is_a_file(project: Path) -> None:
    for arguments in ([], ["lenet5", "--update"]):
        result = run("--lock", str(project), *arguments, cwd=project)
        assert result.returncode == 2
        assert f"--lock {project / lock.NAME}" in result.stderr


def entries(text: str, **changed: object) -> str:
    """The lock with these values in the entry of lenet5."""
    data = json.loads(text)
    data["networks"]["lenet5"] |= changed
    return json.dumps(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"batch": 1', '<<<<<<< ours\n"batch": 1\n=======\n"batch": 2\n>>>>>>> theirs', 1), "conflict"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "newer cnnprof"),
        (lambda text: text.replace('"params": 61706', '"params": "61706"'), "damaged"),
        (lambda text: text.replace('"params": 61706', '"params": 61706, "params": 3'), "twice"),
        (lambda text: "", "damaged"),
        (lambda text: "[]", "schema_version"),
        (lambda text: text.replace('"output_bytes"', '"ouput_bytes"'), "did you mean"),
        (
            lambda text: text.replace('"float32"', '"float99"', 1),
            '"lenet5": dtype: "float99" is none of float32, float16, bfloat16',
        ),
        (lambda text: text.replace('"float32"', '["float32"]', 1), '"lenet5": dtype: a list is none of float32'),
        (lambda text: text.replace("61706", "1" + "0" * 400), '"lenet5": totals.params: so large a number is no whole number'),
        (lambda text: text.replace("61706", "1" * 5000), "a number has more digits than Python reads"),
        (lambda text: text.replace("lenet5", "\\ud800"), '"\\ud800" has half of a character'),
        (lambda text: text.replace('"batch": 1', '"batch": 0', 1), '"lenet5": batch: 0 is no whole number from 1 on'),
        (lambda text: text.replace('"batch": 1,', '"batch": 1, "max": [1],', 1), '"lenet5": max: a list is no object'),
        (lambda text: entries(text, totals=3), '"lenet5": totals: 3 is no object'),
        (lambda text: entries(text, layers=[]), '"lenet5": layers: a list is no object'),
        (lambda text: entries(text, input="3x2x2"), '"lenet5": input: "3x2x2" is no list'),
        (lambda text: entries(text, set=[1]), '"lenet5": set[0]: 1 is no text'),
        (lambda text: json.dumps({"schema_version": 1, "networks": {"lenet5": 3}}), '"lenet5": 3 is no object'),
        (lambda text: text.replace('"batch": 1,', '"batch": 1, "maxx": {"params": 1},', 1), 'did you mean "max"?'),
    ],
)
def test_a_lock_that_cannot_be_trusted_is_refused_with_its_line(project: Path, damage: object, message: str) -> None:
    path = project / lock.NAME
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    for arguments in ([], ["net.yaml", "--update"]):
        before = path.read_text()
        result = run(*arguments, cwd=project)
        assert result.returncode == 2
        assert result.stdout == ""
        assert message in result.stderr
        assert f"{lock.NAME}:" in result.stderr
        assert path.read_text() == before


def test_a_damaged_value_is_told_on_its_line(project: Path) -> None:
    path = project / lock.NAME
    lines = path.read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if line.endswith(": 61706,"))
    lines[number] = lines[number].replace("61706", "-61706")
    path.write_text("\n".join(lines))
    assert f"{lock.NAME}:{number + 1}:1: error[lock] the lock is damaged: " in run(cwd=project).stderr


def test_what_cannot_be_measured_is_told_and_the_rest_is_checked(project: Path) -> None:
    (project / "net.yaml").write_text(NET.replace("Conv2d", "Conv2D"))
    result = run(cwd=project)
    assert result.returncode == 2
    assert 'did you mean "Conv2d"' in result.stdout
    assert "1 passed, 0 failed, 1 not checked" in result.stdout
    before = (project / lock.NAME).read_text()
    assert run("--update", cwd=project).returncode == 2
    assert (project / lock.NAME).read_text() == before


@pytest.mark.parametrize(("arguments", "message"), [([], "there is no cnnprof.lock"), (["--update"], "name the networks")])
def test_no_lock(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert run("alexnet", cwd=tmp_path).returncode == 2


def test_a_network_that_the_lock_does_not_name(project: Path) -> None:
    result = run("alexnet", cwd=project)
    assert result.returncode == 2
    assert "cnnprof check alexnet --update adds it" in result.stderr


def test_two_updates_at_once_are_both_in_the_lock(project: Path) -> None:
    names = ["lenet", "cnn", "alexnet", "vgg11"]
    command = [sys.executable, "-m", "cnnprof", "check", "--update"]
    running = [subprocess.Popen([*command, name], cwd=project, stdout=subprocess.DEVNULL) for name in names]
    assert [process.wait(timeout=120) for process in running] == [0] * len(names)
    assert {*names, "net.yaml", "lenet5"} == set(lock.read(project / lock.NAME))


def test_what_there_is_on_unix_alone_is_not_needed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows: importing it fails
    assert run("cnn", "--update", cwd=project).returncode == 0
    assert set(lock.read(project / lock.NAME)) == {"net.yaml", "lenet5", "cnn"}
    code = "import sys; sys.modules.update(dict.fromkeys(['fcntl', 'resource', 'termios', 'pwd', 'grp'])); import cnnprof.cli"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_killed_update_leaves_a_whole_lock(project: Path) -> None:
    path = project / lock.NAME
    old = path.read_text()
    for delay in (0.9, 1.1, 1.3):
        process = subprocess.Popen([sys.executable, "-m", "cnnprof", "check", "--update", "resnet50"], cwd=project)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        networks = lock.read(path)
        assert path.read_text() == old or "resnet50" in networks


def test_a_full_disk_leaves_the_old_lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / lock.NAME
    old = path.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(lock.LockError, match="No space left on device; the old lock stands as it was"):
        lock.write(path, {})
    assert path.read_text() == old
    assert [entry.name for entry in project.iterdir() if entry.name.startswith(".cnn")] == []


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(lock.LockError, match="there is no lock, as before"):
        lock.write(tmp_path / "nowhere" / lock.NAME, {})


def test_reading_back_what_was_written(tmp_path: Path) -> None:
    found = cnnprof.profile(cnnprof.load("googlenet"), (3, 224, 224))
    entry = lock.locked(found, lock.Locked(("3x224x224",), 1, "float32", ("classes=1000",), budgets={"params": 7_000_000}))
    lock.write(tmp_path / "x.lock", {"googlenet": entry})
    assert lock.read(tmp_path / "x.lock") == {"googlenet": entry}
    assert sum(figures["params"] for figures in entry.layers.values()) == entry.totals["params"] == 6_998_552


def test_binary_files_are_no_locks(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SpecError, match="not UTF-8"):
        lock.read(tmp_path / "x.lock")


def test_assert_cost_shows_the_rows_that_weigh_most(assert_cost: object) -> None:
    net = cnnprof.load("lenet")
    assert assert_cost(net, (1, 28, 28), params=105_506, max_products=1_333_200).products == 1_333_200  # type: ignore[operator]
    with pytest.raises(AssertionError) as caught:
        assert_cost(net, (1, 28, 28), max_products=1_000_000)  # type: ignore[operator]
    message = str(caught.value)
    assert "products is 1,333,200, more than the 1,000,000 allowed (+333,200)" in message
    assert message.splitlines()[4].split()[-1] == "819,200"
    with pytest.raises(cnnprof.CnnprofError, match="did you mean"):
        assert_cost(net, (1, 28, 28), prams=1)  # type: ignore[operator]


def test_the_plugins_fixture_is_the_function(assert_cost: object) -> None:
    from cnnprof import testing

    assert assert_cost is testing.assert_cost


# memory


def figures(project: Path, name: str = "net.yaml") -> dict[str, dict[str, int]]:
    entry = json.loads((project / lock.NAME).read_text())["networks"][name]
    return {"": entry["totals"], **entry["layers"]}


def test_memory_is_locked_with_the_rest(project: Path) -> None:
    """For training the results of both ReLUs are kept, which the layers after them need too, and the logits. In inference the most
    lives at the second ReLU: the image, the input of the block, which waits for it, and what that ReLU reads and writes."""
    image, small, large = 3 * 32 * 32 * 4, 8 * 32 * 32 * 4, 16 * 32 * 32 * 4
    held = figures(project)
    assert held[""]["retained_bytes"] == small + large + 10 * 4
    assert held[""]["inference_peak_bytes"] == image + small + 2 * large
    assert held["body.0"] == {
        "params": 8 * 5 * 5 * 16 + 16,
        "products": 16 * 1024 * 8 * 25,
        "output_bytes": large,
        "model_bytes": 4 * (8 * 5 * 5 * 16 + 16),
        "retained_bytes": 0,
        "inference_peak_bytes": image + small + large,
    }
    assert held["body.1"]["retained_bytes"] == large
    assert held["body.1"]["inference_peak_bytes"] == image + small + 2 * large
    assert held["0"]["inference_peak_bytes"] == image + small
    assert "inference_peak_bytes" not in held["3"]  # Flatten allocates nothing


def test_an_activation_that_is_no_longer_in_place_fails(project: Path) -> None:
    """Parameters and products are the same; memory is not."""
    (project / "net.yaml").write_text(NET.replace("      - ReLU\n", "      - ReLU: {inplace: true}\n"))
    result = run(cwd=project)
    assert result.returncode == 1
    image, small, large = 3 * 32 * 32 * 4, 8 * 32 * 32 * 4, 16 * 32 * 32 * 4
    was, now = image + small + 2 * large, image + small + large
    assert f"inference_peak_bytes was {was:,}, is {now:,}: -{large:,}" in result.stdout
    assert "params was" not in result.stdout
    tolerances = ("inference_peak_bytes=50%", "output_bytes=50%")
    assert run(*(f"--tolerance={one}" for one in tolerances), cwd=project).returncode == 0


def test_a_budget_of_memory(project: Path) -> None:
    path = project / lock.NAME
    data = json.loads(path.read_text())
    data["networks"]["net.yaml"]["max"] = {"inference_peak_bytes": 100_000}
    path.write_text(json.dumps(data))
    result = run(cwd=project)
    assert result.returncode == 1
    assert "inference_peak_bytes is 176,128, the budget is 100,000: +76,128 over" in result.stdout


LONG = "input: 8x8x8\nlayers:\n" + "".join(f"  - Conv2d: {{out_channels: {8 + number}, kernel_size: 1}}\n" for number in range(12))


def test_layers_are_named_in_the_order_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(LONG)
    assert run("net.yaml", "--update", cwd=tmp_path).returncode == 0
    (tmp_path / "net.yaml").write_text(LONG.replace("out_channels: 17", "out_channels: 40"))  # layer 9, on line 12
    lines = run(cwd=tmp_path).stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines if ": params " in line] == ["9", "10"]
    annotated = run("--output-format", "github", cwd=tmp_path).stdout
    assert "::error file=net.yaml,line=12," in annotated
    assert "layers: 9 +" in annotated


def test_an_update_tells_under_which_conditions(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    told = run("net.yaml", "--update", "--input", "3x64x64", "--batch", "2", cwd=tmp_path).stdout
    assert told.startswith("net.yaml: added with --input 3x64x64 --batch 2, params ")
    assert run("lenet5", "--update", cwd=tmp_path).stdout.startswith("lenet5: added, params ")


def test_a_lock_that_names_nothing_passes_nothing(project: Path) -> None:
    (project / lock.NAME).write_text('{"networks": {}, "schema_version": 1}\n')
    result = run(cwd=project)
    assert result.returncode == 2
    assert "names no network, so there is nothing to check" in result.stderr


def test_what_cannot_run_is_annotated_on_github(tmp_path: Path) -> None:
    result = run("--output-format", "github", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout.startswith("::error title=cnnprof check::there is no cnnprof.lock")
    assert "there is no cnnprof.lock" in result.stderr
    (tmp_path / lock.NAME).write_text("{\n  oops\n}\n")
    assert run("--output-format", "github", cwd=tmp_path).stdout.startswith("::error file=cnnprof.lock,line=2,")


def test_assert_cost_needs_a_figure(assert_cost: Any) -> None:
    with pytest.raises(CnnprofError, match="asserts nothing"):
        assert_cost(cnnprof.load("lenet5"), (1, 28, 28))


def test_an_update_warns_of_figures_that_are_not_what_they_seem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    told = run("test_memory_command:Mixed", "--input", "3x8x8", "--update", cwd=tmp_path).stderr
    assert told.startswith("warning: test_memory_command:Mixed: autocast does nothing on the meta device")


# what an update does


def test_an_update_goes_through_a_link(project: Path) -> None:
    (project / "shared").mkdir()
    (project / lock.NAME).rename(project / "shared" / "real.lock")
    (project / lock.NAME).symlink_to(Path("shared") / "real.lock")
    assert run("cnn", "--update", cwd=project).returncode == 0
    assert (project / lock.NAME).is_symlink()
    assert "cnn" in lock.read(project / "shared" / "real.lock")
    (project / "loop.lock").symlink_to("loop.lock")
    assert run("cnn", "--lock", "loop.lock", cwd=project).returncode == 2


def test_an_update_says_that_only_layers_changed(project: Path) -> None:
    """The check does not mind, and the README says so."""
    (project / "net.yaml").write_text(NET.replace("name: body", "name: trunk"))
    assert run(cwd=project).returncode == 0
    told = run("net.yaml", "--update", cwd=project).stdout
    assert told == "net.yaml: accepted\n  no total changed, but layers: trunk.0, trunk.1, body.0, body.1\n"
    assert "trunk.0" in figures(project)
    assert run("net.yaml", "--update", cwd=project).stdout == "net.yaml: unchanged\n"


def test_an_update_names_a_figure_that_is_gone(project: Path) -> None:
    code = "from torch import nn\nnet = nn.Linear(4, 2)\ndef frozen(grad):\n    return net.requires_grad_(bool(grad))\n"
    (project / "frozen.py").write_text(code)
    assert run("frozen:frozen", "--set", "grad=1", "--input", "4", "--update", cwd=project).returncode == 0
    told = run("frozen:frozen", "--set", "grad=0", "--update", cwd=project).stdout
    assert told == "frozen:frozen: accepted with --input 4 --set grad=0\n  retained_bytes 8 -> -\n"


def test_an_update_keeps_the_conditions_that_are_not_given(project: Path) -> None:
    first = run("alexnet", "--update", "--input", "1x224x224", "--set", "classes=10", cwd=project)
    assert first.stdout.startswith("alexnet: added with --input 1x224x224 --set classes=10, params ")
    second = run("alexnet", "--update", "--batch", "2", cwd=project)
    assert second.stdout.startswith("alexnet: accepted with --input 1x224x224 --set classes=10 --batch 2\n  products ")
    entry = lock.read(project / lock.NAME)["alexnet"]
    assert (entry.input, entry.batch, entry.settings) == (("1x224x224",), 2, ("classes=10",))


def test_a_network_is_taken_out_of_the_lock(project: Path) -> None:
    (project / "net.yaml").unlink()
    for arguments in ([], ["--update"]):
        result = run(*arguments, cwd=project)
        assert result.returncode == 2
        assert "net.yaml: no such file" in result.stdout + result.stderr
        assert "help: to take it out of the lock: cnnprof check --remove net.yaml" in result.stdout + result.stderr
    assert "--remove" not in run("new.yaml", "--update", cwd=project).stderr
    wrong = run("--remove", "net.yml", "--remove", "lenet5", cwd=project)
    assert (wrong.returncode, wrong.stderr) == (2, 'error: the lock does not name "net.yml"; did you mean "net.yaml"?\n')
    assert run("--remove", "net.yaml", "--update", cwd=project).returncode == 2
    assert run("--remove", "./net.yaml", cwd=project).stdout == "net.yaml: removed\n"
    assert set(lock.read(project / lock.NAME)) == {"lenet5"}
    assert run(cwd=project).returncode == 0


def test_a_file_has_one_name(project: Path) -> None:
    (project / "nets").mkdir()
    (project / "nets" / "other.yaml").write_text(NET)
    assert run("./nets/../nets/other.yaml", cwd=project).returncode == 2
    assert run("./nets/../nets/other.yaml", "--update", cwd=project).returncode == 0
    assert set(lock.read(project / lock.NAME)) == {"net.yaml", "lenet5", "nets/other.yaml"}
    result = run("./net.yaml", str(project / "net.yaml"), "nets//other.yaml", cwd=project)
    assert (result.returncode, result.stdout) == (0, "2 passed, 0 failed\n")
    (project / "lenet").write_text(NET)  # beside the bundled network of that name
    assert "./lenet: added" in run("./lenet", "--update", cwd=project).stdout


def test_a_name_that_is_no_text_is_not_locked(project: Path) -> None:
    """The lock could not be read again."""
    name = os.fsdecode(b"\xff.yaml")
    (project / name).write_text(NET)
    result = run(name, "--update", cwd=project)
    assert (result.returncode, set(lock.read(project / lock.NAME))) == (2, {"net.yaml", "lenet5"})
    assert "this name cannot stand in a lock" in result.stderr


NASTY = "x\n::warning::injected\r\x1b[2J\x01\ufffe"


@pytest.mark.parametrize("output_format", ["full", "concise", "github", "json", "junit"])
def test_names_of_a_lock_write_no_lines_of_their_own(project: Path, output_format: str) -> None:
    change_the_kernel(project)
    path = project / lock.NAME
    data = json.loads(path.read_text())
    networks = data["networks"]
    networks["net.yaml"]["layers"][NASTY] = {"params": 1}
    networks[NASTY] = networks["lenet5"]
    path.write_text(json.dumps(data))
    summary = project / "summary.md"
    result = run("--output-format", output_format, cwd=project, GITHUB_STEP_SUMMARY=str(summary))
    assert result.returncode == 2
    for text in (result.stdout, result.stderr, summary.read_text()):
        assert all(line.isprintable() for line in text.split("\n"))
        assert not any(line.lstrip().startswith("::warning") for line in text.split("\n"))
    if output_format == "junit":
        assert len(ET.fromstring(result.stdout)) == 3
    if output_format == "json":
        assert NASTY in [network["network"] for network in json.loads(result.stdout)["networks"]]


# code of users

EXITING = """
import sys
from torch import nn

class Made(nn.Module):
    def __init__(self):
        super().__init__()
        sys.exit(3)

class Called(nn.Module):
    def forward(self, x):
        sys.exit("bye")

class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        if self.training:
            raise SystemExit
        return self.fc(x)
"""


def test_code_that_exits_is_told_and_the_rest_is_checked(project: Path) -> None:
    (project / "exiting.py").write_text(EXITING)
    (project / "exiting_at_once.py").write_text("import sys\nsys.exit()\n")
    path = project / lock.NAME
    data = json.loads(path.read_text())
    names = ("exiting:Made", "exiting:Called", "exiting:Trained", "exiting_at_once:Net")
    data["networks"] |= dict.fromkeys(names, data["networks"]["net.yaml"] | {"input": ["4"]})
    path.write_text(json.dumps(data))
    result = run(cwd=project)
    assert result.returncode == 2
    assert result.stdout.endswith("2 passed, 0 failed, 4 not checked\n")
    for call in ("(3) at exiting.py:8", "('bye') at exiting.py:12", "() at exiting.py:21", "() at exiting_at_once.py:2"):
        assert f"the network's code calls sys.exit{call}" in result.stdout


SETTING = """
import os
import torch
from torch import nn

def set_everything():
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    os.chdir("/")

set_everything()
torch.set_default_device("cuda")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        set_everything()

    def forward(self, x):
        set_everything()
        return self.fc(x)

class Plain(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)
        assert torch.is_grad_enabled()
"""


def test_what_the_code_of_one_network_sets_changes_no_other(tmp_path: Path) -> None:
    """Nor where the lock is written."""
    (tmp_path / "setting.py").write_text(SETTING)
    for name, targets in {"alone": ["setting:Plain"], "after": ["setting:Net", "setting:Plain"]}.items():
        done = process(*targets, "--input", "4", "--lock", f"{name}.lock", "--update", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    alone, after = (lock.read(tmp_path / f"{name}.lock")["setting:Plain"] for name in ("alone", "after"))
    assert after == alone
    assert after.totals["model_bytes"] == 4 * (4 * 2 + 2)


@pytest.mark.parametrize("output", ["full", "concise", "github", "junit", "json"])
def test_names_that_the_stream_does_not_take(output: str, tmp_path: Path) -> None:
    net = tmp_path / "größe.yaml"
    net.write_text("input: 3x8x8\nlayers:\n  - Conv2d: [3, 5]\n", encoding="utf-8")
    added = process("größe.yaml", "--update", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.startswith(r"gr\xf6\xdfe.yaml: added")
    net.write_text("input: 3x8x8\nlayers:\n  - Conv2d: [größe, 5]\n", encoding="utf-8")
    done = process("--output-format", output, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (2, "")
    if output == "junit":
        assert "größe.yaml" in [case.get("name") for case in ET.fromstring(done.stdout).iter("testcase")]
    elif output == "json":
        assert json.loads(done.stdout)["networks"][0]["network"] == "größe.yaml"
    else:
        assert r"gr\xf6\xdfe" in done.stdout
