"""What the README says of CI works as it stands: the commands, the action, the hook, the test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "README.md").read_text().partition("## In CI\n")[2].partition("\n## ")[0]
NET = "input: 3x32x32\nlayers: [Conv2d: [8, 3], Flatten, Linear: 10]\n"
CODE = """from torch import nn


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3))
"""


def block(language: str, containing: str = "") -> str:
    """The fenced block of that language in the section."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return next(text for text in blocks if containing in text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mynet.yaml").write_text(NET)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").touch()
    (tmp_path / "mypackage" / "nets.py").write_text(CODE)
    return tmp_path


def environment(project: Path, **more: str) -> dict[str, str]:
    """One in which `cnnprof` is this interpreter's, whatever else is installed."""
    folder = project / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "cnnprof").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnnprof "$@"\n')
    (folder / "cnnprof").chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | more


def shell(script: str, project: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=project, env=environment(project, **more), capture_output=True, text=True, check=False
    )


def test_the_commands(project: Path) -> None:
    done = shell(block("sh"), project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 passed, 0 failed") == 2


def test_the_action(project: Path) -> None:
    assert shell("cnnprof check configs/mynet.yaml --update", project).returncode == 0
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    script = next(step["run"] for step in action["runs"]["steps"] if step.get("id") == "check")
    # `with:` of the README's workflow names inputs that the action has.
    workflow = yaml.safe_load(block("yaml", "pull_request"))
    given = workflow["jobs"]["cost"]["steps"][-1]["with"]
    assert set(given) <= set(action["inputs"])
    environ = {
        "TARGETS": action["inputs"]["targets"]["default"],
        "LOCK": action["inputs"]["lock"]["default"],
        "TOLERANCE": given["tolerance"],
        "GITHUB_OUTPUT": str(project / "output"),
        "GITHUB_STEP_SUMMARY": str(project / "summary"),
    }
    passed = shell(script, project, **environ)
    assert passed.returncode == 0, passed.stderr
    (project / "configs" / "mynet.yaml").write_text(NET.replace("[8, 3]", "[9, 3]"))
    failed = shell(script, project, **environ)
    assert failed.returncode == 1
    assert "::error file=configs/mynet.yaml,line=2," in failed.stdout
    assert "| configs/mynet.yaml | products |" in (project / "summary").read_text()
    assert (project / "output").read_text().count("END_OF_TABLE\n") == 4


def test_the_hook(project: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    config = yaml.safe_load(block("yaml", "pre-commit-config"))
    assert config["repos"][0]["hooks"] == [{"id": hook["id"]}]
    assert shell("cnnprof check configs/mynet.yaml --update", project).returncode == 0
    assert shell(hook["entry"], project).returncode == 0
    assert re.search(hook["files"], "configs/mynet.yaml")


def test_the_test(project: Path) -> None:
    (project / "test_cost.py").write_text(block("python"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cost.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
