"""Who may do what at a gateway, in Envoy's words: the same filter and the same rights on a laptop and in a cluster."""

from typing import Any

from seldon.delivery.clusters.local.gateway_settings import ApiKey
from seldon.service.serving_protocols import CLIENT_HEADER, SELDON_FEEDBACK

TYPE = "type.googleapis.com/envoy."
METRICS_PATHS = ("metrics", "loop")
PATHS_OF_RIGHTS = (  # everything else of a deployment wants `predict`
    ("metrics", METRICS_PATHS),
    ("feedback", ("feedback", *(path.removeprefix("/") for path in SELDON_FEEDBACK))),
)
FORWARDING = {"header": CLIENT_HEADER, "hide_credentials": True}
NOBODY = "(nobody)"  # no key can have this name


def key_filter(keys: list[ApiKey]) -> dict[str, Any]:
    """Nobody without a key comes further; the key itself goes no further."""
    credentials = [{"key": key.key, "client": key.name} for key in keys]
    sources = [{"header": "X-API-Key"}, {"header": "Authorization"}]
    return http_filter("keys", "api_key_auth.v3.ApiKeyAuth", credentials=credentials, key_sources=sources, forwarding=FORWARDING)


def rights(keys: list[ApiKey], right: str) -> dict[str, Any]:
    """What a route says of the keys that it wants."""
    if not keys:
        return {}
    allowed = [key.name for key in keys if right in key.rights]
    config = {
        "@type": f"{TYPE}extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
        "allowed_clients": allowed or [NOBODY],
        "forwarding": FORWARDING,  # a route that says nothing of it would let the key through, and name nobody
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
