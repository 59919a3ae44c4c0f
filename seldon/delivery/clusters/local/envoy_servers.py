"""The gateway's routes of servers: below the address of a server a header, or V2's path, chooses one of its models."""

from typing import Any

from seldon.delivery.clusters.api_keys import ApiKey
from seldon.delivery.clusters.gateway_scopes import require_scope
from seldon.delivery.clusters.local.envoy_routes import Deployment, routes_below, routes_to
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.model_server_settings import server_of
from seldon.service.serving_protocols import V2_MODELS

MODEL_HEADER = "x-imageloop-model"


def server_routes(deployments: list[Deployment], settings: GatewaySettings, keys: list[ApiKey]) -> list[dict[str, Any]]:
    """The routes of all servers, and a response for requests that choose no model."""
    servers: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        names = {server.name for part in deployment.manifest.spec.predictors if (server := server_of(part)) is not None}
        for name in names:
            servers.setdefault(f"/seldon/{deployment.manifest.metadata.namespace}/{name}/", []).append(deployment)
    routes: list[dict[str, Any]] = []
    for prefix, members in servers.items():
        models = {member.manifest.spec.predictors[0].model_name: member for member in members}
        for name, member in models.items():
            path = {"path_separated_prefix": f"{prefix.rstrip('/')}{V2_MODELS}{name}"}
            rewrite = {"prefix_rewrite": f"{V2_MODELS}{name}"}
            routes += routes_to(member, settings, keys, "predict", path, rewrite=rewrite)
        for name, member in models.items():
            header = {"name": MODEL_HEADER, "string_match": {"exact": name}}
            routes += routes_below(prefix, member, settings, keys, [header])
        named = ", ".join(sorted(models))
        info = f"expected a model of this server ({named}) in the header {MODEL_HEADER} or in a path {V2_MODELS}NAME, got none of them"
        answer = {"status": 404, "body": {"inline_string": info}}
        routes.append({"match": {"prefix": prefix}, "direct_response": answer} | require_scope(keys, "predict"))
    return routes
