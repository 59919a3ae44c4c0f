"""A small API server: it checks schemas, scopes and pod security, fails on demand, and what is applied may really run."""

import contextlib
import http.server
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
from kubernetes import client

from tests.fakes.kubernetes.operator import Operator
from tests.fakes.kubernetes.resources import KINDS, Refused, Request, Resources, parse

VANISH, GONE_SECONDS = (0, "nothing is answered from here on"), 30.0
SCHEMA = Path(__file__).parent / "schemas" / "seldondeployment-v1.json"  # the operator's own
GROUP = "/apis/machinelearning.seldon.io/v1"


class FakeApiServer(http.server.ThreadingHTTPServer):
    """Keeps objects in memory. Without an `operator` they are Available after `seconds_to_ready`, and nothing runs.

    With `rules` a caller must bring one of their tokens, and may do in a namespace what stands there; None is everything.
    """

    daemon_threads = True

    def __init__(
        self,
        schema: dict,
        operator: Operator | None = None,
        tls: ssl.SSLContext | None = None,
        rules: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme, self.rules = "https" if tls else "http", rules or {}
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.core = Resources()
        self.schema, self.objects, self.leases = schema, {}, {}
        self.validator = jsonschema.Draft202012Validator(schema)
        self.operator = operator
        self.applied: list[dict] = []
        self.mend()

    def mend(self) -> None:
        self.fault: tuple[int, str] | None = None
        self.next_faults: list[tuple[int, str] | None] = []  # one for each PATCH that comes
        self.silent_seconds = 0.0
        self.seconds_to_see, self.seconds_to_ready, self.half_ready, self.broken = 0.0, 0.0, False, False
        self.never_ready: set[str] = set()  # predictors
        self.mute: set[str] = set()  # predictors whose pods say nothing to Prometheus

    def handle_error(self, request, client_address):
        """A client that gave up waiting is no news."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def status_of(self, value: dict) -> dict:
        """Set the status as the operator does: without the change it is about, and for a while still that of the previous one."""
        if not self.is_seen(value):
            return value["_before"]
        if self.broken:
            return {"state": "Failed", "description": "ImagePullBackOff"}
        if self.operator is not None and value["_operator_error"]:
            return {"state": "Failed", "description": value["_operator_error"]}
        if time.monotonic() < value["_ready_at"] or value["_operator_error"] is None:
            return {"state": "Creating"}
        name = value["metadata"]["name"]
        parts = {
            f"{name}-{part['name']}-0-classifier": {
                "replicas": part["replicas"],
                "availableReplicas": 0 if part["name"] in self.never_ready else part["replicas"] - self.half_ready,
            }
            for part in value["spec"]["predictors"]
        }
        return {"state": "Available", "deploymentStatus": parts}

    def is_seen(self, value: dict) -> bool:
        return time.monotonic() >= value["_seen_at"]

    def deployment_of(self, value: dict, part: dict) -> dict | None:
        """The replicas in the status."""
        if not self.is_seen(value):
            return value["_made"].get(part["name"])
        name = f"{value['metadata']['name']}-{part['name']}-0-classifier"
        ready = self.status_of(value).get("deploymentStatus", {}).get(name, {}).get("availableReplicas", 0)
        labels = part.get("labels", {}) | {"imageloop.ai/predictor": part["name"]}
        return {
            "metadata": {"name": name, "generation": 1, "labels": labels, "annotations": part.get("annotations", {})},
            "spec": {"selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": ready, "updatedReplicas": ready, "availableReplicas": ready},
        }

    def pods(self, namespace: str, name: str, predictor: str) -> list[str]:
        found = self.operator.local.describe(namespace, name) if self.operator else None
        return [
            f"{name}.{predictor}.{replica.name}"
            for part in (found.predictors if found else ())
            if part.name == predictor
            for replica in part.replicas
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    server: FakeApiServer

    def log_message(self, *_):
        pass

    def answer(self, code: int, value: dict) -> None:
        self.send(code, json.dumps(value).encode(), "application/json")

    def send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})

    def body(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def shown(self, value: dict) -> dict:
        return {key: part for key, part in value.items() if not key.startswith("_")} | {"status": self.server.status_of(value)}

    def is_done(self) -> bool:
        """Whether Kubernetes itself has answered: the caller has no permission to it, or it is none of Seldon's."""
        request = parse(self.command, urlsplit(self.path).path)
        if request is None or self.path.startswith("/call/"):
            return False
        if not self.is_allowed(request):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.refuse(403, f'{request.resource} is forbidden: User cannot {request.verb} resource "{request.resource}"')
            return True
        if request.plural not in KINDS or request.sub == "proxy" or (request.plural == "pods" and self.asks_for_replicas()):
            return False
        if self.failed():
            return True
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, value = self.server.core.answer(request, parse_qs(urlsplit(self.path).query), body)
        except Refused as error:
            self.refuse(error.code, error.message)
            return True
        if isinstance(value, str):
            self.send(code, value.encode(), "text/plain")
        else:
            self.answer(code, value)
        return True

    def is_allowed(self, request: Request) -> bool:
        if not self.server.rules:
            return True
        token = (self.headers.get("Authorization") or "").rpartition(" ")[2]
        return token in self.server.rules and (self.server.rules[token] is None or request.is_allowed(*self.server.rules[token]))

    def asks_for_replicas(self) -> bool:
        return "seldon-deployment-id" in self.path

    def do_GET(self):
        if self.is_done():
            return None
        path = self.path.partition("?")[0]
        discovery = {
            "/version": {"major": "1", "minor": "33"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [
                    {
                        "name": "machinelearning.seldon.io",
                        "versions": [{"groupVersion": "machinelearning.seldon.io/v1", "version": "v1"}],
                        "preferredVersion": {"groupVersion": "machinelearning.seldon.io/v1", "version": "v1"},
                    }
                ],
            },
            GROUP: {
                "kind": "APIResourceList",
                "groupVersion": "machinelearning.seldon.io/v1",
                "resources": [
                    {
                        "name": "seldondeployments", "singularName": "seldondeployment", "namespaced": True, "kind": "SeldonDeployment",
                        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                    }
                ],
            },
        }  # fmt: skip
        if path in discovery:
            return self.answer(200, discovery[path])
        if self.failed():
            return None
        if path.startswith("/call/"):
            return self.forward(None)
        if path.startswith("/api/v1/namespaces/"):
            return self.pods(path)
        if path.startswith("/apis/apps/v1/namespaces/"):
            return self.deployments()
        store = self.server.leases if is_lease(path) else self.server.objects
        found = store.get(path.rpartition("/")[2])
        if found is None:
            return self.refuse(404, "not found")
        return self.answer(200, found if store is self.server.leases else self.shown(found))

    def deployments(self):
        """What the operator made of a SeldonDeployment: one for each predictor, with its labels and annotations."""
        name = parse_qs(urlsplit(self.path).query)["labelSelector"][0].removeprefix("seldon-deployment-id=")
        value = self.server.objects.get(name)
        items = [self.server.deployment_of(value, part) for part in value["spec"]["predictors"]] if value else []
        return self.answer(200, {"kind": "DeploymentList", "apiVersion": "apps/v1", "items": [one for one in items if one]})

    def pods(self, path: str):
        """A list of pods, or the metrics of one of them."""
        namespace, _, rest = path.removeprefix("/api/v1/namespaces/").partition("/pods")
        if not rest:
            labels = dict(part.split("=") for part in parse_qs(urlsplit(self.path).query)["labelSelector"][0].split(","))
            names = self.server.pods(namespace, labels["seldon-deployment-id"], labels["imageloop.ai/predictor"])
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            return self.answer(
                200, {"kind": "PodList", "items": [{"metadata": {"name": name}, "status": ready} for name in names]}
            )
        name, predictor, replica = unquote(rest).strip("/").partition(":")[0].split(".")
        text = self.server.operator.local.exposition(namespace, name, predictor).get(replica)
        if text is None or predictor in self.server.mute:
            return self.refuse(503, "the pod does not respond")
        return self.send(200, text.encode(), "text/plain")

    def forward(self, content: bytes | None):
        """/call/NAMESPACE/NAME/PREDICTOR/..., as the service that the operator makes for a predictor."""
        namespace, name, predictor, path = self.path.removeprefix("/call/").split("/", 3)
        caller = self.server.operator.local.caller(namespace, name, predictor)
        headers = caller.headers | ({"Content-Type": self.headers["Content-Type"]} if content is not None else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{caller.url}/{path}", content, headers), timeout=30) as answer:
                return self.send(answer.status, answer.read(), answer.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            return self.send(error.code, error.read(), error.headers["Content-Type"])

    def do_PATCH(self):
        if self.is_done():
            return None
        value = self.body()
        if self.failed():
            return None
        if self.server.next_faults and (fault := self.server.next_faults.pop(0)):
            self.server.silent_seconds = GONE_SECONDS if fault == VANISH else 0.0
            return self.failed() or self.refuse(*fault)
        if (
            self.headers["Content-Type"] != "application/apply-patch+yaml"
            or "fieldManager=imageloop" not in self.path
            or "force=true" in self.path
        ):
            return self.refuse(400, "expected server-side apply by our manager, without force")
        try:
            self.server.validator.validate(value)
        except jsonschema.ValidationError as error:
            return self.refuse(422, error.message)
        name = value["metadata"]["name"]
        before = self.server.objects.get(name)
        generation = (before["metadata"]["generation"] if before else 0) + 1
        parts = before["spec"]["predictors"] if before else []
        value["_before"] = self.server.status_of(before) if before else {}
        value["_made"] = {part["name"]: self.server.deployment_of(before, part) for part in parts}
        value["_seen_at"] = time.monotonic() + self.server.seconds_to_see
        value["metadata"] |= {"generation": generation, "managedFields": [{"manager": "imageloop"}]}
        value["_ready_at"] = time.monotonic() + self.server.seconds_to_ready
        value["_operator_error"] = "" if self.server.operator is None else None
        self.server.objects[name] = value
        if self.server.operator is not None:
            self.server.operator.reconcile(value)
        self.server.applied.append(value)
        return self.answer(200, self.shown(value))

    def do_DELETE(self):
        if self.is_done():
            return None
        expected = self.body().get("preconditions", {}) if self.headers.get("Content-Length") else {}
        if self.failed():
            return None
        store = self.server.leases if is_lease(self.path) else self.server.objects
        known = store.get(self.path.partition("?")[0].rpartition("/")[2], {}).get("metadata", {})
        if expected and expected.get("resourceVersion") != known.get("resourceVersion"):
            return self.refuse(409, "the object has been modified")
        found = store.pop(self.path.partition("?")[0].rpartition("/")[2], None)
        if found is None:
            return self.refuse(404, "not found")
        if store is self.server.objects and self.server.operator is not None:
            self.server.operator.delete(found["metadata"]["namespace"], found["metadata"]["name"])
        return self.answer(200, {"kind": "Status", "status": "Success"})

    def do_POST(self):
        if self.is_done():
            return None
        if self.path.startswith("/call/"):
            return self.forward(self.rfile.read(int(self.headers["Content-Length"])))
        value = self.body()
        name = value["metadata"]["name"]
        if name in self.server.leases:
            return self.refuse(409, "already exists")
        value["metadata"]["resourceVersion"] = "1"
        self.server.leases[name] = value
        return self.answer(201, value)

    def do_PUT(self):
        if self.is_done():
            return None
        value = self.body()
        known = self.server.leases[value["metadata"]["name"]]["metadata"]["resourceVersion"]
        if value["metadata"].get("resourceVersion") != known:
            return self.refuse(409, "the object has been modified")
        value["metadata"]["resourceVersion"] = str(int(known) + 1)
        self.server.leases[value["metadata"]["name"]] = value
        return self.answer(200, value)

    def failed(self) -> bool:
        if self.server.silent_seconds:  # nothing is done, and nothing said
            time.sleep(self.server.silent_seconds)
            self.close_connection = True
            return True
        if self.server.fault is None:
            return False
        self.refuse(*self.server.fault)
        return True


def is_lease(path: str) -> bool:
    return path.startswith("/apis/coordination.k8s.io/v1/")


@contextlib.contextmanager
def running(operator: Operator | None = None, **options: Any) -> Iterator[FakeApiServer]:
    server = FakeApiServer(json.loads(SCHEMA.read_text()) if SCHEMA.exists() else {}, operator, **options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def api_of(url: str) -> client.ApiClient:
    configuration = client.Configuration(host=url)
    configuration.retries = False
    return client.ApiClient(configuration)


def run_out(lease: dict[str, Any]) -> None:
    """As if its holder had been gone for long."""
    lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
