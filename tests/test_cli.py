"""The program as a user runs it: what it prints where, its exit codes, and what it does not import."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import cnnprof
from cnnprof.cli import COMMANDS, app, loaded


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "cnnprof", *arguments],
        cwd=cwd,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def modules_after(*arguments: str) -> set[str]:
    """The modules that a command leaves imported."""
    code = f"""
import sys
sys.stdout = open("{os.devnull}", "w")
from cnnprof.cli import app
try:
    app({list(arguments)!r})
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list"], ["list", "res*"], ["show", "alexnet"], ["schema"], ["summarize", "--help"]],
    ids=" ".join,
)
def test_what_does_not_import_torch(arguments: list[str]) -> None:
    loaded = modules_after(*arguments)
    assert "cnnprof.cli" in loaded
    assert "torch" not in loaded
    assert "numpy" not in loaded


def test_a_command_imports_no_other() -> None:
    commands = {f"cnnprof.commands.{name}" for name in COMMANDS}
    assert not commands & modules_after("--help")
    assert not commands & modules_after("chek")
    assert commands & modules_after("list") == {"cnnprof.commands.list"}
    assert commands & modules_after("summarize", "--help") == {"cnnprof.commands.summarize"}
    read = {f"cnnprof.spec.{name}" for name in ("parser", "bodies", "signatures", "variables", "expressions", "reader")}
    assert not {"yaml", *read} & modules_after("list")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_how_their_help_begins(name: str) -> None:
    assert loaded(name).help.partition("\n\n")[0] == COMMANDS[name]


