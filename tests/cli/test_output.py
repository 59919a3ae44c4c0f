import os
import pty

import pytest
from rich.console import Group

from cli.output import render, status_text, summary, table
from cli.training_text import csv_table, predictions, versions
from imageloop.adapters.mlflow_registry import RegisteredVersion
from operations.approval import VersionList
from operations.prediction import PredictedImage, PredictionTable, RefusedImage


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    controller, terminal = pty.openpty()
    yield terminal
    os.close(controller)
    os.close(terminal)


def test_a_program_reads_plain_rows_that_are_never_wrapped(pipe):
    reason = "a long reason " * 40
    rows = table("version", "reason", numbers=("version",))
    rows.add_row("12", reason)

    assert render(Group(summary(("accuracy", "91.7%")), rows), pipe).splitlines() == [
        "accuracy       91.7%",
        "version  reason",
        f"     12  {reason.rstrip()}",
    ]


def test_a_terminal_shows_colour_and_wraps_to_its_width(terminal):
    text = render(table("reason"), terminal)
    assert "\x1b[1m" in text
    assert "\x1b[32m" in render(status_text("champion"), terminal)


def test_no_color_is_honoured(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in render(status_text("champion"), terminal)


def test_names_with_brackets_colons_and_unprintable_bytes_are_shown_as_they_are(pipe):
    result = PredictionTable(
        "imageloop", "3", "fp32",
        [PredictedImage("a[red]b[/red]:smile:.png", "cat", 0.9, {"cat": 0.9, "dog": 0.1})],
        [RefusedImage("bad\udcff.png", "not an image")],
    )  # fmt: skip

    text = render(predictions(result), pipe)

    assert "a[red]b[/red]:smile:.png" in text
    assert "bad\udcff.png" in text
    assert render(csv_table(result), pipe).splitlines()[1] == "a[red]b[/red]:smile:.png,cat,0.900000,,"


def test_a_version_list_names_status_and_reason(pipe):
    entries = [
        RegisteredVersion("imageloop", "4", "run", verdict="rollback", reason="too slow", digest="", rolled_back=True),
        RegisteredVersion("imageloop", "3", "run", verdict="advance", reason="passed", digest=""),
        RegisteredVersion("imageloop", "2", "run", verdict="hold", reason="1 gate undecided", digest=""),
        RegisteredVersion("imageloop", "1", "run", verdict="advance", reason="passed", digest=""),
    ]
    assert [line.split() for line in render(versions(VersionList("imageloop", "1", entries)), pipe).splitlines()] == [
        ["version", "status", "reason"],
        ["4", "rolled", "back", "too", "slow"],
        ["3", "former", "passed"],
        ["2", "awaiting", "1", "gate", "undecided"],
        ["1", "champion", "passed"],
    ]
