"""Every spec in bad/ is refused, and the diagnostic beside it is exactly what the user reads.

`pytest --update-golden` writes the diagnostics anew; read what changed before it is committed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BAD = Path(__file__).parent / "bad"
SPECS = sorted(BAD.glob("*.yaml"))
RUN_ALL = """
import sys
from cnnprof.cli import app
from cnnprof.errors import CnnprofError, full
for line in sys.stdin:
    arguments = eval(line)
    try:
        app(["summarize", *arguments], standalone_mode=False)
        print("it was accepted", 0, sep="\\n\\0")
    except CnnprofError as error:
        print(full(error), error.exit_code, sep="\\n\\0")
    sys.stdout.flush()
"""


def arguments_for(spec: Path) -> list[str]:
    """The command's arguments: the file, with what a first line `# args: ::variant --set a=b` adds."""
    first = spec.read_bytes().partition(b"\n")[0].decode(errors="replace")
    extra = first.removeprefix("# args: ").split() if first.startswith("# args: ") else []
    variant = extra.pop(0) if extra and extra[0].startswith("::") else ""
    return [spec.name + variant, *extra]


@pytest.fixture(scope="module")
def diagnostics() -> dict[str, tuple[str, int]]:
    """What is printed for each spec, and the exit code. One process serves all: each is what the command line would print."""
    wanted = [arguments_for(spec) for spec in SPECS]
    run = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input="".join(f"{arguments!r}\n" for arguments in wanted),
        cwd=BAD,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not run.stderr, run.stderr
    fields = run.stdout.split("\0")
    texts = [fields[0], *(field.partition("\n")[2] for field in fields[1:-1])]
    codes = [int(field.partition("\n")[0]) for field in fields[1:]]
    return {spec.stem: (text, code) for spec, text, code in zip(SPECS, texts, codes, strict=True)}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_diagnostic(spec: Path, diagnostics: dict[str, tuple[str, int]], request: pytest.FixtureRequest) -> None:
    text, code = diagnostics[spec.stem]
    expected = spec.with_suffix(".txt")
    if request.config.getoption("--update-golden"):
        expected.write_text(text)
    assert code == 2
    assert text == expected.read_text()


def test_there_are_enough_of_them() -> None:
    assert len(SPECS) >= 40


@pytest.mark.parametrize("name", ["unknown_layer", "kernel_larger_than_map"])
def test_the_command_line_exits_with_2_and_prints_no_traceback(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cnnprof", "summarize", f"{name}.yaml"],
        cwd=BAD,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (BAD / f"{name}.txt").read_text()


@pytest.mark.parametrize("path", ["missing.yaml", ".", "missing/"])
def test_no_file(path: str, diagnostics: dict[str, tuple[str, int]]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cnnprof", "summarize", path], cwd=BAD, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error")
    assert "Traceback" not in run.stderr
