"""Remote parts of a stack that do not respond are named in seconds, with the variable that sets their address."""

import http.server
import socket
import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest
from zenml.enums import StackComponentType

from imageloop.adapters.stack_reachability import ARTIFACTS, REGISTRY, TRACKER, failure_of, refuse_unreachable_parts
from imageloop.errors import SettingsError
from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster
from seldon.delivery.clusters.settings import KubernetesSettings


def stack_with(kind: str, flavor: str, **configuration) -> SimpleNamespace:
    component = SimpleNamespace(name="imageloop-compose", flavor_name=flavor, configuration=configuration, connector=None)
    return SimpleNamespace(name="compose", components={StackComponentType(kind): [component]})


@pytest.fixture
def silent():
    """A server behind a firewall: it takes connections and never responds."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def responding():
    """Start a server that responds with a status: responding(503)."""
    servers = []

    def start(status: int) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            code: ClassVar[int] = status

            def do_GET(self):
                self.send_response(self.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.mark.parametrize("status", [200, 302, 401, 404])
def test_whatever_a_server_responds_it_is_there(responding, status):
    assert failure_of(responding(status)) is None


def test_a_proxy_that_responds_for_a_dead_server_is_no_server(responding):
    assert failure_of(responding(503)) == "the response 503 of a proxy"


def test_a_silent_mlflow_server_is_named_with_its_address_and_variable(silent):
    with pytest.raises(SettingsError, match="no response within 4 s") as refused:
        refuse_unreachable_parts(stack_with(TRACKER, "mlflow", tracking_uri=silent), {TRACKER})

    assert f"the MLflow server of the stack 'compose' at {silent}" in str(refused.value)
    assert "set IMAGELOOP_MLFLOW_URI and run: python stacks/apply.py stacks/compose.yaml" in str(refused.value)


@pytest.mark.parametrize("address", ["sqlite:////home/mlflow.db", "databricks"])
def test_a_tracker_without_an_http_address_is_not_asked(address):
    refuse_unreachable_parts(stack_with(TRACKER, "mlflow", tracking_uri=address), {TRACKER})


def test_only_the_parts_that_a_command_needs_are_asked(silent):
    refuse_unreachable_parts(stack_with(TRACKER, "mlflow", tracking_uri=silent), {ARTIFACTS})


def test_a_store_without_credentials_names_their_variables(no_credentials, silent):
    stack = stack_with(ARTIFACTS, "s3", path="s3://imageloop/artifacts", client_kwargs={"endpoint_url": silent})

    with pytest.raises(SettingsError, match=r"expected credentials .* got none; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        refuse_unreachable_parts(stack, {ARTIFACTS})


def test_a_silent_store_is_named_with_its_address_and_variable(no_credentials, silent, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    stack = stack_with(ARTIFACTS, "s3", path="s3://imageloop/artifacts", client_kwargs={"endpoint_url": silent})

    with pytest.raises(SettingsError, match="IMAGELOOP_S3_URL") as refused:
        refuse_unreachable_parts(stack, {ARTIFACTS})

    assert silent in str(refused.value)


def test_a_registry_that_is_not_there_is_named(unused_port):
    with pytest.raises(SettingsError, match=r"the container registry .*Connection refused.*IMAGELOOP_REGISTRY"):
        refuse_unreachable_parts(stack_with(REGISTRY, "default", uri=f"127.0.0.1:{unused_port}/team"), {REGISTRY})


def test_a_cluster_behind_a_vpn_is_named_with_its_context(tmp_path, monkeypatch, unused_port):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: far, users: [{name: u, user: {}}], "
        "contexts: [{name: far, context: {cluster: c, user: u}}], "
        f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{unused_port}'}}}}]}}"
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    cluster = KubernetesCluster(KubernetesSettings(context="far"))

    with pytest.raises(DeploymentError, match=rf"the cluster 'far' at https://127.0.0.1:{unused_port}.*IMAGELOOP_KUBE_CONTEXT"):
        cluster.get("default", "imageloop")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
