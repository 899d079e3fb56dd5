"""What the README shows is what happens."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import update_readme

PAGE = update_readme.README.read_text(encoding="utf-8")


def test_output_below_every_command_is_real() -> None:
    assert PAGE.count("\n$ cnnprof ") >= 1
    new = update_readme.updated(PAGE)
    assert update_readme.comparable(new) == update_readme.comparable(PAGE), "run: python tests/update_readme.py"


def test_only_what_a_machine_measures_is_not_compared() -> None:
    """The two figures of the allocator."""
    left_out = set(PAGE.splitlines()) - set(update_readme.comparable(PAGE).splitlines())
    assert len(left_out) == 2
    assert sum("workspace" in line for line in left_out) == 2


def test_python_examples_are_real() -> None:
    for number, block in enumerate(re.findall(r"^```pycon\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)):
        test = doctest.DocTestParser().get_doctest(block, {}, f"README example {number}", str(update_readme.README), 0)
        results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
        assert results.attempted > 0
        assert results.failed == 0


def test_a_stale_page_is_noticed() -> None:
    stale = "```console\n$ cnnprof --version\nno such version\n```\n"
    fresh = update_readme.updated(stale)
    assert "no such version" not in fresh
    assert re.fullmatch(r"```console\n\$ cnnprof --version\n\S.*\n```\n", fresh)


def test_set_up_and_test_commands_stand_where_ci_reads_them() -> None:
    """`.ci/run` takes both from the page, by these comments."""
    ci = Path(update_readme.README.parent, ".ci", "run").read_text(encoding="utf-8")
    for name, command in (("set-up", "pip install -c constraints.txt -e '.[dev]'"), ("test", "pytest -n auto")):
        assert f"readme_command {name}" in ci
        block = re.search(rf"^<!-- {name} command -->\n```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        assert block is not None
        assert block[1].splitlines()[-1] == command
