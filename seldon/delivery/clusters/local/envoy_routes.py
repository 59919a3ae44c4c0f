"""The gateway's routes: which path leads to which predictor, with which share, and with which scope."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from seldon.delivery.clusters.api_keys import ApiKey
from seldon.delivery.clusters.gateway_scopes import PATHS_OF_SCOPES, TYPE, open_to_all, require_scope
from seldon.delivery.clusters.local.gateway_settings import LOOPBACK, GatewaySettings, in_url
from seldon.delivery.manifest import Manifest
from seldon.service.serving_protocols import ORIGINS_VARIABLE

PREDICTOR_HEADER = "x-imageloop-predictor"  # a caller with the scope `try` may choose a predictor by name
RESPONSE_SECONDS = 30
HEDGE_SECONDS = 8  # after which another replica gets the same request too, and the first response counts


@dataclass(frozen=True)
class Upstream:
    """A predictor and the ports of those of its replicas that may get requests; `grpc_ports`: of gRPC, by the port of HTTP."""

    predictor: str
    ports: list[int]
    health_path: str
    grpc_ports: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """A deployment with the replicas of its predictors."""

    manifest: Manifest
    upstreams: list[Upstream]


NameOf = Callable[[str, str], str]  # of a cluster, from the deployment's key and the predictor


def cluster_name(key: str, predictor: str) -> str:
    return f"{key}/{predictor}".replace("/", "--")


def routes_of(deployment: Deployment, settings: GatewaySettings, keys: list[ApiKey]) -> list[dict[str, Any]]:
    """Return the routes of a deployment, for each path."""
    prefix = f"/seldon/{deployment.manifest.key}/"
    without_slash = {
        "match": {"path": prefix.rstrip("/")},
        "redirect": {"path_redirect": prefix, "response_code": "PERMANENT_REDIRECT"},
    }
    return [*routes_below(prefix, deployment, settings, keys), without_slash | open_to_all(keys)]


def routes_below(
    prefix: str, deployment: Deployment, settings: GatewaySettings, keys: list[ApiKey], headers: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The routes from the paths below `prefix` to a deployment, for requests with these headers."""
    routes = []
    chosen = {"headers": list(headers)} if headers else {}
    guarded = [(scope, [prefix + path for path in paths]) for scope, paths in PATHS_OF_SCOPES]
    for scope, paths in [*guarded, ("predict", [prefix])]:
        for path in paths:
            match = ({"prefix": path} if path == prefix else {"path": path}) | chosen
            rewrite = {"prefix_rewrite": "/" if path == prefix else "/" + path.removeprefix(prefix)}
            routes += routes_to(deployment, settings, keys, scope, match, rewrite=rewrite)
    return routes


def routes_to(
    deployment: Deployment,
    settings: GatewaySettings,
    keys: list[ApiKey],
    scope: str,
    match: dict[str, Any],
    *,
    rewrite: dict[str, str] | None = None,
    name_of: NameOf = cluster_name,
) -> list[dict[str, Any]]:
    """The routes of what matches: one for each predictor that a caller may choose, then one by weight."""
    manifest, limits = deployment.manifest, {"request_body_buffer_limit": settings.max_body_bytes + 2**20}
    action = _action() | _hedged(deployment) | (rewrite or {})
    mirrors = _mirrors(manifest, name_of) if scope == "predict" else []
    routes = []
    for upstream in deployment.upstreams:
        header = {"name": PREDICTOR_HEADER, "string_match": {"exact": upstream.predictor}}
        chosen = match | {"headers": [*match.get("headers", []), header]}
        # A key with the scope `predict` alone chooses none, or any caller could decide a rollout by what it sends.
        allowed = require_scope(keys, "try" if scope == "predict" else scope)
        route = action | {"cluster": name_of(manifest.key, upstream.predictor)}
        routes.append({"match": chosen, "route": route} | allowed | limits)
    weighted = action | _by_weight(manifest, settings, name_of) | ({"request_mirror_policies": mirrors} if mirrors else {})
    return [*routes, {"match": match, "route": weighted} | require_scope(keys, scope) | limits]


def _action() -> dict[str, Any]:
    predicate = {"@type": f"{TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
    return {
        "timeout": f"{RESPONSE_SECONDS}s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": 5,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
            "retry_host_predicate": [{"name": "previous_hosts", "typed_config": predicate}],
            "host_selection_retry_max_attempts": 3,
        },
    }


def _hedged(deployment: Deployment) -> dict[str, Any]:
    """A replica that hangs is found by health checks in up to 8 s; predicting and labelling are safe to repeat meanwhile.

    Where a predictor has one replica, the same one would get a slow request again and again.
    """
    if not all(len(upstream.ports) > 1 for upstream in deployment.upstreams):
        return {}
    policy = _action()["retry_policy"]
    on_timeout = {"retry_on": f"{policy['retry_on']},retriable-status-codes", "retriable_status_codes": [504]}
    return {
        "retry_policy": policy | on_timeout | {"per_try_timeout": f"{HEDGE_SECONDS}s"},
        "hedge_policy": {"hedge_on_per_try_timeout": True},
    }


def _by_weight(manifest: Manifest, settings: GatewaySettings, name_of: NameOf) -> dict[str, Any]:
    """A predictor by the manifest's weights: by chance, or where a request has the sticky header by its value's hash.

    The stable predictor comes first, so that an id that had the candidate keeps it while the candidate's weight grows.
    """
    weighted = [{"name": name_of(manifest.key, name), "weight": weight} for name, weight in manifest.weights.items()]
    if settings.sticky_header is None:
        return {"weighted_clusters": {"clusters": weighted}}
    return {
        "weighted_clusters": {"clusters": weighted, "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": settings.sticky_header}}],
    }


def _mirrors(manifest: Manifest, name_of: NameOf) -> list[dict[str, Any]]:
    """Where copies of requests go: to the shadows."""
    return [
        {
            "cluster": name_of(manifest.key, predictor.name),
            "runtime_fraction": {"default_value": {"numerator": predictor.traffic or 100}},
            "disable_shadow_host_suffix_append": True,  # our own page's requests would seem another origin's
        }
        for predictor in manifest.spec.predictors
        if predictor.shadow
    ]


def own_names() -> list[str]:
    """The host names of a gateway without keys: otherwise any web page whose name leads here could send requests."""
    allowed = (urlsplit(origin).hostname for origin in os.environ.get(ORIGINS_VARIABLE, "").split())
    return list(dict.fromkeys([*map(in_url, LOOPBACK), *filter(None, allowed)]))
