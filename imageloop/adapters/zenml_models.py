"""ZenML's versions of a model: each training makes one, and its metadata names the version of the registry."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zenml.client import Client
    from zenml.models import ModelVersionResponse

PACKAGE = "package"  # the artifact of the step `sign`


def model_version(client: "Client", model_name: str, registered: str) -> "ModelVersionResponse | None":
    """ZenML's version of a version of the registry, None where this store did not see its training."""
    try:
        found = client.list_model_versions(
            model=model_name, run_metadata=[f"registry_version:{registered}"], sort_by="desc:created"
        )
    except KeyError:  # no such model
        return None
    return next(iter(found.items), None)


def package_of(version: "ModelVersionResponse") -> str | None:
    """The id of the artifact that holds the package of a model's version, None where it was deleted."""
    artifact = version.get_artifact(PACKAGE)
    return None if artifact is None else str(artifact.id)
