"""Run a command of the command line from a step: it may start pipelines, which a step cannot."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from imageloop.errors import ImageLoopError
from imageloop.settings import Settings
from imageloop.workspace_paths import PROJECT

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes puts what a pod proves itself with
LAST_WORDS = 500
IMAGE_VARIABLE = "IMAGELOOP_PIPELINE_IMAGE"  # one that is pushed already, by its digest; by default each run builds its own


def run_command(command: str, settings: Settings) -> dict[str, Any]:
    """The result of `python run.py COMMAND --json` with these settings, on the stack of this step.

    Raises: ImageLoopError with the error message of the command.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
        done = subprocess.run(
            [sys.executable, PROJECT / "run.py", command, "--json", "--config", folder / "settings.yaml"],
            cwd=PROJECT, env=os.environ | _in_a_pod(folder) | _own_image(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise ImageLoopError(
            done.stderr.strip().rpartition("error: ")[2][:LAST_WORDS] or f"{command} ended with {done.returncode}"
        )
    return dict(json.loads(done.stdout))


def _in_a_pod(folder: Path) -> dict[str, str]:
    """A kubeconfig from a pod's service account, with the orchestrator's context, which the orchestrator requires of clients.

    Source: `load_incluster_config` of Kubernetes' Python client, which names the files of a pod.
    """
    if not (ACCOUNT / "token").exists() or os.environ.get("KUBECONFIG"):
        return {}
    from zenml.client import Client

    context = getattr(Client().active_stack.orchestrator.config, "kubernetes_context", None) or "pod"
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server, "certificate-authority": str(ACCOUNT / "ca.crt")}}],
        "users": [{"name": "account", "user": {"tokenFile": str(ACCOUNT / "token")}}],
        "contexts": [{"name": context, "context": {"cluster": "here", "user": "account"}}],
        "current-context": context,
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(folder / "kubeconfig")}


def _own_image() -> dict[str, str]:
    """A run that starts in a pod uses the pod's image: it cannot build another one."""
    from zenml import get_step_context
    from zenml.constants import ORCHESTRATOR_DOCKER_IMAGE_KEY

    build = get_step_context().pipeline_run.build
    return {} if build is None else {IMAGE_VARIABLE: build.get_image(ORCHESTRATOR_DOCKER_IMAGE_KEY)}
