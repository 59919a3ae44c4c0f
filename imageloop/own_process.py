"""Do work in a process of its own, whose memory is given back when the work is done."""

import copy
import logging
import logging.handlers
import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from imageloop import progress
from imageloop.end_with_parent import end_with_parent


def run_in_own_process[Result](work: Callable[..., Result], *arguments: Any) -> Result:
    """Call `work(*arguments)` in a new interpreter, and show its log records and its progress here.

    Function, arguments and result are pickled. What the work raises is raised here, and the new process ends with this one.

    Raises: ChildProcessError where the process ends before its work does, as when the machine lacks memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments))
    process.start()
    sender.close()  # or its end would never be seen
    try:
        result: Result = _receive(receiver)
    except EOFError:
        process.join()
        code = process.exitcode
        raise ChildProcessError(f"expected the result of another process, got its end with exit code {code}") from None
    except KeyboardInterrupt:
        process.kill()
        raise
    finally:
        process.join()
        receiver.close()
    return result


def _receive(receiver: Connection) -> Any:
    """Handle messages until the last one, which is a result or an error."""
    listener = progress.listener.get()
    while True:
        kind, *content = receiver.recv()
        match kind:
            case "log":
                logging.getLogger(content[0].name).handle(content[0])
            case "progress":
                name, *arguments = content
                getattr(listener, name)(*arguments)
            case "result":
                return content[0]
            case "error":
                raise content[0]


class _Sender(logging.handlers.QueueHandler):
    """Sends log records, progress and the result to the parent, from any thread."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]  # `enqueue` needs none
        self._connection = connection
        self._one_at_a_time = Lock()

    def enqueue(self, record: logging.LogRecord) -> None:
        self.send("log", record)

    def send(self, *message: Any) -> None:
        with self._one_at_a_time:
            self._connection.send(message)


class _Progress:
    """The listener of the new process."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender

    def start(self, what: str, total: int) -> None:
        self._sender.send("progress", "start", what, total)

    def advance(self, count: int) -> None:
        self._sender.send("progress", "advance", count)

    def finish(self) -> None:
        self._sender.send("progress", "finish")


def _work(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The whole of the new process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of a terminal; the parent decides
    sender = _Sender(connection)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(sender)
    logging.captureWarnings(capture=True)
    progress.listener.set(_Progress(sender))
    try:
        sender.send("result", work(*arguments))
    except Exception as error:
        error.add_note(traceback.format_exc())  # pickling drops it
        sender.send("error", _as_sent(error))
    finally:
        logging.getLogger().removeHandler(sender)


def _as_sent(error: Exception) -> Exception:
    """The error itself where it can be made again from its arguments, else its description."""
    try:
        copy.copy(error)  # made again as pickle does
    except Exception:  # whatever its class does when it is made again
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
