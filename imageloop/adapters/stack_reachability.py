"""Ask the remote parts of a stack whether they respond, before a library waits for them for minutes."""

import socket
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import yaml

from imageloop.adapters.zenml_stack_files import FOLDER, VARIABLE
from imageloop.errors import SettingsError

if TYPE_CHECKING:
    from zenml.models import ComponentResponse, StackResponse

TIMEOUT_SECONDS = 4.0
NO_SERVER = (502, 503, 504)  # a proxy responds for a server that does not
SCHEMES = {"http": 80, "https": 443}
TRACKER, ARTIFACTS, REGISTRY, ORCHESTRATOR = "experiment_tracker", "artifact_store", "container_registry", "orchestrator"
BAD_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken")


def refuse_unreachable_parts(stack: "StackResponse", kinds: Collection[str]) -> None:
    """Check that the remote parts of these kinds respond, in at most some seconds each.

    Raises: SettingsError with the address of a part that does not, and the variable of its stack file that sets it.
    """
    asked = {TRACKER: _ask_tracker, ARTIFACTS: _ask_bucket, REGISTRY: _ask_registry, ORCHESTRATOR: _ask_cluster}
    components = {kind.value: found for kind, found in stack.components.items()}
    for kind, ask in asked.items():
        for component in components.get(kind, []) if kind in kinds else []:
            ask(stack.name, component)


def failure_of(address: str) -> str | None:
    """Return why the server at an http address does not respond, None where it does; what it responds does not matter."""
    try:
        response = requests.get(address, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True)
    except requests.exceptions.SSLError:
        return None  # it is there; who uses it explains what is wrong with its certificate
    except requests.Timeout:
        return f"no response within {TIMEOUT_SECONDS:.0f} s"
    except requests.RequestException as error:
        return f"no response ({_reason(error)})"
    response.close()
    return f"the response {response.status_code} of a proxy" if response.status_code in NO_SERVER else None


def api_server_failure(context: str | None, address: str) -> str | None:
    """Return what is wrong where nothing listens at the address of a kubeconfig's context, None where something does."""
    parts = urlsplit(address)
    try:
        socket.create_connection(
            (parts.hostname or "", parts.port or SCHEMES.get(parts.scheme, 443)), timeout=TIMEOUT_SECONDS
        ).close()
    except OSError as error:
        return (
            f"expected the API server of the cluster '{context or 'the current context'}' at {address}, got no response ({error}); "
            f"check the cluster, its VPN and the kubeconfig, or set {_variable(ORCHESTRATOR, 'kubernetes_context')}"
        )
    return None


def _ask_tracker(stack: str, component: "ComponentResponse") -> None:
    address = str(component.configuration.get("tracking_uri") or "")
    if urlsplit(address).scheme in SCHEMES and (failure := failure_of(f"{address.rstrip('/')}/health")):
        raise _unreachable("the MLflow server", stack, address, failure, _variable(TRACKER, "tracking_uri", component.name))


def _ask_registry(stack: str, component: "ComponentResponse") -> None:
    address = str(component.configuration.get("uri") or "").partition("/")[0]
    failures = [failure_of(f"{scheme}://{address}/v2/") for scheme in ("https", "http")] if address else []
    if failures and None not in failures:
        raise _unreachable("the container registry", stack, address, str(failures[0]), _variable(REGISTRY, "uri", component.name))


def _ask_cluster(_stack: str, component: "ComponentResponse") -> None:
    """Ask the API server of a Kubernetes orchestrator; a context that is missing from the kubeconfig is ZenML's to refuse."""
    if component.flavor_name != "kubernetes" or component.connector is not None:
        return
    from kubernetes import config

    context = component.configuration.get("kubernetes_context")
    try:
        address = config.new_client_from_config(context=context).configuration.host
    except config.ConfigException:
        return
    if failure := api_server_failure(context, address):
        raise SettingsError(failure)


def _ask_bucket(stack: str, component: "ComponentResponse") -> None:
    """List one object of an S3 bucket. Raises: SettingsError for a server, a bucket or credentials that are not there."""
    settings = component.configuration
    if component.flavor_name != "s3" or component.connector is not None or settings.get("authentication_secret"):
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    place = urlsplit(str(settings["path"]))
    address = (settings.get("client_kwargs") or {}).get("endpoint_url")
    what, where = "the artifact store", f"{settings['path']} ({address or 'AWS'})"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=settings.get("key"), aws_secret_access_key=settings.get("secret"),
        region_name=(settings.get("client_kwargs") or {}).get("region_name"),
        config=Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    try:
        client.list_objects_v2(Bucket=place.netloc, Prefix=place.path.lstrip("/"), MaxKeys=1)
    except NoCredentialsError as error:
        raise SettingsError(
            f"expected credentials for {what} of the stack '{stack}', {where}, got none; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except ClientError as error:
        _refuse_answer(str(error.response.get("Error", {}).get("Code")), stack, place.netloc, where, error)
    except BotoCoreError as error:
        variable = _variable(ARTIFACTS, "endpoint_url", component.name)
        raise _unreachable(what, stack, where, f"no response ({error})", variable) from error


def _refuse_answer(code: str, stack: str, bucket: str, where: str, error: Exception) -> None:
    """Raises: SettingsError for a missing bucket or wrong credentials. Who may not list may still read and write."""
    if code == "NoSuchBucket":
        raise SettingsError(
            f"expected the bucket '{bucket}' of the stack '{stack}' at {where}, got none of this name; "
            f"create it, or set {_variable(ARTIFACTS, 'path')}"
        ) from error
    if code in BAD_KEYS:
        raise SettingsError(
            f"expected credentials that the artifact store of the stack '{stack}' accepts, {where}, got {code}; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error


def _unreachable(what: str, stack: str, address: str, failure: str, variable: str) -> SettingsError:
    return SettingsError(
        f"expected {what} of the stack '{stack}' at {address}, got {failure}; start it, or set {variable} "
        f"and run: python stacks/apply.py stacks/{stack.partition('-')[0]}.yaml; without any server: zenml stack set local"
    )


def _variable(kind: str, key: str, component: str = "") -> str:
    """Name the variables that fill in a value of a component in the stack files: `IMAGELOOP_MLFLOW_URI`."""
    found: dict[str, None] = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        part = yaml.safe_load(file.read_text())["components"].get(kind, {})
        prefix = str(part.get("name", "")).partition("$")[0]
        if part and (not component or component.startswith(prefix)):
            found |= dict.fromkeys(match["name"] for match in VARIABLE.finditer(_value(part.get("config") or {}, key)))
    return " or ".join(found) or f"its address in the stack's file under {FOLDER.name}/"


def _value(settings: dict[str, Any], key: str) -> str:
    nested = [value for value in settings.values() if isinstance(value, dict)]
    return str(settings[key]) if key in settings else next((text for one in nested if (text := _value(one, key))), "")


def _reason(error: requests.RequestException) -> str:
    """Return what urllib3 wraps: the reason of the operating system."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
    return type(error).__name__
