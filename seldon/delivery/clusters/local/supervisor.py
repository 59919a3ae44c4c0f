"""A client of supervisord, which keeps our processes alive: it starts supervisord, adds programs and reads their state."""

import os
import shlex
import shutil
import subprocess
import sys
import time
import xmlrpc.client  # nosec B411
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from imageloop.atomic_files import replacing
from imageloop.workspace_paths import PROJECT
from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE, Layout

STOP_SECONDS = 25  # more than a service's own grace
CONFIG = """[unix_http_server]
file={socket}
chmod=0700
[supervisord]
logfile={log}
logfile_maxbytes=5MB
logfile_backups=3
pidfile={folder}/supervisord.pid
directory={root}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = programs/*.conf
"""
PROGRAM = """[program:{name}]
command=/bin/sh {script}
autorestart=true
startsecs=1
startretries=5
stopwaitsecs={stop}
killasgroup=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=3
redirect_stderr=true
"""
PASSED_ON = (
    "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "IMAGELOOP_BIND", "IMAGELOOP_COMPUTE_THREADS", "IMAGELOOP_DEVICE", "IMAGELOOP_MAX_BATCH", "IMAGELOOP_MAX_WAIT_MS", "IMAGELOOP_MAX_WAITING",
    "IMAGELOOP_ORIGINS", "IMAGELOOP_PRICE_PER_CPU_HOUR", "IMAGELOOP_PRICE_PER_GIB_HOUR", "IMAGELOOP_VERIFICATION_KEY",
)  # fmt: skip
PASSED_ON_PREFIXES = (
    "LC_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "ORT_", "IMAGELOOP_RETAIN", "IMAGELOOP_KEEP_", "IMAGELOOP_KEPT_", "OTEL_", "CUDA_", "NVIDIA_",
)  # fmt: skip


