"""Envoy's configuration: a pure function of what is deployed. Envoy watches the files and reads a new one when it is renamed in.

One listener; one route configuration; a cluster for each predictor, whose endpoints are its ready replicas.
"""

import json
import math
from pathlib import Path
from typing import Any

from imageloop.atomic_files import replacing
from seldon.delivery.clusters.api_keys import ApiKey
from seldon.delivery.clusters.gateway_scopes import TYPE, address, http_filter, key_filter, open_to_all
from seldon.delivery.clusters.local.envoy_grpc import endpoints, grpc_name, grpc_routes, over_http2
from seldon.delivery.clusters.local.envoy_replies import local_replies, nothing_here
from seldon.delivery.clusters.local.envoy_routes import Deployment, Upstream, cluster_name, own_names, routes_of
from seldon.delivery.clusters.local.envoy_servers import server_routes
from seldon.delivery.clusters.local.envoy_traces import receiver_cluster, tracing_of
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.service.serving_protocols import CLIENT_HEADER

NAMES = ("gateway-1", "gateway-2")  # processes that listen at one port, so that one may be killed
UPLOAD_SECONDS = 30
MAX_STREAMS = 100  # of one connection

METRICS_PATH = "/stats/prometheus"
ADMIN = "admin"


def write_bootstrap(folder: Path, name: str, admin_socket: Path, metrics_port: int) -> Path:
    """Return the bootstrap configuration of the process `name`, which refers to the other files.

    Its administration is a Unix socket of its own user: any user of this machine may call a port, and could end or drain Envoy by it.
    `metrics_port` leads to the metrics alone, for Prometheus.
    """
    value = {
        "node": {"id": name, "cluster": "imageloop"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "static_resources": {"listeners": [_metrics_listener(metrics_port)], "clusters": [_admin_cluster(admin_socket)]},
        "dynamic_resources": {
            "lds_config": {"path_config_source": {"path": str(folder / "listeners.json")}},
            "cds_config": {"path_config_source": {"path": str(folder / "clusters.json")}},
        },
    }
    path = folder / f"{name}.json"
    _write(path, value)
    return path


def _metrics_listener(port: int) -> dict[str, Any]:
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    route = {"match": {"path": METRICS_PATH, "headers": [get]}, "route": {"cluster": ADMIN}}
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "route_config": {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}]},
        "http_filters": [http_filter("router", "router.v3.Router")],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "metrics", "address": address("127.0.0.1", port), "filter_chains": [chain]}


def _admin_cluster(admin_socket: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(admin_socket)}}}}
    assignment = {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": ADMIN, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def write_listener(folder: Path, port: int, settings: GatewaySettings, keys: list[ApiKey]) -> None:
    """Return the listener: API keys, rate and body limits, and the format of errors."""
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": "routes", "config_source": {"path_config_source": {"path": str(folder / "routes.json")}}},
        "http_filters": _filters(settings, keys),
        "http_protocol_options": {"accept_http_10": True},  # old health checkers and load generators use it
        "http2_protocol_options": {"max_concurrent_streams": MAX_STREAMS, "initial_stream_window_size": 2**20},
        "request_timeout": f"{UPLOAD_SECONDS}s",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "60s",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,  # a caller's id, or that of its trace, goes on to the records
        "preserve_external_request_id": True,
        "local_reply_config": local_replies(settings),
    } | tracing_of(settings.traces)
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if settings.tls_certificate and settings.tls_key:
        chain["transport_socket"] = _tls(folder, settings.tls_certificate, settings.tls_key)
    listener = {
        "name": "gateway",
        "address": address("127.0.0.1" if settings.host == "localhost" else settings.host, port),
        "filter_chains": [chain],
        "per_connection_buffer_limit_bytes": settings.max_body_bytes + 2**20,
    }
    _write_resources(folder / "listeners.json", "config.listener.v3.Listener", [listener], "1")


def _tls(folder: Path, certificate: str, key: str) -> dict[str, Any]:
    """The transport of a listener with a certificate, which is in a file of its own."""
    watched = {"path": str(Path(certificate).parent)}  # a renewed pair that is renamed in is used at once
    pair = {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}, "watched_directory": watched}
    secret = {"name": "pair", "tls_certificate": pair}
    _write_resources(folder / "secrets.json", "extensions.transport_sockets.tls.v3.Secret", [secret], "1")
    source = {"name": "pair", "sds_config": {"path_config_source": {"path": str(folder / "secrets.json")}}}
    context = {
        "@type": f"{TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [source], "alpn_protocols": ["h2", "http/1.1"]},
    }
    return {"name": "tls", "typed_config": context}


