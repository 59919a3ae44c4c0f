"""A command of before 0.2.0 fails with the name of the new one."""

import pytest
import typer.testing

from cli.app import app
from cli.renamed_commands import NEW_NAMES


@pytest.mark.parametrize("old", NEW_NAMES)
def test_an_old_command_names_the_new_one(old):
    done = typer.testing.CliRunner().invoke(app, [old, "list", "--json"])

    assert done.exit_code == 2
    assert f"run: python run.py {NEW_NAMES[old]}" in done.output


def test_the_help_lists_new_names_only():
    help_text = typer.testing.CliRunner().invoke(app, ["--help"]).output

    assert "demo-loop" in help_text
    assert not any(f" {old} " in help_text for old in NEW_NAMES)
