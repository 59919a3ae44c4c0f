"""What work in a process of its own shares with this one, and what it does not."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from imageloop import progress
from imageloop.errors import SettingsError
from imageloop.own_process import run_in_own_process


def pid_and_report(text: str) -> int:
    logging.getLogger("imageloop.of_the_work").info("read %s", text)
    with progress.counted("reading", 3) as advance:
        advance(2)
    return os.getpid()


class TwoArgumentsError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")


def refuse(kind: str) -> None:
    if kind == "with two arguments":  # which pickle cannot make again
        raise TwoArgumentsError("too_large", "64 megapixels")
    raise SettingsError("expected more")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, what: str, total: int) -> None:
        self.calls.append(("start", what, total))

    def advance(self, count: int) -> None:
        self.calls.append(("advance", count))

    def finish(self) -> None:
        self.calls.append(("finish",))


def test_result_log_records_and_progress_arrive(caplog):
    heard = Heard()
    token = progress.listener.set(heard)
    with caplog.at_level(logging.INFO):
        pid = run_in_own_process(pid_and_report, "what it needs")
    progress.listener.reset(token)

    assert pid != os.getpid()
    assert ("imageloop.of_the_work", "read what it needs") in [(record.name, record.getMessage()) for record in caplog.records]
    assert heard.calls == [("start", "reading", 3), ("advance", 2), ("finish",)]


def test_an_error_is_raised_here_with_the_trace_of_there():
    with pytest.raises(SettingsError, match="expected more") as caught:
        run_in_own_process(refuse, "plainly")
    assert "in refuse" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_pickled_keeps_its_text():
    with pytest.raises(RuntimeError, match="TwoArgumentsError: too_large: 64 megapixels"):
        run_in_own_process(refuse, "with two arguments")


def test_a_process_that_is_killed_is_an_error():
    with pytest.raises(ChildProcessError, match="exit code -9"):
        run_in_own_process(die)


def test_it_ends_with_the_process_that_started_it(tmp_path):
    """The one that started it is killed, as a user or the system may do; its work would else go on beside the next one's."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import os, time, sys
            from pathlib import Path
            from imageloop.own_process import run_in_own_process

            def work():
                Path(sys.argv[1]).write_text(str(os.getpid()))
                time.sleep(120)

            if __name__ == "__main__":
                run_in_own_process(work)
        """)
    )
    written = tmp_path / "pid"
    starter = subprocess.Popen([sys.executable, program, written])
    worker = _eventually(lambda: written.exists() and written.read_text())
    starter.kill()
    starter.wait()

    assert _eventually(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2])


def _eventually(look):
    for _ in range(300):
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it never happened")
