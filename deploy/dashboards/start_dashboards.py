"""Start ZenML's dashboard and MLflow's interface for this site, until Ctrl-C: python deploy/dashboards/start_dashboards.py

Both read the stores of the active stack's folder; no login is asked for, so they listen on loopback alone.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from imageloop.adapters.quiet_libraries import never_proxy_loopback, quiet_libraries
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.local.site_folders import free_port

READY_SECONDS = 120.0
ZENML = {  # no login, no survey, no advertisement, no telemetry
    "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH", "ZENML_SERVER_AUTO_ACTIVATE": "true", "ZENML_SERVER_DISPLAY_ANNOUNCEMENTS": "false",
    "ZENML_SERVER_DISPLAY_UPDATES": "false", "ZENML_ANALYTICS_OPT_IN": "false",
}  # fmt: skip
ANSWERED = {"finished_onboarding_survey": True, "overview_tour_done": True}  # as the dashboard stores it
MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def main() -> None:
    """Start both, print their addresses, and stop both when one ends or Ctrl-C is pressed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zenml-port", type=int, default=8237)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    arguments = parser.parse_args()
    quiet_libraries()
    never_proxy_loopback()
    workspace = Workspace.current()
    workspace.logs.mkdir(parents=True, exist_ok=True)
    store = _store()
    _leave_survey_out()
    ports = {"zenml": free_port(arguments.zenml_port), "mlflow": free_port(arguments.mlflow_port)}
    commands = _commands(ports, workspace)
    environments = {"zenml": ZENML | {"ZENML_STORE_URL": store}, "mlflow": MLFLOW}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (workspace.logs / f"{name}-dashboard.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    command, env=os.environ | environments[name], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        for name, port in ports.items():
            _wait_until_ready(f"http://127.0.0.1:{port}/health", running[name], workspace.logs / f"{name}-dashboard.log")
        sys.stderr.write(
            f"ZenML   http://127.0.0.1:{ports['zenml']}/projects/default/runs\n"
            f"MLflow  http://127.0.0.1:{ports['mlflow']}/#/experiments?workflowType=machine_learning\n"
        )
        while all(process.poll() is None for process in running.values()):
            time.sleep(1)
    except KeyboardInterrupt:
        return
    finally:
        for process in running.values():
            _end(process)


def _commands(ports: dict[str, int], workspace: Workspace) -> dict[str, list[str]]:
    module = [sys.executable, "-W", "ignore", "-m"]
    return {
        "zenml": [*module, "uvicorn", "zenml.zen_server.zen_server_api:app", "--port", str(ports["zenml"])],
        "mlflow": [
            *module, "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{workspace.state / 'mlflow.db'}", "--default-artifact-root", (workspace.state / "mlartifacts").as_uri(),
        ],
    }  # fmt: skip


def _store() -> str:
    """Return the address of ZenML's store. Exits where that is a server, which has a dashboard of its own."""
    from zenml.config.global_config import GlobalConfiguration

    url = str(GlobalConfiguration().store_configuration.url)
    if url.startswith("http"):
        sys.exit(f"ZenML's store is the server {url}, which has a dashboard: open that address")
    return url


def _leave_survey_out() -> None:
    """Answer what the dashboard asks a new user first: no mail, no survey, no tour."""
    from zenml.client import Client

    client = Client()
    user = client.active_user
    if user.email_opted_in is None or not user.user_metadata.get("finished_onboarding_survey"):
        client.update_user(
            user.id, updated_email_opt_in=bool(user.email_opted_in), updated_metadata=user.user_metadata | ANSWERED
        )


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (OSError, urllib.error.URLError):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"expected {url} to respond, got no response; {log} has the reason")
            time.sleep(0.3)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers, which are in its process group."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    process.wait()


if __name__ == "__main__":
    main()
