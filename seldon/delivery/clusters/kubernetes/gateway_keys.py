"""API keys at a cluster's gateway: an Envoy that the gateway calls before each request (external authorization).

    IMAGELOOP_API_KEYS='alice:predict+feedback:KEY' python -m seldon.delivery.clusters.kubernetes.gateway_keys > envoy.json
    kubectl create secret generic imageloop-keys --from-file=envoy.json

Filter, scopes and paths are those of the local gateway. The configuration holds the keys, so it is a secret.
Source: Envoy's HTTP service of `ext_authz`; Istio's `envoyExtAuthzHttp`.
"""

import json
import re
import sys
from typing import Any

from imageloop.errors import SettingsError
from seldon.delivery.clusters.api_keys import KEYS_VARIABLE, ApiKey, read_keys
from seldon.delivery.clusters.gateway_scopes import (
    GRPC_SERVICES,
    PATHS_OF_SCOPES,
    TYPE,
    address,
    http_filter,
    key_filter,
    open_to_all,
    require_scope,
)
from seldon.service.serving_protocols import CLIENT_HEADER, GRPC_FEEDBACK

PORT = 9191
DEPLOYMENT = "^/seldon/[^/]+/[^/]+/"  # whatever its namespace and name


def configuration(keys: list[ApiKey], host: str = "0.0.0.0", port: int = PORT) -> dict[str, Any]:  # noqa: S104 # nosec B104 - of a pod
    """Return Envoy's bootstrap configuration; the process responds with 200 and the caller's name, 401, or 403.

    Raises: SettingsError without keys.
    """
    if not keys:
        raise SettingsError(f"expected keys, got none; set {KEYS_VARIABLE} to name:predict+feedback:key")
    guarded = [(right, f"{DEPLOYMENT}({'|'.join(paths)})$") for right, paths in PATHS_OF_SCOPES]
    guarded += [
        ("predict", f"{DEPLOYMENT}.*$"),
        ("feedback", f"^({_either(GRPC_FEEDBACK)})$"),
        ("predict", f"^/({_either(GRPC_SERVICES)})/.*$"),
    ]
    routes = [_route(keys, right, expression) for right, expression in guarded]
    well = {"match": {"path": "/ready"}, "direct_response": {"status": 200}} | open_to_all(keys)
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "keys",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "http_filters": [key_filter(keys), http_filter("router", "router.v3.Router")],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [well, *routes]}]},
    }
    listener = {
        "name": "keys",
        "address": address(host, port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


def _either(names: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, names))


def _route(keys: list[ApiKey], scope: str, expression: str) -> dict[str, Any]:
    named = {"header": {"key": CLIENT_HEADER, "value": f"%REQ({CLIENT_HEADER})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    response = {"direct_response": {"status": 200}, "response_headers_to_add": [named]}
    return {"match": {"safe_regex": {"regex": expression}}} | response | require_scope(keys, scope)


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(configuration(read_keys()), indent=1) + "\n")
    except SettingsError as error:
        sys.exit(f"error: {error}")
