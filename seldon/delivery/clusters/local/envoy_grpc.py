"""The gateway's way for gRPC: clusters of the replicas' second ports, and routes by method.

A call names its deployment as Seldon's clients do, in the metadata `seldon` and `namespace`; where one alone is deployed, it need not.
"""

from typing import Any

from seldon.delivery.clusters.api_keys import ApiKey
from seldon.delivery.clusters.gateway_scopes import GRPC_SERVICES, TYPE, address
from seldon.delivery.clusters.local.envoy_routes import Deployment, Upstream, cluster_name, routes_to
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.service.serving_protocols import GRPC_FEEDBACK

PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def grpc_name(key: str, predictor: str) -> str:
    """The name of the cluster for gRPC."""
    return f"{cluster_name(key, predictor)}--grpc"


def endpoints(upstream: Upstream) -> list[dict[str, Any]]:
    """The ports for gRPC; each is as healthy as its replica over HTTP."""
    return [
        {"endpoint": {"address": address("127.0.0.1", grpc_port), "health_check_config": {"port_value": port}}}
        for port, grpc_port in sorted(upstream.grpc_ports.items())
    ]


def over_http2(cluster: dict[str, Any]) -> dict[str, Any]:
    """A cluster whose replicas are called over HTTP/2."""
    options = {
        "@type": f"{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return cluster | {"typed_extension_protocol_options": {PROTOCOL_OPTIONS: options}}


def grpc_routes(deployment: Deployment, settings: GatewaySettings, keys: list[ApiKey], *, alone: bool) -> list[dict[str, Any]]:
    """The routes of a deployment whose replicas all serve gRPC; none for others. `alone`: no other one is deployed."""
    if not all(upstream.grpc_ports.keys() == set(upstream.ports) for upstream in deployment.upstreams):
        return []
    paths = [("feedback", {"path": path}) for path in GRPC_FEEDBACK] + [
        ("predict", {"prefix": f"/{service}/"}) for service in GRPC_SERVICES
    ]
    routes = []
    for named in _metadata(deployment, alone=alone):
        for scope, path in paths:
            match: dict[str, Any] = {**path, "grpc": {}, "headers": named}
            routes += routes_to(deployment, settings, keys, scope, match, name_of=grpc_name)
    return routes


def _metadata(deployment: Deployment, *, alone: bool) -> list[list[dict[str, Any]]]:
    """The ways in which a call may name its deployment."""
    metadata = deployment.manifest.metadata
    name = {"name": "seldon", "string_match": {"exact": metadata.name}}
    namespace = {"name": "namespace", "string_match": {"exact": metadata.namespace}}
    absent = [{"name": header, "present_match": True, "invert_match": True} for header in ("seldon", "namespace")]
    return [[name, namespace], [name, absent[1]], *([absent[:1]] if alone else [])]
