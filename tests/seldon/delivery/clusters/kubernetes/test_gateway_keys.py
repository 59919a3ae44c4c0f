"""Keys at a cluster's gateway: a real Envoy stands in for Istio's, and asks the Envoy that our configuration makes."""

import http.server
import json
import subprocess
import threading
import time

import pytest

from imageloop.errors import SettingsError
from seldon.delivery.clusters.api_keys import ApiKey
from seldon.delivery.clusters.gateway_scopes import TYPE, address, http_filter
from seldon.delivery.clusters.kubernetes.gateway_keys import configuration
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.delivery.clusters.local.supervisor import find_program

KEYS = [
    ApiKey(name="alice", scopes=("predict",), key="a" * 20),
    ApiKey(name="prometheus", scopes=("metrics",), key="b" * 20),
    ApiKey(name="judge", scopes=("feedback",), key="c" * 20),
]
ASKED = ["/predict", "/metrics", "/feedback"]


class Service(http.server.BaseHTTPRequestHandler):
    """Responds with the name of the caller."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"client": self.headers.get("X-Client")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST


def upstream(name: str, port: int) -> dict:
    points = [{"lb_endpoints": [{"endpoint": {"address": address("127.0.0.1", port)}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": points},
    }


def ingress(port: int, keys_port: int, service_port: int) -> dict:
    """What deploy/kubernetes/istio makes of Istio's gateway."""
    checking = {
        "server_uri": {"uri": f"http://127.0.0.1:{keys_port}", "cluster": "keys", "timeout": "1s"},
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-client"}]}},
    }
    headers = {"patterns": [{"exact": "x-api-key"}, {"exact": "authorization"}]}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "http_filters": [
            http_filter("asking", "ext_authz.v3.ExtAuthz", http_service=checking, allowed_headers=headers),
            http_filter("router", "router.v3.Router"),
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    listener = {
        "name": "ingress",
        "address": address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [upstream("keys", keys_port), upstream("service", service_port)]}}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("envoys")
    port, keys_port = free_port(), free_port()
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    (folder / "keys.json").write_text(json.dumps(configuration(KEYS, "127.0.0.1", keys_port)))
    (folder / "ingress.json").write_text(json.dumps(ingress(port, keys_port, service.server_port)))
    options = ["--disable-hot-restart", "--log-level", "warn", "--concurrency", "1"]
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen([find_program("envoy"), "-c", folder / f"{name}.json", *options], stdout=log, stderr=log)
            for name in ("keys", "ingress")
        ]
    yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{keys_port}", folder / "log"
    for process in processes:
        process.terminate()
        process.wait(20)
    service.shutdown()
    service.server_close()


@pytest.fixture(scope="module")
def url(gateway, call):
    address, checker, log = gateway
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, log.read_text()
        try:
            if call(f"{checker}/ready")[0] == 200 and call(f"{address}/seldon/site/pets/predict", b"")[0] == 401:
                return f"{address}/seldon/site/pets"
        except OSError:
            time.sleep(0.1)


def test_keys_part_the_rights_as_the_local_gateway_does(url, call):
    found = {key.name: [call(f"{url}{path}", b"{}", X_API_Key=key.key)[0] for path in ASKED] for key in KEYS}

    assert found == {"alice": [200, 403, 403], "prometheus": [403, 200, 403], "judge": [403, 403, 200]}


def test_calls_over_grpc_need_the_same_rights(url, call):
    address = url.removesuffix("/seldon/site/pets")
    paths = ["/seldon.protos.Seldon/Predict", "/inference.GRPCInferenceService/ModelInfer", "/seldon.protos.Seldon/SendFeedback"]

    found = {key.name: [call(f"{address}{path}", b"", X_API_Key=key.key)[0] for path in paths] for key in KEYS}

    assert found == {"alice": [200, 200, 403], "prometheus": [403, 403, 403], "judge": [403, 403, 200]}
    assert call(f"{address}/seldonXprotos.Seldon/Predict", b"", X_API_Key=KEYS[0].key)[0] == 404
    assert call(f"{address}{paths[0]}", b"")[0] == 401


@pytest.mark.parametrize("path", ["/api/v1.0/feedback", "//feedback", "/x/../feedback"])
def test_no_other_way_to_write_a_path_gives_more_rights(url, call, path):
    assert call(f"{url}{path}", b"{}", X_API_Key=KEYS[0].key)[0] == 403


def test_a_missing_or_wrong_key_is_refused(url, call):
    assert call(f"{url}/predict", b"")[0] == 401
    assert call(f"{url}/predict", b"", X_API_Key="x" * 20)[0] == 401


def test_the_client_name_comes_from_the_key_and_not_from_the_request(url, call):
    _, body, _ = call(f"{url}/predict", b"", X_API_Key=KEYS[0].key, X_Client="somebody")

    assert json.loads(body) == {"client": "alice"}


def test_a_gateway_without_keys_is_refused():
    with pytest.raises(SettingsError, match="IMAGELOOP_API_KEYS"):
        configuration([])
