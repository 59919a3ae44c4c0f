"""The MLflow model registry: versions of the package."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from imageloop.adapters.champion_alias import champion_of, move_champion
from imageloop.adapters.mlflow_tracking import connect, run_of
from imageloop.adapters.registered_version import (
    CLASS_NAMES,
    LABELS,
    MADE_WITH,
    VERDICT,
    VERDICT_WORDS,
    RegisteredVersion,
    registered_version,
)
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageError, read_info
from imageloop.model.smoke_test_images import read_examples
from imageloop.promotion.step_artifacts import MadeWith
from imageloop.renamed_settings import with_new_names
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger(__name__)
A_PAGE = 1000
PROXIED = "mlflow-artifacts:"
ARTIFACTS_VARIABLE = "IMAGELOOP_MLFLOW_ARTIFACTS"  # what MLflow's server was given as --artifacts-destination
LOADER = "imageloop.model.pyfunc"


class UnknownVersionError(ImageLoopError):
    """A version that the registry does not have."""


class ModelRegistry:
    """Versions of one model; every one is a signed package."""

    def __init__(self, name: str) -> None:
        import mlflow

        connect()
        self.name = name
        self._client = mlflow.MlflowClient()

    def register(self, package: Path, run_id: str, tags: dict[str, str]) -> str:
        """Copy the package to the registry as a new version and return that version; a half-copied one is never listed."""
        import mlflow

        with run_of(run_id):
            logged = mlflow.pyfunc.log_model(
                name="package", loader_module=LOADER, data_path=str(package), pip_requirements=["onnxruntime", "pillow", "numpy"],
                signature=_signature(package), input_example=_input_example(package),
            )  # fmt: skip
        self._ensure_model()
        version = self._client.create_model_version(self.name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
        return str(version.version)

    def champion(self) -> str | None:
        """The version that serves, None where there is none yet.

        Raises: ImageLoopError where the registry does not respond: no champion would mean that any model is better.
        """
        return champion_of(self.name, self._client)

    def promote(self, version: str) -> None:
        """Make a version the champion. Raises: UnknownVersionError."""
        move_champion(self.name, version, self._found(version).run_id, self._client)

    def set_verdict(self, version: str, verdict: str, words: str | None = None) -> None:
        """Store a verdict as people read it, by default in the words for it."""
        self.set_tag(version, VERDICT, words or VERDICT_WORDS.get(verdict, verdict))

    def set_tag(self, version: str, key: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, version, key, value)

    def get(self, version: str) -> RegisteredVersion:
        """Raises: UnknownVersionError."""
        return registered_version(self._found(version))

    def _found(self, version: str) -> Any:
        """Read the version from MLflow. Raises: UnknownVersionError."""
        import mlflow

        try:
            return self._client.get_model_version(self.name, version)
        except mlflow.MlflowException as error:
            known = sorted((v.version for v in self.versions()), key=int)
            if version in known:
                raise ImageLoopError(f"the registry does not describe version '{version}', got: {error.message}") from error
            raise UnknownVersionError(
                f"expected version '{version}' of '{self.name}', got only: {', '.join(known) or 'none'}"
            ) from error

    def made_with(self, version: str) -> MadeWith | None:
        """The data and training settings of a version; None where they were not stored, or by another program.

        Raises: UnknownVersionError.
        """
        text = self._found(version).tags.get(MADE_WITH)
        try:
            return MadeWith.model_validate(with_new_names(json.loads(text))) if text else None
        except ValidationError:
            logger.warning("version %s was made with settings that are not known here", version)
            return None

    def class_names(self, version: str) -> list[str]:
        """The classes of a version: by its tag, or by its package where there is none. Raises: UnknownVersionError, PackageError."""
        text = self._found(version).tags.get(CLASS_NAMES)
        return [str(name) for name in json.loads(text)] if text else read_info(self.package(version)).class_names

    def learnt_since(self, version: str, time: float) -> bool:
        """Whether a version was registered after `time` (Unix seconds), and trained on labelled predictions too. Raises: UnknownVersionError."""
        found = self._found(version)
        return bool(found.creation_timestamp > 1000 * time and int(found.tags.get(LABELS, 0)))

    def model_names(self) -> list[str]:
        """The names of all registered models, in order."""
        return sorted(model.name for model in self._client.search_registered_models(max_results=1000))

    def versions(self) -> list[RegisteredVersion]:
        """All versions, the newest first."""
        found = self._client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return sorted(map(registered_version, found), key=lambda version: -int(version.version))

    def find(self, digest: str) -> RegisteredVersion | None:
        """The version that has exactly these files."""
        return next((version for version in self.versions() if version.digest == digest), None)

    def package(self, version: str) -> Path:
        """The folder of a version's package, on this machine; fetched once where the registry is elsewhere.

        Raises: UnknownVersionError; PackageError where its files are gone.
        """
        import mlflow
        from mlflow.utils.file_utils import local_file_uri_to_path

        self.get(version)
        uri = f"models:/{self.name}/{version}"
        source = self._source(version)
        if source.startswith(("/", "file:")):
            kept = Path(local_file_uri_to_path(source), "data")
            if not kept.is_dir():
                raise PackageError(
                    f"expected the files of version {version} of '{self.name}', got none in '{kept}'; restore them"
                )
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        else:
            workspace = Workspace.current()
            place = hashlib.sha256(source.encode()).hexdigest()[:12]  # another registry counts from 1, too
            folder = workspace.packages / self.name / f"{version}-{place}"
            with workspace.lock("packages"):  # a second process would remove the folder of the first
                if not folder.is_dir():
                    with replacing(folder) as aside:
                        aside.mkdir()
                        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(aside))
        inner = [path for path in (folder / "data").iterdir() if path.is_dir()]
        return inner[0]

    def package_uri(self, version: str) -> str:
        """The address of a version's package: file:// on this machine, else that of the artifact store.

        An MLflow server that proxies artifacts does not name the bucket: `IMAGELOOP_MLFLOW_ARTIFACTS` does.
        """
        folder = self.package(version)
        source = self._source(version)
        if source.startswith(PROXIED) and (kept := os.environ.get(ARTIFACTS_VARIABLE)):
            source = f"{kept.rstrip('/')}/{urlsplit(source).path.lstrip('/')}"
        if source.startswith(("s3://", "gs://", "wasbs://", "abfss://")):
            return f"{source.rstrip('/')}/data/{folder.name}"
        return f"file://{folder}"

    def _source(self, version: str) -> str:
        return str(self._client.get_model_version_download_uri(self.name, version))

    def _ensure_model(self) -> None:
        import mlflow

        try:
            self._client.create_registered_model(self.name, description="made by ImageLoop")
        except mlflow.MlflowException:  # it is there already
            self._client.get_registered_model(self.name)


def _signature(package: Path) -> Any:
    """What `imageloop.model.pyfunc` takes and returns: encoded images, in a list or a table of one column; a probability of each class and the label out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    probabilities = [ColSpec("double", name) for name in read_info(package).class_names]
    return ModelSignature(Schema([ColSpec("binary")]), Schema([*probabilities, ColSpec("string", "label")]))


def _input_example(package: Path) -> Any:
    """A smoke-test image of the package, as a table; None where it has none."""
    import pandas as pd

    examples = read_examples(package)
    return pd.DataFrame({"image": [examples[0].content]}) if examples else None


def promotion_lock(workspace: Workspace) -> "FileLock":
    """The lock that allows one promotion at a time on this machine."""
    return workspace.lock("promotion")