class Supervisor:
    """Controls the supervisord of a site."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def is_running(self) -> bool:
        try:
            self._call("getState")
        except (DeploymentError, xmlrpc.client.Fault):
            return False
        return True

    def start(self) -> None:
        """Start it where it is not, without a program; what another one that was killed left goes on until `end_orphans`."""
        if self.is_running():
            return
        layout = self._layout
        for file in layout.programs.glob("*.conf"):
            file.unlink()
        for folder in (layout.programs, layout.logs, layout.folder / "scripts"):
            folder.mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(
            socket=layout.socket, log=layout.supervisor_log, folder=layout.folder, root=PROJECT
        )  # it searches programs beside this file: a space in a path would split it
        with replacing(layout.supervisor_config) as aside:
            aside.write_text(text.replace("%", "%%"))
        layout.socket.unlink(missing_ok=True)
        program = Path(sys.executable).with_name("supervisord")
        command = [sys.executable, "-W", "ignore", str(program), "-c", str(layout.supervisor_config)]
        done = subprocess.run(
            command, env=_environment(layout), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        _wait(self.is_running, 10, f"expected supervisord to start, but it did not ({done.stderr.strip()[-300:]})")

    def stop(self) -> None:
        """End it and all that it started."""
        if self.is_running():
            pid = int(self._call("getPID"))
            self._call("shutdown")
            _wait(lambda: not psutil.pid_exists(pid), STOP_SECONDS + 5, "expected supervisord to end, but it did not")
        self.end_orphans()
        self._layout.socket.unlink(missing_ok=True)

    def add(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Run a command from now on; it starts again when it ends."""
        script = self._layout.folder / "scripts" / f"{name}.sh"
        exports = [f"export {key}={shlex.quote(value)}" for key, value in sorted(environment.items())]
        with replacing(script) as aside:
            aside.touch(mode=0o600)  # it may hold keys
            aside.write_text("\n".join([*exports, f"exec {shlex.join(command)}", ""]))
        text = PROGRAM.format(name=name, script=shlex.quote(str(script)), stop=STOP_SECONDS, logs=self._layout.logs)
        with replacing(self._layout.programs / f"{name}.conf") as aside:
            aside.write_text(text.replace("%", "%%"))
        self._call("reloadConfig")
        try:
            self._call("addProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_ADDED:
                raise DeploymentError(f"expected supervisord to run '{name}', got: {fault.faultString}") from fault
            if self.states().get(name) not in ("RUNNING", "STARTING", "BACKOFF"):  # it was given up
                self._call("startProcess", name)

    def remove(self, name: str) -> None:
        """End a program for good; it may finish what it is at."""
        for method in ("stopProcess", "removeProcessGroup"):
            try:
                self._call(method, name)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in (Faults.BAD_NAME, Faults.NOT_RUNNING):
                    raise DeploymentError(f"expected supervisord to end '{name}', got: {fault.faultString}") from fault
            if method == "stopProcess":  # also the state of one that another command has stopped
                _wait(
                    lambda: self.states().get(name) != "STOPPING",
                    STOP_SECONDS + 5,
                    f"expected '{name}' to end, but it does not",
                )
        for path in (self._layout.programs / f"{name}.conf", self._layout.folder / "scripts" / f"{name}.sh"):
            path.unlink(missing_ok=True)

    def kill(self, name: str) -> None:
        """End a program that does not respond, and that would not heed a request to end: it may be stopped."""
        try:
            self._call("signalProcess", name, "KILL")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (Faults.BAD_NAME, Faults.NOT_RUNNING):
                raise DeploymentError(f"expected supervisord to end '{name}', got: {fault.faultString}") from fault

    def states(self) -> dict[str, str]:
        """The state of each program by name: RUNNING, STARTING, BACKOFF, FATAL, ..."""
        return {part["name"]: part["statename"] for part in self._call("getAllProcessInfo")}

    def starts(self, name: str) -> int:
        """Count how often a program was started, as far as the log goes back."""
        if not self._layout.supervisor_log.exists():
            return 0
        return self._layout.supervisor_log.read_text(errors="replace").count(f"spawned: '{name}'")

    def orphans(self) -> list[psutil.Process]:
        """Find processes of this site that a killed supervisor left behind."""
        marked = [process for process in psutil.process_iter() if _site_of(process) == str(self._layout.folder)]
        if not self.is_running():
            return marked
        supervisor = psutil.Process(int(self._call("getPID")))
        kept = {supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))}
        return [process for process in marked if process.pid not in kept]

    def end_orphans(self) -> None:
        found = self.orphans()
        for process in found:
            _quietly(process.terminate)
        _, alive = psutil.wait_procs(found, timeout=STOP_SECONDS)
        for process in alive:
            _quietly(process.kill)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Raises: xmlrpc.client.Fault with supervisord's error; DeploymentError where it does not respond."""
        transport = SupervisorTransport(None, None, f"unix://{self._layout.socket}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault:
            raise
        except (OSError, xmlrpc.client.Error) as error:
            raise DeploymentError(f"expected a response from supervisord, got none ({error})") from error


def find_program(name: str) -> Path:
    """A program that was installed beside this Python.

    Raises: DeploymentError if it was not.
    """
    path = Path(sys.executable).with_name(name)
    found = path if path.exists() else shutil.which(name)
    if found is None:
        raise DeploymentError(f"expected the program '{name}', got it nowhere; run: make setup")
    return Path(found)


def _environment(layout: Layout) -> dict[str, str]:
    """Select the variables that programs need. Those that decode uploaded images get no keys of registries, databases and buckets."""
    kept = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
    return kept | {SITE_VARIABLE: str(layout.folder), "PYTHONWARNINGS": "ignore"}


def _site_of(process: psutil.Process) -> str | None:
    try:
        return str(process.environ().get(SITE_VARIABLE))
    except psutil.Error:
        return None


def _quietly(act: Any) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        return


def _wait(condition: Any, seconds: float, sentence: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DeploymentError(sentence)
        time.sleep(0.05)