def test_who_asks_for_a_command_gets_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    group: Any = typer.main.get_command(app)
    with group.make_context("cnnprof", ["list"]) as context:
        for _ in range(2):
            assert [name for name in COMMANDS if not group.get_command(context, name).params] == ["schema"]
            group.get_help(context)  # which rich prints
            assert "Show what each layer" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_can_be_printed_in_ascii(name: str) -> None:
    result = run(name, "--help", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert COMMANDS[name].split()[0] in result.stdout


def test_every_module_of_a_command_is_listed() -> None:
    found = {path.stem for path in Path(cnnprof.__path__[0], "commands").glob("*.py") if "\ndef run(" in path.read_text()}
    assert found == set(COMMANDS)


def test_summaries_import_neither_torchs_compiler_nor_sympy() -> None:
    loaded = modules_after("summarize", "resnet18", "googlenet_bn", "efficientnet_b0", "alexnet_grouped", "locally_connected")
    assert "torch" in loaded
    assert "torch._dynamo" not in loaded
    assert "sympy" not in loaded


def test_a_spec_error_does_not_import_torch(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("input: 3x8x8\nlayers: [Conv2D: [8, 3]]\n")
    code = f"""
import sys
from cnnprof.cli import app
from cnnprof.errors import SpecError
try:
    app(["summarize", {str(tmp_path / "net.yaml")!r}])
except SpecError:
    print("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_version() -> None:
    assert run("--version").stdout == f"cnnprof {cnnprof.__version__}\n"


def test_list_and_show() -> None:
    names = [line.split()[0] for line in run("list").stdout.splitlines()[2:]]
    assert {"mlp", "cnn", "lenet", "lenet5", "alexnet", "alexnet_grouped"} <= set(names)
    assert [line.split()[0] for line in run("list", "alex*").stdout.splitlines()[2:]] == ["alexnet", "alexnet_grouped"]
    assert yaml.safe_load(run("show", "alexnet").stdout)["input"] == "3x224x224"
    none = run("list", "alexnot")
    assert (none.returncode, none.stdout) == (2, "")
    assert 'did you mean "alexnet"' in none.stderr


def test_what_show_prints_is_a_spec_to_start_from(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(run("show", "resnet50").stdout)
    (tmp_path / "spec.schema.json").write_text(run("schema").stdout)
    result = run("summarize", "mine.yaml::resnet50", "--depth", "1", cwd=tmp_path)
    assert "25,557,032" in result.stdout
    first = (tmp_path / "mine.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=spec.schema.json"


def test_json_is_read_back_and_adds_up() -> None:
    found = json.loads(run("summarize", "alexnet", "--input", "1x224x224", "--format", "json").stdout)
    assert found["totals"]["params"] == 61_085_352 == sum(layer["params"] for layer in found["layers"])
    assert found["totals"]["products"] == 667_337_280 == sum(layer["products"] for layer in found["layers"])
    assert (found["input"], found["batch"], found["dtype"]) == ([1, 224, 224], 1, "float32")
    several = json.loads(run("summarize", "lenet", "lenet5", "--format", "json").stdout)
    assert [one["network"] for one in several] == ["lenet", "lenet5"]


def test_rows_are_sorted_as_the_help_says() -> None:
    for column, reverse in {"params": True, "layer": False}.items():
        text = run("summarize", "lenet", "--sort", column, "--columns", column, "--format", "csv").stdout
        values = [row[column] for row in csv.DictReader(StringIO(text))][:-1]
        assert values == sorted(values, key=int if reverse else str.lower, reverse=reverse)
    assert "numbers and sizes from the largest, texts from A to Z" in " ".join(
        run("summarize", "--help", COLUMNS="200").stdout.split()
    )


def test_csv_adds_up() -> None:
    rows = list(csv.DictReader(StringIO(run("summarize", "resnet18", "--format", "csv", "--depth", "2").stdout)))
    *layers, total = rows
    assert total["path"] == "TOTAL"
    for key in ("params", "products", "output_bytes"):
        assert sum(int(row[key]) for row in layers) == int(total[key])
    assert run("summarize", "lenet", "lenet5", "--format", "csv").returncode == 2


@pytest.mark.parametrize(("option", "dtype_bytes"), [("float32", 4), ("float16", 2), ("bfloat16", 2), ("float64", 8)])
def test_dtype_and_batch(option: str, dtype_bytes: int) -> None:
    text = run("summarize", "lenet", "--dtype", option, "--batch", "3", "--format", "json").stdout
    totals = json.loads(text)["totals"]
    assert totals["model_bytes"] == 105_506 * dtype_bytes
    assert totals["products"] == 3 * 1_333_200
    elements = 32 * 24**2 + 2 * 32 * 8**2 + 64 * 4**2 + 2 * 64 * 2**2 + 2 * 200 + 10
    assert totals["output_bytes"] == 3 * elements * dtype_bytes


def test_output_file(tmp_path: Path) -> None:
    first = run("summarize", "lenet", "-o", "net.json", cwd=tmp_path)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert json.loads((tmp_path / "net.json").read_text())["network"] == "lenet"
    again = run("summarize", "lenet5", "-o", "net.json", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert json.loads((tmp_path / "net.json").read_text())["network"] == "lenet"
    assert run("summarize", "lenet5", "-o", "net.json", "--force", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "net.json").read_text())["network"] == "lenet5"
    failed = run("summarize", "lenet", "--set", "classes=0", "-o", "net.json", "--force", cwd=tmp_path)
    assert failed.returncode == 2
    assert json.loads((tmp_path / "net.json").read_text())["network"] == "lenet5"
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summarize", "alexnett"], 'did you mean "alexnet"'),
        (["summarize", "lenet", "--input", "1by28"], "3x224x224"),
        (["summarize", "lenet", "--input", "1x0x28"], "3x224x224"),
        (["summarize", "lenet", "--set", "classes"], "name=value"),
        (["summarize", "lenet", "--set", "clases=3"], 'did you mean "classes"'),
        (["summarize", "lenet", "--columns", "layer,parms"], 'did you mean "params"'),
        (["summarize", "lenet", "--sort", "products,params"], "there is no column"),
        (["summarize", "lenet", "--columns", ""], 'there is no column ""; there are: layer, '),
        (["summarize", "lenet", "-o", "x.docx"], "--format"),
        (["summarize", "lenet", "-o", ""], "-o takes the name of a file"),
        (["summarize", "lenet", "--force"], "--force goes with -o"),
        (["compare", "lenet", "lenet5", "--metric", "params"], "--metric and --all go with --by"),
        (["compare", "lenet", "lenet5", "--all"], "--metric and --all go with --by"),
        (["compare", "lenet", "lenet5", "--by", "kind", "--metric", ""], 'layers have no metric ""'),
        (["summarize", "lenet", "-o", "nowhere/x.json"], "no directory"),
        (["summarize", "lenet", "--batch", "0"], "--batch"),
        (["summarize", "lenet", "--input", "1x5x5"], "error[shape]"),
        (["summarize", "lenet", "--style", "keras"], "--style"),
        (["summarize"], "TARGET"),
        (["sumarize", "lenet"], "summarize"),
        (["show", "alexnett"], 'did you mean "alexnet"'),
        (["show", "here/net.yaml"], 'show prints bundled networks only, which `cnnprof list` names, and "here/net.yaml" is a file'),
        (["summarize", "nets.py"], '"nets.py": Python code is named as it is imported, in its folder nets:Net'),
        (["summarize", "nets.py:make"], "is named as it is imported, in its folder nets:make"),
        (["summarize", "./vision/nets.py::make"], "is named as it is imported, in its folder nets:make"),
        (["compare", "lenet@1x", "lenet"], 'error: the "@" of lenet@1x takes a shape without the batch dimension, 3x224x224'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_told_on_stderr(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_caret_stands_below_the_piece_where_characters_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text('input: 3x8x8\nabout: {title: "größe 層", year: [a]}\nlayers: [ReLU]\n', encoding="utf-8")
    line, caret = run("summarize", "net.yaml", cwd=tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii").stderr.splitlines()[1:3]
    assert line == r"""  2 | about: {title: "gr\xf6\xdfe \u5c64", year: [a]}"""
    assert caret == " " * line.index("[") + "^"


WRITING = ("list", "show alexnet", "schema", "--help", "--version", "summarize lenet", "memory lenet", "check")


def shell(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=True, cwd=folder, env=os.environ | environ, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lock that passes."""
    folder = tmp_path_factory.mktemp("locked")
    assert run("check", "lenet", "--update", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize("arguments", WRITING)
def test_a_stream_that_cannot_be_written_is_told(arguments: str, locked: Path) -> None:
    for redirection, message in {"> /dev/full": "No space left on device", ">&-": "standard output is closed"}.items():
        done = shell(f"{sys.executable} -m cnnprof {arguments} {redirection}", locked)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", WRITING)
def test_nobody_has_to_read_the_errors(arguments: str, locked: Path) -> None:
    silent = shell(f"{sys.executable} -m cnnprof {arguments} 2>&-", locked)
    assert (silent.returncode, silent.stdout) == (0, shell(f"{sys.executable} -m cnnprof {arguments}", locked).stdout)
    wrong = shell(f"{sys.executable} -m cnnprof summarize nothing 2>&-", locked)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_closed_stdout_is_no_matter_where_a_file_is_written(tmp_path: Path) -> None:
    assert shell(f"{sys.executable} -m cnnprof summarize lenet -o net.json >&- 2>&-", tmp_path).returncode == 0
    assert json.loads((tmp_path / "net.json").read_text())["network"] == "lenet"


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", [*WRITING, "check nothing 2>&1"])
def test_a_closed_pipe_is_neither_an_error_nor_a_failed_check(arguments: str, buffered: str, locked: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = f"{sys.executable} -m cnnprof {arguments}"
    environ = os.environ | {"PYTHONUNBUFFERED": buffered}
    done = subprocess.run(command, shell=True, cwd=locked, env=environ, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_output_goes_through_links_and_keeps_the_mode(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link.json").symlink_to(real)
    assert run("summarize", "lenet", "-o", "link.json", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads(real.read_text())["network"] == "lenet"
    assert real.stat().st_mode & 0o777 == 0o640
    (tmp_path / "loop.json").symlink_to("loop.json")
    assert run("summarize", "lenet", "-o", "loop.json", "--force", cwd=tmp_path).returncode == 0
    os.mkfifo(tmp_path / "pipe.csv")
    assert run("summarize", "lenet", "-o", "pipe.csv", "--force", cwd=tmp_path).returncode == 2
    assert (tmp_path / "pipe.csv").is_fifo()


def test_a_closed_pipe_is_no_error() -> None:
    text = subprocess.run(
        f"{sys.executable} -m cnnprof summarize resnet18 | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert text.stdout.startswith("resnet18  input 3x224x224")
    assert text.stderr == ""


def test_the_shell_completes_options() -> None:
    code = "from cnnprof.cli import app; app(prog_name='cnnprof')"
    environ = os.environ | {"_CNNPROF_COMPLETE": "complete_bash", "COMP_WORDS": "cnnprof check --up", "COMP_CWORD": "2"}
    found = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout.split() == ["--update"]


def test_the_shell_completes_network_names() -> None:
    code = "from cnnprof.cli import app; app(prog_name='cnnprof')"
    environ = os.environ | {"_CNNPROF_COMPLETE": "complete_bash", "COMP_WORDS": "cnnprof summarize alex", "COMP_CWORD": "2"}
    result = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["alexnet", "alexnet_grouped"]


def test_the_largest_spec_is_as_quick_to_read_as_lenet(tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text("input: 1000000\nlayers: [Linear: {out_features: 1000000, bias: false}]\n")
    result = run("summarize", "wide.yaml", cwd=tmp_path)
    assert "1,000,000,000,000" in result.stdout
    assert "3.64 TiB (4.00 TB)" in result.stdout


PRINTING = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        print("made")
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        print("called")
        return self.fc(x)

def wrong(width):
    return nn.Linear(4, width)

def failing():
    raise ValueError("no")

class Settings:
    @property
    def net(self):
        raise ValueError("not yet")

SETTINGS = Settings()
LIMIT = 3
"""


@pytest.mark.parametrize(
    "command",
    [
        ("summarize", "printing:Net", "--input", "4", "--format", "json"),
        ("compare", "printing:Net", "printing:Net", "--input", "4", "--format", "json"),
        ("memory", "printing:Net", "--input", "4", "--format", "json"),
        ("verify", "printing:Net", "--input", "4", "--format", "json"),
    ],
    ids=lambda command: command[0],
)
def test_what_the_users_code_prints_is_no_part_of_the_result(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert "made" in done.stderr
    assert "called" in done.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("printing:wrong", "\"printing:wrong\" takes other arguments than --set gives: missing a required argument: 'width'"),
        ("printing:failing", 'calling "printing:failing" failed at printing.py:18: ValueError: no'),
        ("printing:Nett", '"printing" has no "Nett"; did you mean "Net"?'),
        ("printing:print.other", '"printing" has no "print.other"; '),
        ("printing:LIMIT.other", '"printing" has no "LIMIT.other"; it has neither modules nor functions'),
        ("printing:other", '"printing" has no "other"; it has Net, wrong, failing'),
        ("broken:Net", 'importing "broken" failed at broken.py:1: SyntaxError'),
        ("printing:SETTINGS.net", 'looking up "printing:SETTINGS.net" failed at printing.py:23: ValueError: not yet'),
        ("printing_more:Net", 'importing "printing_more" failed at printing_more.py:1: ModuleNotFoundError: No module named'),
        ("nowhere:Net", 'there is no Python module "nowhere" on the path or in this folder'),
    ],
    ids=lambda value: value if ":" in value and " " not in value else "",
)
def test_an_error_of_the_users_code_names_the_users_line(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)
    (tmp_path / "broken.py").write_text("class Net(:\n")
    (tmp_path / "printing_more.py").write_text("import printing_\n")
    done = run("summarize", target, "--input", "4", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_saved_profile_has_its_arithmetic(tmp_path: Path) -> None:
    assert run("summarize", "lenet", "-o", "lenet.json", cwd=tmp_path).returncode == 0
    saved = run("summarize", "lenet.json", "--formulas", cwd=tmp_path).stdout
    assert saved == run("summarize", "lenet", "--formulas").stdout
    assert cnnprof.Profile.from_json((tmp_path / "lenet.json").read_text()).layers[0].product_terms == ((32, 24, 24, 1, 5, 5),)


def test_a_list_of_profiles_is_no_profile(tmp_path: Path) -> None:
    assert run("summarize", "lenet", "lenet5", "-o", "both.json", cwd=tmp_path).returncode == 0
    done = run("summarize", "both.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "both.json is a list of 2 profiles" in done.stderr
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(cnnprof.UsageError, match="a saved profile has no network any more"):
        cnnprof.load(tmp_path / "one.json")
