"""Serve `ImageClassifier` as `seldon-core-microservice` would, under Gunicorn with settings of our own.

    python -m seldon.launcher

It reads what Seldon's operator sets (PREDICTIVE_UNIT_HTTP_SERVICE_PORT, PREDICTIVE_UNIT_PARAMETERS, PREDICTOR_ID,
PREDICTIVE_UNIT_GRPC_SERVICE_PORT, GUNICORN_WORKERS). What differs from Seldon's own command: it binds loopback unless
IMAGELOOP_BIND says otherwise, serves /metrics on the same port and gRPC in the same process, ends at once on SIGTERM when it is
idle, and its errors are HTTP responses.
"""

import contextlib
import ctypes
import json
import logging
import math
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageloop.abandoned_work import own_folder

# Before Seldon's modules, which read the environment when they are imported: bodies reach `predict_raw` unparsed.
os.environ["PAYLOAD_PASSTHROUGH"] = "true"
os.environ["INCLUDE_METRICS_IN_CLIENT_RESPONSE"] = "false"
# Before numpy: its threads for one small product spin on the cores that the model needs, and double the CPU time of a prediction.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(own_folder("metrics"))

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from imageloop.end_with_parent import end_with_parent
from imageloop.errors import ImageLoopError
from seldon.service import prometheus_metrics
from seldon.service.asgi_worker import ServiceWorker, drain_seconds
from seldon.service.concurrency_limit import num_workers

if TYPE_CHECKING:
    from seldon.service.asgi_app import ServiceApp
    from seldon.service.model_server_app import ModelServerApp

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
MAPPED_BYTES = 8 * 2**20


class Application(BaseApplication):
    """One model in Gunicorn's workers, each of which verifies and opens it for itself.

    The process that keeps the workers alive imports none of what they need, and so takes little memory.
    """

    WORKER: type[ServiceWorker] = ServiceWorker

    def __init__(self) -> None:
        self._service: ServiceApp | ModelServerApp | None = None
        super().__init__()

    def load_config(self) -> None:
        host = os.environ.get("IMAGELOOP_BIND", "127.0.0.1")
        port = os.environ.get("PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "9000")
        settings = {
            "bind": f"{host}:{port}",
            "workers": num_workers(),
            "worker_class": self.WORKER,
            "threads": 1,
            "asgi_lifespan": "off",
            "asgi_disconnect_grace_period": 0,
            "keepalive": 75,  # longer than the gateway's own, or it would now and then write into a closing connection
            "timeout": 60,
            "graceful_timeout": 15 + math.ceil(drain_seconds()),
            "control_socket_disable": True,
            "loglevel": "warning",
            "post_fork": lambda _server, _worker: _prepare_worker(),
            "worker_exit": lambda _server, _worker: self._end_worker(),
            "child_exit": lambda _server, worker: prometheus_metrics.worker_is_gone(worker.pid),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _end_worker(self) -> None:
        """Flush the records and exit. Python's own shutdown destroys the model while threads still use it: it aborts, or hangs."""
        if self._service is not None:
            self._service.close()
        logging.shutdown()
        os._exit(0)

    def open(self) -> "ServiceApp | ModelServerApp":
        """What a worker serves. Raises: ImageLoopError, TypeError where it cannot be opened."""
        from seldon.service.seldon_app import open_model, service_app

        return service_app(open_model())

    def load(self) -> Any:
        """Load the model in each worker. One that cannot load would be replaced for ever; this exit code ends the service instead."""
        try:
            self._service = self.open()
            return self._service
        except (ImageLoopError, TypeError) as error:
            logging.getLogger(__name__).critical("%s", error)
        except Exception:
            logging.getLogger(__name__).critical("the model cannot be loaded", exc_info=True)
        logging.shutdown()
        os._exit(Arbiter.WORKER_BOOT_ERROR)


def _prepare_worker() -> None:
    """Let the worker open as many connections as the system allows; on Linux, also end it with its master, which would hold the port
    for many seconds, and give freed memory back.

    glibc raises the size from which it maps memory with the largest block that was freed, and keeps what lies below in the heap
    of each thread: after a few large images a worker would hold twice what it needs.
    """
    end_with_parent()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a system may have no number for it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
            libc.mallopt(M_TRIM_THRESHOLD, MAPPED_BYTES)


class JsonLines(logging.Formatter):
    """Formats log records as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def serve(application: type[Application]) -> None:
    """Serve until SIGTERM."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    prometheus_metrics.start_afresh(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    application().run()


if __name__ == "__main__":
    serve(Application)
