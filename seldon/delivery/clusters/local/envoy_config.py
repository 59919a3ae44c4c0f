"""Envoy's configuration: a pure function of what is deployed. Envoy watches the files and takes a new one when it is renamed in.

One listener; one route configuration; a cluster for each predictor, whose endpoints are its ready replicas.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imageloop.atomic_files import replacing
from seldon.delivery.clusters.gateway_scopes import PATHS_OF_RIGHTS, TYPE, address, http_filter, key_filter, open_to_all, rights
from seldon.delivery.clusters.local.gateway_settings import LOOPBACK, ApiKey, GatewaySettings, in_url
from seldon.delivery.manifest import Manifest
from seldon.service.serving_protocols import CLIENT_HEADER, ORIGINS_VARIABLE

NAMES = ("gateway-1", "gateway-2")  # processes that listen at one port, so that one may be killed
PREDICTOR_HEADER = "x-imageloop-predictor"  # a caller may ask for one predictor by name
UPLOAD_SECONDS = 30
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Upstream:
    """A predictor and the ports of those of its replicas that may get requests."""

    predictor: str
    ports: list[int]
    health_path: str


@dataclass(frozen=True)
class Deployment:
    """What the gateway needs to know of one."""

    manifest: Manifest
    upstreams: list[Upstream]


def cluster_name(key: str, predictor: str) -> str:
    return f"{key}/{predictor}".replace("/", "--")


def write_bootstrap(folder: Path, name: str, admin_port: int) -> Path:
    """What the process `name` starts with: where the rest stands."""
    value = {
        "node": {"id": name, "cluster": "imageloop"},
        "admin": {"address": address("127.0.0.1", admin_port)},
        "dynamic_resources": {
            "lds_config": {"path_config_source": {"path": str(folder / "listeners.json")}},
            "cds_config": {"path_config_source": {"path": str(folder / "clusters.json")}},
        },
    }
    path = folder / f"{name}.json"
    _write(path, value)
    return path


def write_listener(folder: Path, port: int, settings: GatewaySettings, keys: list[ApiKey]) -> None:
    """The door: who may come in, how much they may bring, and how errors look."""
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": "routes", "config_source": {"path_config_source": {"path": str(folder / "routes.json")}}},
        "http_filters": _filters(settings, keys),
        "http_protocol_options": {"accept_http_10": True},  # old health checkers and load generators speak it
        "request_timeout": f"{UPLOAD_SECONDS}s",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "60s",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": True,
        "local_reply_config": _local_replies(),
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if settings.tls_certificate and settings.tls_key:
        pair = {
            "certificate_chain": {"filename": str(settings.tls_certificate)},
            "private_key": {"filename": str(settings.tls_key)},
        }
        watched = {"path": str(Path(settings.tls_certificate).parent)}  # a renewed pair that is renamed in is taken at once
        secret = {"name": "pair", "tls_certificate": pair | {"watched_directory": watched}}
        _write_resources(folder / "secrets.json", "extensions.transport_sockets.tls.v3.Secret", [secret], "1")
        source = {"name": "pair", "sds_config": {"path_config_source": {"path": str(folder / "secrets.json")}}}
        context = {
            "@type": f"{TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificate_sds_secret_configs": [source]},
        }
        chain["transport_socket"] = {"name": "tls", "typed_config": context}
    listener = {
        "name": "gateway",
        "address": address("127.0.0.1" if settings.host == "localhost" else settings.host, port),
        "filter_chains": [chain],
        "per_connection_buffer_limit_bytes": settings.max_body_bytes + 2**20,
    }
    _write_resources(folder / "listeners.json", "config.listener.v3.Listener", [listener], "1")


def write_upstreams(folder: Path, deployments: list[Deployment], version: str) -> None:
    """Endpoints before the clusters that need them. Clusters that are not needed any more stay until `prune`."""
    for deployment in deployments:
        for upstream in deployment.upstreams:
            name = cluster_name(deployment.manifest.key, upstream.predictor)
            points = [{"endpoint": {"address": address("127.0.0.1", port)}} for port in sorted(upstream.ports)]
            value = {"cluster_name": name, "endpoints": [{"lb_endpoints": points}]}
            _write_resources(folder / "endpoints" / f"{name}.json", "config.endpoint.v3.ClusterLoadAssignment", [value], version)
    clusters = _clusters(folder, deployments)
    needed = {cluster["name"] for cluster in clusters}
    surplus = [cluster for cluster in _read_resources(folder / "clusters.json") if cluster["name"] not in needed]
    _write_resources(folder / "clusters.json", "config.cluster.v3.Cluster", clusters + surplus, version)


def write_routes(
    folder: Path, deployments: list[Deployment], settings: GatewaySettings, keys: list[ApiKey], version: str
) -> None:
    """Who gets which share; only once Envoy knows the upstreams, or requests would find nobody."""
    routes = [route for deployment in deployments for route in _routes(deployment, settings, keys)]
    if deployments:
        first = f"/seldon/{deployments[0].manifest.key}/"
        routes.append(
            {"match": {"path": "/"}, "redirect": {"path_redirect": first, "response_code": "FOUND"}} | open_to_all(keys)
        )
    hosts = [
        {"name": f"version-{version}", "domains": ["*"] if keys else _own_names(), "routes": routes}
    ]  # Envoy takes no notice where only version_info is new
    unnamed = {} if keys else {"request_headers_to_remove": [CLIENT_HEADER]}  # who calls is for the keys to say
    configuration = {"name": "routes", "virtual_hosts": hosts, "ignore_port_in_host_matching": True} | unnamed
    _write_resources(folder / "routes.json", "config.route.v3.RouteConfiguration", [configuration], version)


def _own_names() -> list[str]:
    """By which a gateway without keys may be called: a web page whose name leads here could send what it likes otherwise."""
    allowed = (urlsplit(origin).hostname for origin in os.environ.get(ORIGINS_VARIABLE, "").split())
    return list(dict.fromkeys([*map(in_url, LOOPBACK), *filter(None, allowed)]))


def prune(folder: Path, deployments: list[Deployment], version: str) -> None:
    """Take away the clusters that no route names any more, and then their endpoints' files."""
    clusters = _clusters(folder, deployments)
    _write_resources(folder / "clusters.json", "config.cluster.v3.Cluster", clusters, version)
    kept = {cluster["name"] for cluster in clusters}
    for file in (folder / "endpoints").glob("*.json"):
        if file.stem not in kept:
            file.unlink()


