import os
import time

from cli.console import MAX_LOGS, Bars, Session, result_alone_on_stdout
from imageloop import progress
from imageloop.workspace_paths import Workspace


def test_plain_lines_appear_where_there_is_no_terminal_and_only_for_long_work(capsys, monkeypatch):
    bars = Bars()
    now = iter([0.0, 0.5, 3.0, 3.0, 3.0, 4.0])
    monkeypatch.setattr("cli.console.time.monotonic", lambda: next(now))

    bars.start("decode", 10)
    bars.advance(4)
    bars.advance(4)
    bars.finish()

    assert capsys.readouterr().err == "  decode: 8 of 10, 2.0/s, 1 s left\n"


def test_work_without_a_total_shows_a_line_with_the_seconds(capsys, monkeypatch):
    monkeypatch.setattr("cli.console.SHOW_AFTER_SECONDS", 0.05)
    monkeypatch.setattr("imageloop.progress.SECONDS_BETWEEN", 0.02)
    bars = Bars()
    token = progress.listener.set(bars)
    try:
        with progress.waiting("keep raw with DVC"):
            time.sleep(0.3)
    finally:
        progress.listener.reset(token)

    assert capsys.readouterr().err.startswith("  keep raw with DVC: 0 s\n")
    bars._terminal = True
    bars.start("keep raw with DVC", 0)
    bars._started -= 5
    bars.advance(0)
    assert bars._bar.tasks[0].total is None
    bars.finish()


def test_a_bar_is_drawn_in_a_terminal(monkeypatch):
    bars = Bars()
    bars._terminal = True
    bars.start("decode", 10)
    bars._started -= 5

    bars.advance(4)
    drawn = bars._bar.tasks[0].completed
    bars.finish()

    assert drawn == 4
    assert bars._bar is None


def test_only_the_result_reaches_standard_output(capfd):
    with result_alone_on_stdout() as output:
        os.write(1, b"noise of a library")
        os.write(output, b"result\n")

    captured = capfd.readouterr()
    assert captured.out == "result\n"
    assert "noise" in captured.err


def test_the_log_of_a_long_monitor_is_not_deleted_while_it_writes(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.logs.mkdir(parents=True)
    for index in range(MAX_LOGS + 5):
        (workspace.logs / f"2020{index:04d}.log").touch()
        os.utime(workspace.logs / f"2020{index:04d}.log", (1000 + index, 1000 + index))
    (workspace.logs / "20200000.log").write_text("still running")

    Session("train", workspace)

    left = {log.name for log in workspace.logs.glob("*.log")}
    assert "20200000.log" in left
    assert "20200001.log" not in left


def test_old_logs_are_deleted(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.logs.mkdir(parents=True)
    for index in range(MAX_LOGS + 5):
        (workspace.logs / f"2020{index:04d}.log").touch()

    Session("train", workspace)

    assert len(list(workspace.logs.glob("*.log"))) == MAX_LOGS


def test_tracked_items_reach_the_listener_also_when_the_work_breaks_off():
    events = []

    class Ear:
        def start(self, what, total):
            events.append((what, total))

        def advance(self, count):
            events.append(count)

        def finish(self):
            events.append("end")

    token = progress.listener.set(Ear())
    try:
        for item in progress.track([1, 2, 3], "work", 3):
            if item == 2:
                break
    finally:
        progress.listener.reset(token)

    assert events[:2] == [("work", 3), 1]
