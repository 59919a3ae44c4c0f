"""Run Prometheus and Alertmanager for the deployments of this machine, until Ctrl-C: python deploy/observability/start_prometheus.py.

They are installed from the system's packages (Debian: prometheus, prometheus-alertmanager).
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import yaml

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
WAIT_SECONDS, REFRESH_SECONDS = 5, 60
ALERTMANAGER = ("prometheus-alertmanager", "alertmanager")


def targets_of(status: dict[str, object]) -> list[dict[str, object]]:
    """List every replica for Prometheus, with the deployment and the predictor that it belongs to."""
    found: list[dict[str, object]] = []
    for deployment in status["deployments"]:  # type: ignore[attr-defined]
        for predictor in deployment["predictors"]:
            addresses = [urlsplit(replica["address"]).netloc or replica["address"] for replica in predictor["replicas"]]
            labels = {"deployment": f"{deployment['namespace']}/{deployment['name']}", "replica_of": predictor["name"]}
            found.append({"targets": addresses, "labels": labels})
    return found


def write_site(folder: Path, alertmanager: str) -> None:
    """A copy of the configuration for this site: where its Alertmanager (host:port) is, and a receiver that needs no secret."""
    shutil.copytree(FOLDER / "prometheus" / "rules", folder / "rules", dirs_exist_ok=True)
    text = (FOLDER / "prometheus" / "prometheus.yml").read_text().replace("127.0.0.1:9093", alertmanager)
    (folder / "prometheus.yml").write_text(text)
    routes = {"receiver": "here", "group_by": ["alertname", "deployment", "model"], "group_wait": "1s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump({"route": routes, "receivers": [{"name": "here"}]}))


def commands(folder: Path, prometheus_port: int, alertmanager_port: int) -> list[list[str]]:
    """Make the command lines of Prometheus and Alertmanager. Raises: SystemExit where one is not installed."""
    alertmanager = next((name for name in ALERTMANAGER if shutil.which(name)), None)
    if alertmanager is None or shutil.which("prometheus") is None:
        sys.exit(
            "error: expected prometheus and alertmanager, got them not both; on Debian: apt-get install prometheus prometheus-alertmanager"
        )
    prometheus = {
        "config.file": f"{folder}/prometheus.yml",
        "storage.tsdb.path": f"{folder}/data",
        "web.listen-address": f"127.0.0.1:{prometheus_port}",
    }
    alerts = {
        "config.file": f"{folder}/alertmanager.yml",
        "storage.path": f"{folder}/alerts",
        "web.listen-address": f"127.0.0.1:{alertmanager_port}",
        "cluster.listen-address": "",
    }
    return [
        [name, *(f"--{option}={value}" for option, value in options.items())]
        for name, options in (("prometheus", prometheus), (alertmanager, alerts))
    ]


def main() -> None:
    """Start both unless they run already, update Prometheus' targets every few seconds, and stop both on exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".imageloop" / "observability")
    parser.add_argument("--prometheus-port", type=int, default=9090)
    parser.add_argument("--alertmanager-port", type=int, default=9093)
    parser.add_argument("--beside", metavar="URL", help="start neither: both run elsewhere, this is where Alertmanager is")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    write_site(folder, urlsplit(arguments.beside).netloc if arguments.beside else f"127.0.0.1:{arguments.alertmanager_port}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = [] if arguments.beside else _start(folder, arguments.prometheus_port, arguments.alertmanager_port)
    try:
        written_for: object = None
        written_at = -math.inf
        while all(process.poll() is None for process in running):
            now = _what_serves()
            if (now != written_for or time.monotonic() - written_at > REFRESH_SECONDS) and _write_targets(folder):
                written_for, written_at = now, time.monotonic()
            time.sleep(WAIT_SECONDS)
        name = next(Path(str(process.args[0])).name for process in running if process.poll() is not None)  # type: ignore[index]
        sys.exit(f"expected {name} to run, but it ended; {folder / name}.log has the reason (is its port taken?)")
    except KeyboardInterrupt:
        return
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _start(folder: Path, prometheus_port: int, alertmanager_port: int) -> list[subprocess.Popen[bytes]]:
    running = [
        subprocess.Popen(command, stdout=(folder / f"{Path(command[0]).name}.log").open("wb"), stderr=subprocess.STDOUT)
        for command in commands(folder, prometheus_port, alertmanager_port)
    ]
    sys.stderr.write(f"Prometheus: http://127.0.0.1:{prometheus_port}   Alertmanager: http://127.0.0.1:{alertmanager_port}\n")
    return running


def _what_serves() -> list[tuple[str, int]]:
    """Return a value that changes with the deployments of this machine; calling `status` each time would take a fifth of a core."""
    state = Path(os.environ.get("IMAGELOOP_HOME") or ROOT) / ".imageloop"
    found = [
        file for file in (state / "deployed.json", *sorted((state / "serving" / "deployments").glob("*.json"))) if file.exists()
    ]
    return [(str(file), file.stat().st_mtime_ns) for file in found]


def _write_targets(folder: Path) -> bool:
    """Whether it worked."""
    done = subprocess.run([sys.executable, ROOT / "run.py", "status", "--json"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        aside = folder / "targets.json.tmp"
        aside.write_text(json.dumps(targets_of(json.loads(done.stdout))))
        aside.replace(folder / "targets.json")
    return done.returncode == 0


if __name__ == "__main__":
    main()
