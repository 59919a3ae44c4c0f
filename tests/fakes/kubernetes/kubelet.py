"""Jobs that really run: each pod is a process with a root of its own, which holds what the image `pipeline` holds and cannot be written to.

Environment, secrets, volumes, user, host name and service account are those of the pod's spec.
"""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kubernetes.resources import Resources

PROJECT = Path(__file__).parents[3]
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")
USER_LINE = "imageloop:x:10001:10001::/home/imageloop:/usr/sbin/nologin\n"  # as in the image
STAGE = re.compile(r"^FROM installer AS pipeline-environment$(.*?)^FROM", re.MULTILINE | re.DOTALL)


def in_image() -> list[str]:
    """What the Dockerfile copies into the image `pipeline`."""
    (stage,) = STAGE.findall((PROJECT / "Dockerfile").read_text())
    return [line.split()[1] for line in stage.splitlines() if line.startswith("COPY") and "requirements" not in line]


class Kubelet:
    """Controller of Jobs, scheduler and kubelet in one. `ills` says what shall befall the pods of a step, one after the other."""

    def __init__(self, resources: Resources, folder: Path, api_url: str, authority: Path, tokens: dict[str, str]) -> None:
        if shutil.which("bwrap") is None or subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], check=False).returncode:
            pytest.skip("no bubblewrap here that may make a root of its own")
        self._resources, self._folder, self._authority, self._tokens = resources, folder, authority, tokens
        self._api_port = api_url.rpartition(":")[2]
        self._processes: dict[str, subprocess.Popen] = {}
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self.ills: dict[str, list[str]] = {}
        resources.created, resources.deleted, resources.log = self._created, self._deleted, self.log

    def log(self, pod: str) -> str:
        file = self._folder / pod / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def logs(self) -> str:
        """Of all pods, for a failed test."""
        return "\n".join(
            f"--- {file.parent.name}\n{file.read_text(errors='replace')}" for file in sorted(self._folder.glob("*/log"))
        )

    def trigger(self, cronjob: str) -> dict[str, Any]:
        """As if its time had come."""
        (found,) = (one for one in self._resources.of_kind("cronjobs") if one["metadata"]["name"] == cronjob)
        template = found["spec"]["jobTemplate"]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": (template.get("metadata") or {}) | {"name": f"{cronjob}-{uuid.uuid4().hex[:6]}"},
            "spec": template["spec"],
        }
        return self._resources.create("jobs", found["metadata"]["namespace"], job)

    def stop(self) -> None:
        self._stopped = True
        for process in list(self._processes.values()):
            _end(process)
        for thread in self._threads:
            thread.join(20)

    def _created(self, plural: str, value: dict[str, Any]) -> None:
        if plural == "jobs":
            thread = threading.Thread(target=self._run_job, args=(value,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _deleted(self, plural: str, value: dict[str, Any]) -> None:
        if plural != "jobs":
            return
        name = value["metadata"]["name"]
        for pod in self._resources.of_kind("pods"):
            if pod["metadata"]["labels"].get("job-name") == name and (process := self._processes.get(pod["metadata"]["name"])):
                _end(process)

    def _run_job(self, job: dict[str, Any]) -> None:
        """Pod after pod, as the Job's policy says."""
        failures = 0
        while not self._stopped:
            pod = self._make_pod(job)
            self._run_pod(pod)
            action = _action(job["spec"], pod["status"])
            if action == "Complete":
                return self._conclude(job, "Complete", "")
            failures += action == "Count"
            if action == "FailJob" or failures > job["spec"].get("backoffLimit", 6):
                return self._conclude(job, "Failed", "Job has reached the specified backoff limit")
            if ("jobs", job["metadata"]["namespace"], job["metadata"]["name"]) not in self._resources.objects:
                return None
        return None

    @staticmethod
    def _conclude(job: dict[str, Any], kind: str, message: str) -> None:
        job["status"] = {"conditions": [{"type": kind, "status": "True", "message": message}]}

    def _make_pod(self, job: dict[str, Any]) -> dict[str, Any]:
        template, name = job["spec"]["template"], f"{job['metadata']['name']}-{uuid.uuid4().hex[:5]}"
        labels = ((template.get("metadata") or {}).get("labels") or {}) | {"job-name": job["metadata"]["name"]}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner | {"controller": True}]},
            "spec": template["spec"],
        }
        return self._resources.create("pods", job["metadata"]["namespace"], pod)

    def _run_pod(self, pod: dict[str, Any]) -> None:
        labels = pod["metadata"]["labels"]
        ills = self.ills.get(labels.get("step_name", "orchestrator"), [])
        ill = ills.pop(0) if ills else ""
        if ill == "ImagePullBackOff":
            pod["status"] = _status("Pending", {"waiting": {"reason": ill, "message": "no such image"}})
            while not self._stopped and ("jobs", pod["metadata"]["namespace"], labels["job-name"]) in self._resources.objects:
                time.sleep(0.1)
            pod["status"] = _status("Failed", {"terminated": {"exitCode": 1, "reason": "Error"}})
            return
        process = self._start(pod)
        pod["status"] = _status("Running", {"running": {"startedAt": _now()}})
        if ill:
            time.sleep(0.5)
            _end(process)
        code = process.wait()
        del self._processes[pod["metadata"]["name"]]
        reason = "OOMKilled" if ill == "OOMKilled" else "Completed" if code == 0 else "Error"
        pod["status"] = _status(
            "Failed" if code else "Succeeded", {"terminated": {"exitCode": 137 if code < 0 else code, "reason": reason}}
        )
        if ill == "Evicted":
            pod["status"] |= {
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
            }

    def _start(self, pod: dict[str, Any]) -> subprocess.Popen:
        name = pod["metadata"]["name"]
        (container,) = pod["spec"]["containers"]
        folder = self._folder / name
        folder.mkdir(parents=True)
        users = folder / "passwd"
        users.write_text(Path("/etc/passwd").read_text() + USER_LINE)
        root = [
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            *self._image(),
            "--ro-bind",
            str(users),
            "/etc/passwd",
            *self._volumes(pod, folder),
        ]
        root += self._account(pod, folder)
        user = str(container["securityContext"]["runAsUser"])
        own = [
            "--unshare-user",
            "--uid",
            user,
            "--gid",
            user,
            "--unshare-uts",
            "--hostname",
            name,
            "--unshare-pid",
            "--die-with-parent",
        ]
        environment = [word for key, value in self._environment(pod).items() for word in ("--setenv", key, value)]
        words = ["bwrap", *root, "--remount-ro", "/", *own, "--clearenv", *environment, "--chdir", "/app"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*words, *container["command"], *container.get("args", [])], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes[name] = process
        return process

    @staticmethod
    def _image() -> list[str]:
        words = []
        for part in SYSTEM:
            place = Path("/", part)
            if place.is_symlink():
                words += ["--symlink", str(place.readlink()), str(place)]
            elif place.exists():
                words += ["--ro-bind", str(place), str(place)]
        words += ["--ro-bind", sys.base_prefix, sys.base_prefix, "--ro-bind", sys.prefix, "/app/.venv"]
        return words + [word for part in in_image() for word in ("--ro-bind", str(PROJECT / part), f"/app/{part}")]

    def _volumes(self, pod: dict[str, Any], folder: Path) -> list[str]:
        words = []
        mounts = {mount["name"]: mount for mount in pod["spec"]["containers"][0].get("volumeMounts", [])}
        for volume in pod["spec"].get("volumes", []):
            place = folder / "volumes" / volume["name"]
            place.mkdir(parents=True)
            if "secret" in volume:
                for key, value in self._secret(volume["secret"]["secretName"], pod).items():
                    (place / key).write_bytes(value)
            mount = mounts[volume["name"]]
            words += ["--ro-bind" if mount.get("readOnly") else "--bind", str(place), mount["mountPath"]]
        return words

    def _account(self, pod: dict[str, Any], folder: Path) -> list[str]:
        """What proves to the API server who the pod is."""
        if pod["spec"].get("automountServiceAccountToken") is False:
            return []
        place = folder / "account"
        place.mkdir()
        (place / "token").write_text(self._tokens[pod["spec"].get("serviceAccountName", "default")])
        (place / "namespace").write_text(pod["metadata"]["namespace"])
        shutil.copy(self._authority, place / "ca.crt")
        return ["--tmpfs", "/run", "--symlink", "/run", "/var/run", "--ro-bind", str(place), ACCOUNT.removeprefix("/var")]

    def _environment(self, pod: dict[str, Any]) -> dict[str, str]:
        (container,) = pod["spec"]["containers"]
        found = {
            "PATH": "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": self._api_port,
            "DVC_SITE_CACHE_DIR": "/tmp/dvc", "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),
        }  # fmt: skip
        for source in container.get("envFrom") or []:
            found |= {key: value.decode() for key, value in self._secret(source["secretRef"]["name"], pod).items()}
        for variable in container.get("env") or []:
            if "value" in variable:
                found[variable["name"]] = variable["value"]
            else:
                expected = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self._secret(expected["name"], pod)[expected["key"]].decode()
        return {key: value for key, value in found.items() if value}

    def _secret(self, name: str, pod: dict[str, Any]) -> dict[str, bytes]:
        found = self._resources.objects["secrets", pod["metadata"]["namespace"], name]
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


def _action(spec: dict[str, Any], status: dict[str, Any]) -> str:
    """What a Job makes of a pod that ended. Source: Kubernetes' documentation of `podFailurePolicy`."""
    ended = status["containerStatuses"][0]["state"]["terminated"]
    if ended["exitCode"] == 0:
        return "Complete"
    conditions = {(one["type"], one["status"]) for one in status.get("conditions", [])}
    for rule in (spec.get("podFailurePolicy") or {}).get("rules", []):
        codes = rule.get("onExitCodes")
        if codes and (ended["exitCode"] in codes["values"]) == (codes["operator"] == "In"):
            return str(rule["action"])
        if any((one["type"], one.get("status", "True")) in conditions for one in rule.get("onPodConditions") or []):
            return str(rule["action"])
    return "Count"


def _status(phase: str, state: dict[str, Any]) -> dict[str, Any]:
    running = {"name": "main", "image": "imageloop-pipeline", "imageID": "", "ready": "running" in state, "restartCount": 0}
    return {"phase": phase, "containerStatuses": [running | {"state": state}]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
