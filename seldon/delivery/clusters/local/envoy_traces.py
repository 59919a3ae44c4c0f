"""Spans of the gateway: each request is one, in the trace of its caller, and the parent of the service's own.

Source: envoy.config.trace.v3.OpenTelemetryConfig.
"""

from typing import Any
from urllib.parse import urlsplit

from seldon.delivery.clusters.gateway_scopes import TYPE, address

RECEIVER = "otlp"  # the name of its cluster
SERVICE_NAME = "imageloop-gateway"
SEND_SECONDS = 2  # a receiver that takes longer loses these spans; no request waits for it


def tracing_of(receiver: str | None) -> dict[str, Any]:
    """The part of a connection manager that makes spans; nothing without a receiver."""
    if receiver is None:
        return {}
    uri = {"uri": f"{receiver}/v1/traces", "cluster": RECEIVER, "timeout": f"{SEND_SECONDS}s"}
    config = {
        "@type": f"{TYPE}config.trace.v3.OpenTelemetryConfig",
        "http_service": {"http_uri": uri},
        "service_name": SERVICE_NAME,
    }
    # a request without an id is traced too, and one with an id keeps it as it is
    ids = {"@type": f"{TYPE}extensions.request_id.uuid.v3.UuidRequestIdConfig", "use_request_id_for_trace_sampling": False}
    return {
        "tracing": {
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
            "random_sampling": {"value": 100},
        },
        "request_id_extension": {"typed_config": ids | {"pack_trace_reason": False}},
    }


def receiver_cluster(receiver: str | None) -> list[dict[str, Any]]:
    """The cluster of a receiver, where there is one."""
    if receiver is None:
        return []
    place = urlsplit(receiver)
    endpoint = {"endpoint": {"address": address(str(place.hostname), int(place.port or 0))}}
    assignment = {"cluster_name": RECEIVER, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return [{"name": RECEIVER, "type": "STRICT_DNS", "connect_timeout": "1s", "load_assignment": assignment}]
