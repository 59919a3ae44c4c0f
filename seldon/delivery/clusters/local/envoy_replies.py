"""What the gateway itself answers, in the format of the service's errors."""

from typing import Any

from seldon.delivery.clusters.local.envoy_routes import Deployment
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings

NUM_NAMED = 5  # deployments, to a caller of another path


def nothing_here(deployments: list[Deployment]) -> dict[str, Any]:
    """The response on every path of no deployment."""
    paths = [f"/seldon/{deployment.manifest.key}/" for deployment in deployments]
    named = ", ".join(paths[:NUM_NAMED]) + (f" and {len(paths) - NUM_NAMED} more" if len(paths) > NUM_NAMED else "")
    info = (
        f"expected the path of a deployment (over gRPC: its name as metadata), got another one; deployed here: {named or 'none'}"
    )
    return {"status": 404, "body": {"inline_string": info}}


def local_replies(settings: GatewaySettings) -> dict[str, Any]:
    """Give Envoy's own error responses the format of the service's errors."""
    body = {"status": {"status": "FAILURE", "code": "%RESPONSE_CODE%", "reason": "GATEWAY", "info": "%LOCAL_REPLY_BODY%"}}
    later = [{"header": {"key": "Retry-After", "value": "1"}}]
    too_large = f"expected a body of at most {settings.max_body_bytes} bytes, got a larger one; send a smaller image, or fewer"
    mappers = [
        {"filter": _code(503), "headers_to_add": later},
        {"filter": _code(413), "body": {"inline_string": too_large}},
    ]
    return {"mappers": mappers, "body_format": {"json_format": body}}


def _code(code: int) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": code, "runtime_key": "unused"}}}}
