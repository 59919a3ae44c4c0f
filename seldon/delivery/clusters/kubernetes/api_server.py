"""Talk to the API server of a cluster, and turn its errors into one sentence."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, ForbiddenError
from urllib3.exceptions import HTTPError

from imageloop.adapters.stack_reachability import api_server_failure
from imageloop.errors import ImageLoopError
from seldon.delivery.clusters.cluster_protocol import DeploymentError


class ApiServer:
    """A client for the API server of the kubeconfig's context `context`, or `api` where given; it connects at the first call."""

    def __init__(self, context: str | None, api: client.ApiClient | None) -> None:
        self._context, self._given = context, api
        self._opened: DynamicClient | None = None

    def client(self) -> client.ApiClient:
        """The plain client, for core resources."""
        return self._open().client

    def deployments(self) -> Any:
        """The SeldonDeployments."""
        return self._open().resources.get(api_version="machinelearning.seldon.io/v1", kind="SeldonDeployment")

    def _open(self) -> DynamicClient:
        if self._opened is None:
            api = self._given or _client(self._context)
            if failure := api_server_failure(self._context, api.configuration.host):
                raise DeploymentError(failure)
            with tempfile.TemporaryDirectory() as folder:  # the library would leave what it discovered in the temporary folder
                self._opened = DynamicClient(api, cache_file=f"{folder}/discovered.json")
        return self._opened


@contextmanager
def api_errors(what: str) -> Iterator[None]:
    """Raise what the library raises in the block as a DeploymentError; `what` is the action, as `read the status`."""
    try:
        yield
    except ImageLoopError:
        raise
    except ConflictError as error:
        raise DeploymentError(
            f"could not {what}: another field manager owns a field of it: {_message(error)}; take the field from one of the two"
        ) from error
    except ForbiddenError as error:
        raise DeploymentError(
            f"could not {what}: no permission to: {_message(error)}; ask the cluster's administrator for it"
        ) from error
    except (DynamicApiError, ApiException) as error:
        raise DeploymentError(f"could not {what}: the API server refuses: {_message(error)}") from error
    except (HTTPError, OSError, config.ConfigException) as error:
        raise DeploymentError(f"could not {what}: no API server responds ({error})") from error


def _client(context: str | None) -> client.ApiClient:
    """Make a client: in a pod by its service account, elsewhere by the kubeconfig."""
    try:
        config.load_incluster_config()
        return client.ApiClient()
    except config.ConfigException:
        return config.new_client_from_config(context=context)


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(getattr(error, "reason", error))
