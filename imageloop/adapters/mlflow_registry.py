"""The MLflow model registry: versions of the package, and the champion alias."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from imageloop.adapters.mlflow_tracking import connect
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageError, read_info
from imageloop.promotion.step_artifacts import MadeWith
from imageloop.renamed_settings import with_new_names
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger(__name__)
CHAMPION = "champion"
NUM_CHAMPIONS = "num_champions."  # the tag of an experiment, and the name of the model
# No such model, no such alias, nothing that this user may read.
NO_CHAMPION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")
MADE_WITH = "made_with"  # the tag
A_PAGE = 1000
LABELS = "labels"  # the tag: how many labelled predictions, or changed copies, it was trained or judged on
TEST_SET = "test_set"  # the tag: the hash of the test images, so that versions of the same ones can be compared
ROLLOUT = "rollout"  # the tag of a version that was rolled back
CLASS_NAMES = "class_names"  # the tag, a JSON list; absent where the names are too long for one
MAX_TAG = 4000  # characters of a tag that every store of MLflow takes
OVERRULED = "by a user: "  # the tag `approved` begins with it where a reason was given
METRICS = "metrics"  # the tag
AGAINST = "judged_against"  # the tag: the champion that the gates compared it with, empty if there was none
PROXIED = "mlflow-artifacts:"
ARTIFACTS_VARIABLE = "IMAGELOOP_MLFLOW_ARTIFACTS"  # what MLflow's server was given as --artifacts-destination
LOADER = "imageloop.model.pyfunc"


class UnknownVersionError(ImageLoopError):
    """A version that the registry does not have."""


@dataclass(frozen=True)
class RegisteredVersion:
    """`verdict`: advance, rollback (refused by a gate) or hold (awaits approval); `approved` by a user.

    `overruled`: the user gave a reason to overrule a gate or a rollout. `accuracy` on the test images whose hash is `test_set`; None and
    empty where they were not stored. `rolled_back`: once, by a rollout or by hand.

    `judged_against`: the champion at that time, empty if there was none; None if it was not stored.
    """

    name: str
    version: str
    run_id: str
    verdict: str
    reason: str
    digest: str
    approved: bool = False
    judged_against: str | None = None
    accuracy: float | None = None
    test_set: str = ""
    overruled: bool = False
    rolled_back: bool = False


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

        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            logged = mlflow.pyfunc.log_model(
                name="package", loader_module=LOADER, data_path=str(package), pip_requirements=["onnxruntime", "pillow", "numpy"]
            )
        self._ensure_model()
        version = self._client.create_model_version(self.name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
        return str(version.version)

    def champion(self) -> str | None:
        """The version that serves, None where there is none yet.

        Raises: ImageLoopError where the registry does not respond: no champion would mean that any model is better.
        """
        import mlflow

        try:
            return str(self._client.get_model_version_by_alias(self.name, CHAMPION).version)
        except mlflow.MlflowException as error:
            if error.error_code not in NO_CHAMPION:
                raise ImageLoopError(
                    f"expected the champion of '{self.name}' from the registry, got: {error.message}; try again"
                ) from error
            return None

    def promote(self, version: str) -> None:
        self._count_champion(version)
        self._client.set_registered_model_alias(self.name, CHAMPION, version)
        logger.info("version %s of '%s' is the champion now", version, self.name)

    def _count_champion(self, version: str) -> None:
        """Count the champions in a tag that outlives the model: a deleted model counts its versions from 1 again."""
        import mlflow

        tag = f"{NUM_CHAMPIONS}{self.name}"
        try:
            run = self._client.get_run(self._found(version).run_id)
            experiment = self._client.get_experiment(run.info.experiment_id)
            self._client.set_experiment_tag(experiment.experiment_id, tag, str(int(experiment.tags.get(tag, 0)) + 1))
        except mlflow.MlflowException as error:  # a version whose run was deleted for good
            logger.warning(
                "the champion of '%s' could not be counted, so a deleted model would be trained anew as a first one: %s",
                self.name,
                error.message,
            )

    def set_tag(self, version: str, key: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, version, key, value)

    def get(self, version: str) -> RegisteredVersion:
        """Raises: UnknownVersionError."""
        return _registered(self._found(version))

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

    def versions(self) -> list[RegisteredVersion]:
        """All versions, the newest first."""
        found = self._client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return sorted(map(_registered, found), key=lambda version: -int(version.version))

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


def _registered(found: Any) -> RegisteredVersion:
    tags = found.tags
    return RegisteredVersion(
        found.name,
        str(found.version),
        found.run_id,
        tags.get("verdict", ""),
        tags.get("reason", ""),
        tags.get("package_digest", ""),
        "approved" in tags,
        tags.get(AGAINST),
        json.loads(tags[METRICS]).get("accuracy") if METRICS in tags else None,
        tags.get(TEST_SET, ""),
        tags.get("approved", "").startswith(OVERRULED),
        ROLLOUT in tags,
    )


def promotion_lock(workspace: Workspace) -> "FileLock":
    """The lock that allows one promotion at a time on this machine."""
    return workspace.lock("promotion")
