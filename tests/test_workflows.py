"""What the workflows and CI's scripts name is there: they run on GitHub alone, where a file that was renamed would be found too late."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob(".github/workflows/*.yml"), *(file for file in ROOT.glob(".ci/*") if file.is_file())])
NAMED = re.compile(
    r"(?<![\w$./}\"-])(?:\./)?((?:\.ci|\.github|benchmarks|configs|deploy|docs|requirements|seldon|stacks|tests)/[\w./{},-]*[\w}])"
)
TARGET = re.compile(r"(?:^\s*(?:- )?(?:run: )?|(?:&&|\|\|) |\b(?:do|then) )make ((?:[a-z.][\w./-]*)(?: (?:[a-z.][\w./-]*))*)")


def expanded(path: str) -> Iterator[str]:
    """What the shell makes of `a/{b,c}.txt`."""
    parts = [part[1:-1].split(",") if part.startswith("{") else [part] for part in re.split(r"(\{[^}]*\})", path)]
    return map("".join, itertools.product(*parts))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_every_path_that_a_script_names_exists(script):
    named = {path for found in NAMED.findall(script.read_text()) for path in expanded(found)}

    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_every_target_that_a_script_makes_exists(script):
    targets = set(re.findall(r"^([\w./-]+(?: [\w./-]+)*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {target for line in targets for target in line.split()}
    lines = [line.partition(" #")[0] for line in script.read_text().splitlines()]
    made = {target for line in lines for targets in TARGET.findall(line) for target in targets.split()}

    assert sorted(made - known) == []


def test_braces_are_expanded():
    assert list(expanded("requirements/{serving,mlserver}.txt")) == ["requirements/serving.txt", "requirements/mlserver.txt"]
