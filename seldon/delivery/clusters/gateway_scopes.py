"""API keys and their scopes as Envoy filters, the same on a laptop and in a cluster."""

from typing import Any

from seldon.delivery.clusters.api_keys import ApiKey
from seldon.service.serving_protocols import CLIENT_HEADER, GRPC_INFERENCE, GRPC_SELDON, SELDON_FEEDBACK

TYPE = "type.googleapis.com/envoy."
METRICS_PATHS = ("metrics", "loop")
PATHS_OF_SCOPES = (  # all other paths of a deployment need `predict`
    ("metrics", METRICS_PATHS),
    ("feedback", ("feedback", *(path.removeprefix("/") for path in SELDON_FEEDBACK))),
)
GRPC_SERVICES = (*GRPC_SELDON, GRPC_INFERENCE)  # all methods but those of GRPC_FEEDBACK need `predict`
FORWARDING = {"header": CLIENT_HEADER, "hide_credentials": True}
NO_CLIENT = "(no client)"  # no key can have this name


def key_filter(keys: list[ApiKey]) -> dict[str, Any]:
    """Return the filter that rejects requests without a valid key, and removes the key from those that it forwards."""
    credentials = [{"key": key.key, "client": key.name} for key in keys]
    sources = [{"header": "X-API-Key"}, {"header": "Authorization"}]
    return http_filter("keys", "api_key_auth.v3.ApiKeyAuth", credentials=credentials, key_sources=sources, forwarding=FORWARDING)


def require_scope(keys: list[ApiKey], scope: str) -> dict[str, Any]:
    """Return the part of a route that admits only keys with `scope`."""
    if not keys:
        return {}
    allowed = [key.name for key in keys if scope in key.scopes]
    config = {
        "@type": f"{TYPE}extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
        "allowed_clients": allowed or [NO_CLIENT],
        "forwarding": FORWARDING,  # a route without it would forward the key, and no client name
    }
    return {"typed_per_filter_config": {"keys": config}}


def open_to_all(keys: list[ApiKey]) -> dict[str, Any]:
    if not keys:
        return {}
    config = {"@type": f"{TYPE}config.route.v3.FilterConfig", "disabled": True}
    return {"typed_per_filter_config": {"keys": config}}


def http_filter(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.filters.http.{kind}", **fields}}


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
