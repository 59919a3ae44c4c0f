"""The search: a study of heads on frozen features, then one of fine-tuning from the best head; a study that was interrupted goes on.

Sources: Akiba et al., Optuna, 2019; Li et al., A System for Massively Parallel Hyperparameter Tuning (ASHA), 2020.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
from optuna.trial import TrialState

from imageloop.data.prepared_images import PreparedImages
from imageloop.errors import ImageLoopError
from imageloop.execution_engine import Engine, ThisProcess, current_engine
from imageloop.progress import long_pieces
from imageloop.training.settings import TrainingSettings
from imageloop.tuning.charts import study_charts
from imageloop.tuning.search_result import SearchResult, SearchTrial, TrialResult
from imageloop.tuning.settings import SearchSettings
from imageloop.tuning.study_database import StudyDatabase
from imageloop.tuning.trial_attributes import (
    DONE,
    best_trial,
    keep_result,
    keep_settings,
    report_best,
    result_of,
    settings_of,
    stop_after_failures,
)
from imageloop.tuning.trials import (
    drawn_fine_tuning,
    drawn_settings,
    know_features,
    milliseconds_of,
    run_trial,
    single_backbones,
    transfer_of,
    usual_fine_tuning,
    with_model,
)  # fmt: skip
from imageloop.tuning.trials_elsewhere import LATE, RunTrials, Score, SentTrial
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
HEADS, FINE_TUNING = "heads", "fine-tuning"
MIN_EPOCHS = 5  # of a head before it may be pruned


Draw = Callable[[optuna.Trial], TrainingSettings]
OnTrial = Callable[[str, int, TrainingSettings, TrialResult | None], None]


def search(
    images: PreparedImages,
    base: TrainingSettings,
    settings: SearchSettings,
    model_name: str,
    workspace: Workspace,
    on_trial: OnTrial = lambda *_: None,
) -> SearchResult:
    """Search settings for a training on train and validation images; the test images stay unseen.

    `base` is what is not searched, and the first trial. `on_trial` hears of each trial: its kind, number, settings and result, None for one
    that was pruned or failed.

    Raises: SettingsError for a base that is no transfer learning, or a study that was begun with another space.
    """
    transfer_of(base)  # refused before a study is made
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats, plots, ways to sample
    with closing(StudyDatabase(base, settings, model_name, images.data_version, workspace)) as database:
        return _Search(images, base, settings, database, workspace, on_trial).run()


class _Search:
    """One search, with everything that its trials need."""

    def __init__(
        self, images: PreparedImages, base: TrainingSettings, settings: SearchSettings, database: StudyDatabase, workspace: Workspace, on_trial: OnTrial
    ) -> None:  # fmt: skip
        self.images, self.settings, self.workspace, self.on_trial = images, settings, workspace, on_trial
        self.given = base
        self.base = with_model(base, {"side_pixels": images.side_pixels})  # joined backbones would see larger images
        self.database = database
        self.started = time.monotonic()
        self.deadline = self.started + 60 * settings.minutes if settings.minutes else math.inf

    def run(self) -> SearchResult:
        studies = [self._search_heads()]
        single = best_trial(studies, self.settings.max_milliseconds, alone=True)
        if self.settings.space.fine_tune_blocks and self.settings.fine_tune_trials and single is not None:
            studies.append(self._search_fine_tuning(settings_of(single)))
        winner = best_trial(studies, self.settings.max_milliseconds)
        if winner is None:
            raise ImageLoopError(
                f"expected a trial that ends within max_milliseconds, got none of {len(studies[0].trials)}; raise search.max_milliseconds, or "
                "search other backbones"
            )
        return self._result(studies, winner)

    def _search_heads(self) -> optuna.Study:
        """The training without a search first; then all others, once the features of their backbones are known."""
        study = self.database.open(HEADS, optuna.pruners.SuccessiveHalvingPruner(min_resource=MIN_EPOCHS, reduction_factor=3))
        if not study.trials:
            study.enqueue_trial(self._default_values())
        draw = partial(drawn_settings, base=self.base, space=self.settings.space)
        first = single_backbones([transfer_of(self.base).backbone])
        for name in first:
            know_features(name, self.images, self.base, self.workspace)
        self._fill(study, HEADS, 1, draw, first)
        others = [name for name in single_backbones(self.settings.space.backbones) if name not in first]
        for name in others if self.settings.trials > 1 else ():
            if time.monotonic() < self.deadline:
                know_features(name, self.images, self.base, self.workspace)
        self._fill(study, HEADS, self.settings.trials, draw, [*first, *others])
        return study

    def _search_fine_tuning(self, head: TrainingSettings) -> optuna.Study:
        study = self.database.open(FINE_TUNING, optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
        space = self.settings.space
        if not study.trials:
            study.enqueue_trial(usual_fine_tuning(head, space))
        draw = partial(drawn_fine_tuning, head=head, space=space)
        logger.info(
            "fine-tuning: up to %d trials of minutes each%s (search.fine_tune_trials=0 leaves them out)", self.settings.fine_tune_trials,
            f", until the search is {self.settings.minutes:.0f} minutes old" if self.settings.minutes else "",
        )  # fmt: skip
        self._fill(study, FINE_TUNING, self.settings.fine_tune_trials, draw, [transfer_of(head).backbone])
        return study

    def _default_values(self) -> dict[str, Any]:
        """The values of the training without a search, as the first trial; what the space does not hold is drawn."""
        model = transfer_of(self.base)
        space, loop = self.settings.space, model.loop
        given: dict[str, Any] = {name: getattr(loop, name) for name in ("learning_rate", "weight_decay", "label_smoothing")}
        inside = {name: value for name, value in given.items() if getattr(space, name)[0] <= value <= getattr(space, name)[1]}
        flipped = {"flipped_views": model.flipped_views} if model.flipped_views in space.flipped_views else {}
        return inside | {"backbone": model.backbone} | flipped

    def _fill(self, study: optuna.Study, kind: str, num_trials: int, draw: Draw, names: list[str]) -> None:
        """Run trials until as many are done, also by other processes, or the time is over. `names`: of their single backbones."""
        optuna.storages.fail_stale_trials(study)  # of processes that were killed
        done = len(study.get_trials(deepcopy=False, states=DONE))
        engine = current_engine() if num_trials > done + 1 else ThisProcess()
        with long_pieces(f"tune, {kind}", num_trials) as advance:
            advance(done)
            if not engine.is_this_process:
                if self._has_time(study, kind):
                    task = RunTrials.of(names, self.images, self.workspace, on_images=kind == FINE_TUNING)
                    for _ in self._trials_elsewhere(study, kind, num_trials - done, draw, engine, task):
                        advance(1)
                return
            while len(study.get_trials(deepcopy=False, states=DONE)) < num_trials and self._has_time(study, kind):
                study.optimize(
                    lambda trial: self._objective(trial, kind, draw),
                    n_trials=1,
                    catch=(MemoryError, RuntimeError, ImageLoopError),
                )
                advance(1)
                stop_after_failures(study)

    def _trials_elsewhere(
        self, study: optuna.Study, kind: str, num_trials: int, draw: Draw, engine: Engine, task: RunTrials
    ) -> Iterator[None]:
        """Run so many trials on the workers of an engine, several at once; none is pruned, for a worker sees no other trial."""
        sent: list[tuple[optuna.Trial, TrainingSettings]] = []

        def drawn() -> Iterator[SentTrial]:
            while len(sent) < num_trials and self._has_time(study, kind):
                with warnings.catch_warnings():  # no heartbeat: a trial of a killed search is not counted, whatever its state
                    warnings.simplefilter("ignore", UserWarning)
                    trial = study.ask()
                settings = draw(trial)
                keep_settings(trial, settings)
                sent.append((trial, settings))
                yield SentTrial(settings, self.deadline - time.monotonic())

        for number, score in engine.map(task, drawn()):
            trial, settings = sent[number]
            self._conclude(trial, kind, settings, score)
            yield
            stop_after_failures(study)

    def _conclude(self, trial: optuna.Trial, kind: str, settings: TrainingSettings, score: Score) -> None:
        """Give Optuna the result of a trial that a worker ran."""
        if isinstance(score, str):
            trial.study.tell(trial, state=TrialState.PRUNED if score == LATE else TrialState.FAIL)
            self.on_trial(kind, trial.number, settings, None)
            if score != LATE:
                logger.warning("%s, trial %d failed: %s", kind, trial.number, score)
            return
        result = replace(score, milliseconds=milliseconds_of(settings, self.images.side_pixels, self.workspace))
        self._keep(trial, kind, settings, result)
        trial.study.tell(trial, result.loss)

    def _has_time(self, study: optuna.Study, kind: str) -> bool:
        """Whether another trial may begin; the first head always may, since a search must have a result."""
        ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
        if not ended:
            return kind == HEADS or time.monotonic() < self.deadline
        last = ended[-1].duration.total_seconds() if ended[-1].duration else 0.0
        return time.monotonic() + (last if kind == FINE_TUNING else 0) < self.deadline

    def _objective(self, trial: optuna.Trial, kind: str, draw: Callable[[optuna.Trial], TrainingSettings]) -> float:
        settings = draw(trial)
        keep_settings(trial, settings)
        try:
            result = run_trial(trial, settings, self.images, self.workspace, self.deadline)
        except BaseException:
            self.on_trial(kind, trial.number, settings, None)
            raise
        self._keep(trial, kind, settings, result)
        return result.loss

    def _keep(self, trial: optuna.Trial, kind: str, settings: TrainingSettings, result: TrialResult) -> None:
        """Store the result with the trial, and report it."""
        keep_result(trial, result)
        self.on_trial(kind, trial.number, settings, result)
        report_best(trial, kind, result)

    def _result(self, studies: list[optuna.Study], winner: optuna.trial.FrozenTrial) -> SearchResult:
        rows = [
            SearchTrial(kind, trial.number, trial.state.name.lower(), trial.params, result_of(trial))
            for kind, study in zip((HEADS, FINE_TUNING), studies, strict=False)
            for trial in study.get_trials()
        ]
        kind = HEADS if winner in studies[0].trials else FINE_TUNING
        default = next((trial for trial in studies[0].get_trials(states=(TrialState.COMPLETE,)) if trial.number == 0), winner)
        best = result_of(winner)
        if best is None:
            raise RuntimeError(f"expected a result of {kind} {winner.number}")
        settings = settings_of(winner)
        return SearchResult(
            settings=self.given if settings == self.base else settings,  # the same training gives the same version
            winner=f"{kind} {winner.number}",
            best=best,
            default=result_of(default) or best,
            trials=rows,
            study=self.database.name,
            storage=self.database.shown_url,
            seconds=time.monotonic() - self.started,
            charts=study_charts(dict(zip((HEADS, FINE_TUNING), studies, strict=False))),
        )
