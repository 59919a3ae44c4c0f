"""What Kubernetes itself keeps: Jobs, CronJobs, pods, secrets, behind its own schemas, its roles and its pod security."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kubernetes_validate

KUBERNETES = "1.35"
KINDS = {"pods": "Pod", "secrets": "Secret", "jobs": "Job", "cronjobs": "CronJob", "configmaps": "ConfigMap"}
VERSIONS = {"jobs": "batch/v1", "cronjobs": "batch/v1"}
PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+).*)?)?$"
)
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@dataclass(frozen=True)
class Request:
    """A path of the API, taken apart."""

    verb: str
    group: str
    plural: str
    namespace: str
    name: str
    sub: str

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.sub}" if self.sub else self.plural

    def is_allowed(self, namespace: str, rules: list[dict[str, Any]]) -> bool:
        """Whether a role of that namespace with these rules may do it."""
        return self.namespace == namespace and any(
            self.group in rule["apiGroups"] and self.resource in rule["resources"] and self.verb in rule["verbs"]
            for rule in rules
        )


def parse(method: str, path: str) -> Request | None:
    found = PATH.match(path)
    if found is None:
        return None
    name = found["name"] or ""
    verb = VERBS.get(method, "get" if name else "list")
    return Request(verb, found["group"] or "", found["plural"], found["namespace"] or "", name, found["sub"] or "")


class Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Resources:
    """Objects in memory. `created` and `deleted` are called for each, as for watching controllers."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []  # everything that ever came, as it came
        self.created: Callable[[str, dict[str, Any]], None] = lambda _plural, _value: None
        self.deleted: Callable[[str, dict[str, Any]], None] = lambda _plural, _value: None
        self.log: Callable[[str], str] = lambda _pod: ""
        self._lock = threading.RLock()

    def answer(self, request: Request, query: dict[str, list[str]], body: dict[str, Any] | None) -> tuple[int, Any]:
        """Raises: Refused as the API server would."""
        key = (request.plural, request.namespace, request.name)
        with self._lock:
            if request.verb == "create":
                return 201, self.create(request.plural, request.namespace, body or {})
            if request.verb == "list":
                return 200, {"kind": f"{KINDS[request.plural]}List", "items": list(self._selected(request, query))}
            found = self.objects.get(key)
            if found is None:
                raise Refused(404, f'{request.plural} "{request.name}" not found')
            if request.sub == "log":
                return 200, self.log(request.name)
            if request.verb == "delete":
                del self.objects[key]
                self.deleted(request.plural, found)
            elif request.verb == "patch":
                merge(found, body or {})
            return 200, found

    def create(self, plural: str, namespace: str, value: dict[str, Any]) -> dict[str, Any]:
        value = without_nulls(value)
        value = {"apiVersion": VERSIONS.get(plural, "v1"), "kind": KINDS[plural]} | value  # where a client leaves it to the path
        try:
            kubernetes_validate.validate(value, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, f"{'.'.join(map(str, error.path))}: {error.message}") from error
        if (pod := pod_of(value)) and (found := violations(pod)):
            raise Refused(403, f'violates PodSecurity "restricted:latest": {", ".join(found)}')
        name = value["metadata"]["name"]
        for condition in [one for rule in _rules(value) for one in rule.get("onPodConditions") or []]:
            condition.setdefault("status", "True")  # as the server's own defaulting does
        if (plural, namespace, name) in self.objects:
            raise Refused(409, f'{plural} "{name}" already exists')
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        value["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "namespace": namespace}
        value.setdefault("status", {})
        self.objects[plural, namespace, name] = value
        self.made.append(value)
        self.created(plural, value)
        return value

    def of_kind(self, plural: str) -> list[dict[str, Any]]:
        with self._lock:
            return [value for (kind, _, _), value in self.objects.items() if kind == plural]

    def _selected(self, request: Request, query: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
        labels = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        fields = dict(part.split("=") for part in query.get("fieldSelector", [""])[0].split(",") if part)
        for value in self.of_kind(request.plural):
            has = value["metadata"].get("labels") or {}
            phase = fields.get("status.phase")
            if labels.items() <= has.items() and phase in (None, value["status"].get("phase")):
                yield value


def _rules(value: dict[str, Any]) -> list[dict[str, Any]]:
    spec = value.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return (spec.get("podFailurePolicy") or {}).get("rules", [])


def without_nulls(value: Any) -> Any:
    """Null is as if it were not there, even for a field that the server does not know: ZenML sends such ones."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


def merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        else:
            old[key] = value


def pod_of(value: dict[str, Any]) -> dict[str, Any] | None:
    """The pod that an object is or makes."""
    if value["kind"] == "CronJob":
        value = value["spec"]["jobTemplate"]
    if "template" in value.get("spec", {}):
        value = value["spec"]["template"]
    spec = value.get("spec", {})
    return spec if "containers" in spec else None


def violations(pod: dict[str, Any]) -> list[str]:
    """What the pod security standard `restricted` forbids in a pod. Source: Kubernetes' documentation of the standard."""
    own = pod.get("securityContext") or {}
    found = [f"{name} is true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [
        f"volume {volume['name']} is no {' or '.join(sorted(VOLUMES))}"
        for volume in pod.get("volumes") or []
        if not VOLUMES & volume.keys()
    ]
    for container in [*pod["containers"], *(pod.get("initContainers") or [])]:
        context = container.get("securityContext") or {}
        seccomp = context.get("seccompProfile") or own.get("seccompProfile") or {}
        capabilities = context.get("capabilities") or {}
        wrong = {
            "allowPrivilegeEscalation != false": context.get("allowPrivilegeEscalation") is not False,
            "privileged": context.get("privileged"),
            "unrestricted capabilities": capabilities.get("drop") != ["ALL"]
            or set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"},
            "runAsNonRoot != true": context.get("runAsNonRoot", own.get("runAsNonRoot")) is not True,
            "runAsUser=0": context.get("runAsUser", own.get("runAsUser")) == 0,
            "seccompProfile": seccomp.get("type") not in ("RuntimeDefault", "Localhost"),
            "hostPort": any(port.get("hostPort") for port in container.get("ports") or []),
        }
        found += [f"container {container['name']}: {what}" for what, is_so in wrong.items() if is_so]
    return found