def write_upstreams(folder: Path, deployments: list[Deployment], settings: GatewaySettings, version: str) -> None:
    """Endpoints before the clusters that need them. Clusters that are not needed any more stay until `prune`."""
    for deployment in deployments:
        for upstream in deployment.upstreams:
            name = cluster_name(deployment.manifest.key, upstream.predictor)
            points = [{"endpoint": {"address": address("127.0.0.1", port)}} for port in sorted(upstream.ports)]
            for named, found in ((name, points), (grpc_name(deployment.manifest.key, upstream.predictor), endpoints(upstream))):
                value = {"cluster_name": named, "endpoints": [{"lb_endpoints": found}]}
                target = folder / "endpoints" / f"{named}.json"
                _write_resources(target, "config.endpoint.v3.ClusterLoadAssignment", [value], version)
    clusters = _clusters(folder, deployments, settings)
    needed = {cluster["name"] for cluster in clusters}
    surplus = [cluster for cluster in _read_resources(folder / "clusters.json") if cluster["name"] not in needed]
    _write_resources(folder / "clusters.json", "config.cluster.v3.Cluster", clusters + surplus, version)


def write_routes(
    folder: Path, deployments: list[Deployment], settings: GatewaySettings, keys: list[ApiKey], version: str
) -> None:
    """Write the routes; only once Envoy has the upstreams, or requests would fail."""
    routes = [route for deployment in deployments for route in routes_of(deployment, settings, keys)]
    routes += server_routes(deployments, settings, keys)
    for deployment in deployments:
        routes += grpc_routes(deployment, settings, keys, alone=len(deployments) == 1)
    if deployments:
        first = f"/seldon/{deployments[0].manifest.key}/"
        routes.append(
            {"match": {"path": "/"}, "redirect": {"path_redirect": first, "response_code": "FOUND"}} | open_to_all(keys)
        )
    routes.append({"match": {"prefix": "/"}, "direct_response": nothing_here(deployments)})
    hosts = [
        {"name": f"version-{version}", "domains": ["*"] if keys else own_names(), "routes": routes}
    ]  # Envoy takes no notice where only version_info is new
    unnamed = {} if keys else {"request_headers_to_remove": [CLIENT_HEADER]}  # the keys name the caller
    configuration = {"name": "routes", "virtual_hosts": hosts, "ignore_port_in_host_matching": True} | unnamed
    _write_resources(folder / "routes.json", "config.route.v3.RouteConfiguration", [configuration], version)


def prune(folder: Path, deployments: list[Deployment], settings: GatewaySettings, version: str) -> None:
    """Remove the clusters that no route names any more, and then their endpoint files."""
    clusters = _clusters(folder, deployments, settings)
    _write_resources(folder / "clusters.json", "config.cluster.v3.Cluster", clusters, version)
    kept = {cluster["name"] for cluster in clusters}
    for file in (folder / "endpoints").glob("*.json"):
        if file.stem not in kept:
            file.unlink()


def _clusters(folder: Path, deployments: list[Deployment], settings: GatewaySettings) -> list[dict[str, Any]]:
    found = receiver_cluster(settings.traces)
    for deployment in deployments:
        for upstream in deployment.upstreams:
            key = deployment.manifest.key
            found.append(_cluster(folder, cluster_name(key, upstream.predictor), upstream))
            found.append(over_http2(_cluster(folder, grpc_name(key, upstream.predictor), upstream)))
    return found


def _read_resources(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["resources"]) if path.exists() else []


def _cluster(folder: Path, name: str, upstream: Upstream) -> dict[str, Any]:
    most = {"max_connections": 1024, "max_pending_requests": 64, "max_requests": 256, "max_retries": 64}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": name,
            "eds_config": {"path_config_source": {"path": str(folder / "endpoints" / f"{name}.json")}},
        },
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [most]},
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "no_traffic_interval": "2s",
                "http_health_check": {"path": upstream.health_path},
            }
        ],
    }


def _filters(settings: GatewaySettings, keys: list[ApiKey]) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = []
    if settings.requests_per_second:
        share = math.ceil(settings.requests_per_second / len(NAMES))
        bucket = {
            "max_tokens": share,
            "tokens_per_fill": share,
            "fill_interval": "1s",
        }
        full = {"default_value": {"numerator": 100}}
        filters.append(
            http_filter(
                "rate", "local_ratelimit.v3.LocalRateLimit", stat_prefix="rate", token_bucket=bucket, filter_enabled=full, filter_enforced=full,
                response_headers_to_add=[{"header": {"key": "Retry-After", "value": "1"}}],
            )
        )  # fmt: skip
    if keys:
        filters.append(key_filter(keys))
    filters.append(http_filter("buffer", "buffer.v3.Buffer", max_request_bytes=settings.max_body_bytes))
    filters.append(http_filter("router", "router.v3.Router"))
    return filters


def _write_resources(path: Path, kind: str, resources: list[dict[str, Any]], version: str) -> None:
    _write(path, {"version_info": version, "resources": [{"@type": f"{TYPE}{kind}"} | resource for resource in resources]})


def _write(path: Path, value: dict[str, Any]) -> None:
    with replacing(path) as aside:
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(value, indent=1))
