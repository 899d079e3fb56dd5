"""The package as its users get it: a wheel, an editable install and a checkout, each run from somewhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALEXNET = ("summarize", "alexnet", "--input", "1x224x224")
ALEXNET_TOTALS = ("61,085,352", "667,337,280")
"""Parameters and products of AlexNet for one input channel."""


@dataclass(frozen=True)
class Installation:
    """An interpreter that can import cnnprof, and where that comes from."""

    python: Path
    program: tuple[str, ...]
    environment: dict[str, str]
    package: Path


def outside_environment(**more: str) -> dict[str, str]:
    """The variables of this process without those that lead Python to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "COLUMNS")}
    return {**kept, **more}


def run(command: Sequence[str | Path], environment: dict[str, str], folder: Path) -> str:
    """What the command prints to stdout; fails with everything it printed where it does not succeed."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, so that both hold all they need."""
    dist = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT], outside_environment(), dist)
    assert len(list(dist.glob("cnnprof-*.tar.gz"))) == 1
    (built,) = dist.glob("cnnprof-*.whl")
    return built


def fresh_environment(folder: Path, *install: str | Path) -> tuple[Path, Path]:
    """The interpreter and the site-packages of a new environment with that installed, and nothing downloaded.

    torch and the other dependencies are read from this process's environment. A path in a .pth file is searched last,
    and .pth files in it are not followed, so that an editable install there cannot stand in for what is tested.
    """
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    environment = outside_environment()
    where = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], environment, folder)
    site = Path(where.strip())
    places = {str(Path(spec.origin).parents[1]) for name in ("torch", "hatchling") if (spec := find_spec(name)) and spec.origin}
    (site / "dependencies.pth").write_text("".join(f"{place}\n" for place in sorted(places)), encoding="utf-8")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run([python, "-m", "pip", "install", *options, *install], environment, folder)
    return python, site


@pytest.fixture(scope="module", params=["wheel", "editable", "checkout"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    if request.param == "checkout":
        from_here = outside_environment(PYTHONPATH=str(ROOT))
        return Installation(Path(sys.executable), (sys.executable, "-m", "cnnprof"), from_here, ROOT / "cnnprof")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        python, site = fresh_environment(folder, request.getfixturevalue("wheel"))
        package = site / "cnnprof"
    else:
        python, _ = fresh_environment(folder, "-e", ROOT)
        package = ROOT / "cnnprof"
    return Installation(python, (str(python.with_stem("cnnprof")),), outside_environment(), package)


def test_alexnet_is_summarized(installation: Installation, tmp_path: Path) -> None:
    printed = run([*installation.program, *ALEXNET], installation.environment, tmp_path)
    for total in ALEXNET_TOTALS:
        assert total in printed


def test_the_package_that_runs_is_the_one_installed(installation: Installation, tmp_path: Path) -> None:
    ask = "import cnnprof, pathlib; print(pathlib.Path(cnnprof.__file__).resolve().parent)"
    assert Path(run([installation.python, "-c", ask], installation.environment, tmp_path).strip()) == (
        installation.package.resolve()
    )


def test_every_network_of_the_checkout_is_listed(installation: Installation, tmp_path: Path) -> None:
    here = run([sys.executable, "-m", "cnnprof", "list"], outside_environment(PYTHONPATH=str(ROOT)), tmp_path)
    assert "alexnet" in here
    assert run([*installation.program, "list"], installation.environment, tmp_path) == here


def test_version_is_the_same_everywhere(installation: Installation, wheel: Path, tmp_path: Path) -> None:
    version = wheel.name.split("-")[1]
    assert version in run([*installation.program, "--version"], installation.environment, tmp_path)
    ask = "import cnnprof; print(cnnprof.__version__)"
    assert run([installation.python, "-c", ask], installation.environment, tmp_path).strip() == version


def test_public_functions_can_be_called_again(tmp_path: Path) -> None:
    """Importing a module sets its name on the package, where it must not take the place of a function of that name."""
    twice = "[cnnprof.profile(cnnprof.load('lenet'), (1, 28, 28)).products for _ in range(2)]"
    printed = run([sys.executable, "-c", f"import cnnprof; print({twice})"], outside_environment(PYTHONPATH=str(ROOT)), tmp_path)
    assert printed.strip() == "[1333200, 1333200]"


def test_the_sdist_holds_what_its_tests_read(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("cnnprof-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    read = ("README.md", "action.yml", ".pre-commit-hooks.yaml", ".pre-commit-config.yaml", ".ci/run", ".github/workflows/ci.yml")
    assert {"tests/test_in_ci.py", "configs/alexnet.yaml", "cnnprof.lock", *read} <= held


def test_wheel_holds_the_package_the_networks_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    metadata = wheel.name.rpartition("-py3")[0] + ".dist-info"
    package, networks = (
        {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        for folder in ("cnnprof", "configs")
    )
    compiled = {name for name in package if name.endswith(".pyc")}
    assert {name for name in held if not name.startswith(metadata)} == {
        *(package - compiled),
        *(f"cnnprof/{name}" for name in networks),
    }
    assert {"cnnprof/py.typed", "cnnprof/configs/alexnet.yaml", f"{metadata}/licenses/LICENSE"} <= held
