"""What is shown while a command runs, and where the rest is logged.

Standard output carries the result alone. Progress and decisions go to standard error; everything that libraries say,
and every traceback, goes to a log file, which an error message names.
"""

import atexit
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from imageloop import progress
from imageloop.adapters.quiet_libraries import never_proxy_loopback, quiet_libraries
from imageloop.workspace_paths import Workspace

OUR_LOGGERS = ("cli", "imageloop", "seldon", "steps", "operations")
SHOW_AFTER_SECONDS = 2.0
LINE_EVERY_SECONDS = 10.0
MAX_LOGS = 50


class Bars:
    """A progress bar with rate and time left in a terminal, a line every ten seconds elsewhere; for work of more than two seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._what, self._total, self._done, self._started, self._reported = "", 0, 0, 0.0, 0.0
        self._bar: Progress | None = None

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._started = self._reported = time.monotonic()

    def advance(self, count: int) -> None:
        self._done = min(self._done + count, self._total) if self._total else self._done + count
        if time.monotonic() - self._started < SHOW_AFTER_SECONDS:
            return
        if self._terminal:
            self._draw()
        elif time.monotonic() - self._reported > LINE_EVERY_SECONDS or self._reported == self._started:
            self._reported = time.monotonic()
            print(f"  {self._what}: {self._so_far()}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _so_far(self) -> str:
        seconds = time.monotonic() - self._started
        if not self._done:
            return f"{seconds:.0f} s"
        rate = self._done / seconds
        if not self._total:
            return f"{self._done:,}, {rate:,.1f}/s"
        return f"{self._done:,} of {self._total:,}, {rate:,.1f}/s, {(self._total - self._done) / rate:,.0f} s left"

    def _draw(self) -> None:
        if self._bar is None:
            counts = [MofNCompleteColumn(), TextColumn("{task.fields[rate]}")] if self._total or self._done else []
            left = [TimeRemainingColumn()] if self._total else []
            columns = (TextColumn("  {task.description}"), BarColumn(), *counts, TimeElapsedColumn(), *left)
            self._bar = Progress(*columns, console=RichConsole(stderr=True), transient=True)
            self._bar.add_task(self._what, total=self._total or None, rate="")
            self._bar.start()
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._bar.task_ids[0], completed=self._done, rate=f"{rate:,.1f}/s")


class Session:
    """Runs one command with a log file, and keeps standard output free for its result."""

    def __init__(self, command: str, workspace: Workspace) -> None:
        workspace.logs.mkdir(parents=True, exist_ok=True)
        self.log = workspace.logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{command}-{os.getpid()}.log"
        self._handlers = [_file_handler(self.log), _console_handler()]
        _delete_old(workspace.logs)

    def __enter__(self) -> Self:
        quiet_libraries()
        never_proxy_loopback()
        logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, is no reason for a traceback
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        for handler in self._handlers:
            root.addHandler(handler)
        logging.captureWarnings(True)
        self._token = progress.listener.set(Bars())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            logging.getLogger(__name__).debug("the command failed", exc_info=error)
            self._handlers[0].handle(
                logging.makeLogRecord(
                    {"msg": "the command failed", "levelname": "ERROR", "levelno": 40, "exc_info": (kind, error, trace)}
                )
            )
        progress.listener.reset(self._token)
        # ZenML's log handler starts a thread when Python flushes it at exit, which an exiting interpreter refuses: flush now.
        logging.shutdown()
        atexit.unregister(logging.shutdown)
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)


@contextmanager
def result_alone_on_stdout() -> Iterator[int]:
    """Send everything that is written to standard output to standard error, and yield a descriptor for the result."""
    sys.stdout.flush()
    result = os.dup(1)
    os.dup2(2, 1)
    try:
        yield result
    finally:
        sys.stdout.flush()
        os.dup2(result, 1)
        os.close(result)


def _file_handler(log: Path) -> logging.Handler:
    handler = logging.FileHandler(log, delay=True, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda record: record.name != "root" or record.levelno > logging.INFO)  # ONNX prints each weight there
    return handler


def _console_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    handler.addFilter(lambda record: record.name.partition(".")[0] in OUR_LOGGERS and record.levelno >= logging.INFO)
    return handler


def _delete_old(logs: Path) -> None:
    def written_at(log: Path) -> float:
        try:
            return log.stat().st_mtime
        except FileNotFoundError:  # another command deleted it
            return 0.0

    for old in sorted(logs.glob("*.log"), key=written_at)[:-MAX_LOGS]:  # that of a monitor is old and still written
        old.unlink(missing_ok=True)