def _clusters(folder: Path, deployments: list[Deployment]) -> list[dict[str, Any]]:
    return [_cluster(folder, deployment, upstream) for deployment in deployments for upstream in deployment.upstreams]


def _read_resources(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["resources"]) if path.exists() else []


def _cluster(folder: Path, deployment: Deployment, upstream: Upstream) -> dict[str, Any]:
    name = cluster_name(deployment.manifest.key, upstream.predictor)
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


def _routes(deployment: Deployment, settings: GatewaySettings, keys: list[ApiKey]) -> list[dict[str, Any]]:
    manifest = deployment.manifest
    prefix = f"/seldon/{manifest.key}/"
    weights = manifest.weights
    weighted = {"clusters": [{"name": cluster_name(manifest.key, name), "weight": weight} for name, weight in weights.items()]}
    action: dict[str, Any] = {
        "prefix_rewrite": "/",
        "timeout": f"{ANSWER_SECONDS}s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": 5,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
            "retry_host_predicate": [
                {
                    "name": "previous_hosts",
                    "typed_config": {"@type": f"{TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 3,
        },
    }
    mirrors = [
        {
            "cluster": cluster_name(manifest.key, predictor.name),
            "runtime_fraction": {"default_value": {"numerator": predictor.traffic or 100}},
            "disable_shadow_host_suffix_append": True,  # our own page's requests would seem another origin's
        }
        for predictor in manifest.spec.predictors
        if predictor.shadow
    ]
    asked = [
        (upstream.predictor, action | {"cluster": cluster_name(manifest.key, upstream.predictor)})
        for upstream in deployment.upstreams
    ]
    usual = action | {"weighted_clusters": weighted} | ({"request_mirror_policies": mirrors} if mirrors else {})
    routes = []
    guarded = [(right, [prefix + path for path in paths]) for right, paths in PATHS_OF_RIGHTS]
    for right, paths in [*guarded, ("predict", [prefix])]:
        for path in paths:
            match = {"prefix": path} if path == prefix else {"path": path}
            rewritten = {} if path == prefix else {"prefix_rewrite": "/" + path.removeprefix(prefix)}
            plain = (
                usual if right == "predict" else {key: value for key, value in usual.items() if key != "request_mirror_policies"}
            )
            for name, route in asked:
                header = {"name": PREDICTOR_HEADER, "string_match": {"exact": name}}
                # Who may only predict chooses none, or any caller could decide a rollout by what it sends.
                wanted = rights(keys, "try" if right == "predict" else right)
                routes.append({"match": match | {"headers": [header]}, "route": route | rewritten} | wanted | _limits(settings))
            routes.append({"match": match, "route": plain | rewritten} | rights(keys, right) | _limits(settings))
    return routes


def _limits(settings: GatewaySettings) -> dict[str, Any]:
    return {"request_body_buffer_limit": settings.max_body_bytes + 2**20}


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


def _local_replies() -> dict[str, Any]:
    """What Envoy answers by itself has the shape of the service's own errors."""
    body = {"status": {"status": "FAILURE", "code": "%RESPONSE_CODE%", "reason": "GATEWAY", "info": "%LOCAL_REPLY_BODY%"}}
    full = {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 503, "runtime_key": "unused"}}}}
    later = [{"header": {"key": "Retry-After", "value": "1"}}]
    return {"mappers": [{"filter": full, "headers_to_add": later}], "body_format": {"json_format": body}}


def _write_resources(path: Path, kind: str, resources: list[dict[str, Any]], version: str) -> None:
    _write(path, {"version_info": version, "resources": [{"@type": f"{TYPE}{kind}"} | resource for resource in resources]})


def _write(path: Path, value: dict[str, Any]) -> None:
    with replacing(path) as aside:
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(value, indent=1))
