import os
import pty

import pytest
from rich.console import Group

from cli.output import program, render, status_text, summary, table
from cli.prediction_text import csv_table, predictions
from cli.training_text import versions
from imageloop.adapters.registered_version import RegisteredVersion
from operations.approval import VersionList, status_of
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
        RegisteredVersion(
            "imageloop", "2", "run", verdict="hold", reason="1 gate undecided", digest="", accuracy=0.9, interval=(0.8, 0.95),
            made_at="2026-11-29T14:20:00+00:00", backbone="efficientnet_lite0", data="pets",
        ),
        RegisteredVersion("imageloop", "1", "run", verdict="advance", reason="passed", digest=""),
    ]  # fmt: skip
    listed = VersionList("imageloop", "1", entries, {one.version: status_of(one, "1") for one in entries}, {"1": 100}, [])

    assert [line.split() for line in render(versions(listed), pipe).splitlines()] == [
        ["version", "status", "traffic", "accuracy", "made", "model", "data", "reason"],
        ["4", "rolled", "back", "too", "slow"],
        ["3", "former", "passed"],
        [
            "2",
            "awaiting",
            "90.0%",
            "(80.0%",
            "to",
            "95.0%)",
            "2026-11-29",
            "14:20",
            "efficientnet_lite0",
            "pets",
            "1",
            "gate",
            "undecided",
        ],
        ["1", "champion", "100", "%", "passed"],
        [],
        ["next:"],
        [str(program()), "run.py", "approve", "2"],
    ]
