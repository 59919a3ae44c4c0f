"""The database of studies: Optuna's own, SQLite below the site's state or any by its URL."""

import hashlib
import json
from typing import Any

import optuna

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.training.settings import TrainingSettings
from imageloop.tuning.settings import SearchSettings
from imageloop.workspace_paths import Workspace

FILE = "tuning.db"
HEARTBEAT_SECONDS, SILENT_SECONDS = 10, 60
SPACE, OPENINGS = "space", "openings"  # attributes of a study


class StudyDatabase:
    """Opens the studies of one search. `name`: of the study of a model, its data and a space, without the kind."""

    def __init__(
        self, base: TrainingSettings, settings: SearchSettings, model_name: str, data_version: str, workspace: Workspace
    ) -> None:
        space = [base.model_dump(mode="json"), settings.space.model_dump(mode="json")]
        self._space, self._seed, self._workspace = json.dumps(space, sort_keys=True), settings.seed, workspace
        digest = hashlib.sha256(f"{self._space}|{settings.seed}".encode()).hexdigest()
        self.name = settings.study or f"{model_name}-{data_version[:8]}-{digest[:8]}"
        self._url = settings.storage or f"sqlite:///{workspace.state / FILE}"
        self._storages: list[optuna.storages.RDBStorage] = []

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self._url).render_as_string(hide_password=True)
        except ArgumentError:  # what it holds is not known
            return "search.storage"

    def open(self, kind: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
        """The study of a kind. Raises: ImageLoopError for a database that does not respond, SettingsError for another space."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            with self._workspace.lock("tuning"):  # two searches would both create the tables
                study = self._open(f"{self.name}-{kind}", pruner)
        except Exception as error:  # SQLAlchemy's, the driver's, or Optuna's own
            raise ImageLoopError(
                f"expected Optuna's database at '{self.shown_url}', got {type(error).__name__}: {str(error).splitlines()[0]}; "
                "start it, or set search.storage"
            ) from error
        if study.user_attrs.get(SPACE, self._space) != self._space:
            raise SettingsError(
                f"search.study: expected the space and training settings that study '{self.name}' was begun with, got others; name another "
                "study, or leave search.study unset, which makes one for each space"
            )
        study.set_user_attr(SPACE, self._space)
        return study

    def _open(self, name: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
        storage = optuna.storages.RDBStorage(
            self._url, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=SILENT_SECONDS, engine_kwargs=_options(self._url)
        )
        self._storages.append(storage)
        if storage.engine.dialect.name == "sqlite":
            _one_writer_at_a_time(storage.engine)
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True)
        openings = study.user_attrs.get(OPENINGS, 0)
        study.set_user_attr(OPENINGS, openings + 1)
        # a search that goes on, and one beside it, would begin with the values that were drawn already
        study.sampler = optuna.samplers.TPESampler(seed=self._seed + openings, constant_liar=True)
        return study

    def close(self) -> None:
        """Close the connections."""
        for storage in self._storages:
            storage.remove_session()
            storage.engine.dispose()


def _one_writer_at_a_time(engine: Any) -> None:
    """Let each transaction take SQLite's lock when it begins: it has no SELECT FOR UPDATE, by which Optuna lets one process alone take a trial."""
    from sqlalchemy import event

    def begin_by_hand(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    event.listen(engine, "connect", begin_by_hand)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


def _options(url: str) -> dict[str, Any]:
    """A process that waits for another's transaction, instead of failing at once."""
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
