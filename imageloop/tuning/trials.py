"""One trial: settings that the sampler draws, a training with them, and how good it is on the validation images."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from optuna import Trial, TrialPruned

from imageloop import progress
from imageloop.data.prepared_images import PreparedImages
from imageloop.errors import SettingsError
from imageloop.model.package import JOINED_BY, WEIGHTS_MARK
from imageloop.promotion.calibration import fit_temperature
from imageloop.training.backbone_speed import milliseconds_of_image
from imageloop.training.devices import device_of
from imageloop.training.features import VIEWS, FeatureExtractor
from imageloop.training.loop_settings import Lora
from imageloop.training.settings import TrainingSettings, Transfer
from imageloop.training.trained_model import EpochReport, TrainedModel
from imageloop.tuning.search_result import TrialResult
from imageloop.tuning.settings import SearchSpace
from imageloop.workspace_paths import Workspace

LORA_RATE = 10  # times the learning rate of the weights themselves
EPOCHS_A_REPORT = 5  # of a head


def backbones(base: TrainingSettings, space: SearchSpace) -> list[str]:
    """The choices of a search, that of the training without a search first."""
    return list(dict.fromkeys([transfer_of(base).backbone, *space.backbones]))


def single_backbones(names: Iterable[str]) -> list[str]:
    """The backbones that these names join, each once."""
    return list(dict.fromkeys(JOINED_BY.join(names).split(JOINED_BY)))


def transfer_of(settings: TrainingSettings) -> Transfer:
    """The model of a training that can be searched. Raises: SettingsError for another kind."""
    if not isinstance(settings.model, Transfer):
        raise SettingsError(f"training.model.kind: expected transfer for a search, got {settings.model.kind}")
    return settings.model


def know_features(backbone: str, images: PreparedImages, base: TrainingSettings, workspace: Workspace) -> None:
    """Compute the features of a single backbone that trials need and that are not known yet, where a user sees it going on."""
    extractor = FeatureExtractor.of(backbone, images.side_pixels, workspace, device_of(base.device))
    store = images.open_store(workspace.prepared)
    for split, views in (("train", tuple(VIEWS)), ("validation", ("plain",))):
        for view in views:
            extractor.extract(images.of_split(split)["sha256"].tolist(), view, store)


def drawn_settings(trial: Trial, base: TrainingSettings, space: SearchSpace) -> TrainingSettings:
    """The settings of a head, as the sampler draws them; what is not searched is that of `base`."""
    loop = {
        "learning_rate": trial.suggest_float("learning_rate", *space.learning_rate, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *space.weight_decay, log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", *space.label_smoothing),
    }
    chosen: dict[str, Any] = {
        "backbone": trial.suggest_categorical("backbone", backbones(base, space)),
        "flipped_views": trial.suggest_categorical("flipped_views", space.flipped_views),
        "fine_tune_blocks": 0,
        "lora": None,
        "distillation": None,
    }
    if WEIGHTS_MARK not in chosen["backbone"]:
        chosen["weights"] = None
    return with_model(base, chosen | {"loop": base.model.loop.model_copy(update=loop)})


def drawn_fine_tuning(trial: Trial, head: TrainingSettings, space: SearchSpace) -> TrainingSettings:
    """The settings of a head, and of fine-tuning after it."""
    rank = trial.suggest_categorical("lora_rank", space.lora_rank)
    low, high = space.fine_tune_learning_rate
    times = LORA_RATE if rank else 1  # adapters begin at nothing, and move faster than weights that know much
    loop = {
        "learning_rate": times * trial.suggest_float("fine_tune_learning_rate", low, high, log=True),
        "mixup_alpha": trial.suggest_categorical("mixup_alpha", space.mixup_alpha),
        "layer_decay": trial.suggest_categorical("layer_decay", space.layer_decay),
        "ema_decay": trial.suggest_categorical("ema_decay", space.ema_decay),
    }
    chosen = {
        "fine_tune_blocks": trial.suggest_categorical("fine_tune_blocks", space.fine_tune_blocks),
        "lora": Lora(rank=rank, alpha=2 * rank) if rank else None,
        "fine_tune": transfer_of(head).fine_tune.model_copy(update=loop),
    }
    return with_model(head, chosen)


def usual_fine_tuning(head: TrainingSettings, space: SearchSpace) -> dict[str, Any]:
    """The values of fine-tuning with the default settings, or the first choices of the space, as the first trial."""
    rate = transfer_of(head).fine_tune.learning_rate
    names = ("lora_rank", "mixup_alpha", "layer_decay", "ema_decay", "fine_tune_blocks")
    return {"fine_tune_learning_rate": rate} | {name: getattr(space, name)[0] for name in names}


def with_model(settings: TrainingSettings, chosen: dict[str, Any]) -> TrainingSettings:
    """The settings with other values of the model."""
    return settings.model_copy(update={"model": settings.model.model_copy(update=chosen)})


def run_trial(
    trial: Trial, settings: TrainingSettings, images: PreparedImages, workspace: Workspace, deadline: float
) -> TrialResult:
    """Train on the train split and judge on the validation split.

    Raises: TrialPruned where others were better at the same epoch, or fine-tuning goes on after `deadline` (as `time.monotonic`).
    """
    result = judged_training(settings, images, workspace, _Pruning(trial, settings, deadline))
    return replace(result, milliseconds=milliseconds_of(settings, images.side_pixels, workspace))


def judged_training(
    settings: TrainingSettings, images: PreparedImages, workspace: Workspace, on_epoch: Callable[[EpochReport], None]
) -> TrialResult:
    """Train without a word and without rehearsed copies, and judge on the validation split; the milliseconds of an image are not measured here."""
    from imageloop.training.trainer import train

    started = time.monotonic()
    settings = with_model(settings, {"rehearsal_weight": 0.0})
    with _without_reports():
        trained = train(images, settings, workspace, on_epoch)
    loss, accuracy = judged(trained)
    return TrialResult(loss, accuracy, 0.0, time.monotonic() - started)


def milliseconds_of(settings: TrainingSettings, side: int, workspace: Workspace) -> float:
    """The time of one image through the backbones of a model on this machine."""
    return milliseconds_of_image(transfer_of(settings).backbone, side, workspace)


class _Pruning:
    """Hands the validation error of epochs to the pruner: of a head now and then, of fine-tuning each one after the head."""

    def __init__(self, trial: Trial, settings: TrainingSettings, deadline: float) -> None:
        self._trial, self._fine_tunes = trial, transfer_of(settings).fine_tune_blocks > 0
        self._deadline = deadline
        self._epochs = 0

    def __call__(self, epoch: EpochReport) -> None:
        """Raises: TrialPruned."""
        if epoch.of_images != self._fine_tunes:
            return
        self._epochs += 1
        if not self._fine_tunes and self._epochs % EPOCHS_A_REPORT:  # each report is a transaction
            return
        self._trial.report(1 - epoch.validation.accuracy, self._epochs)
        if self._trial.should_prune() or (self._fine_tunes and time.monotonic() > self._deadline):
            raise TrialPruned


def judged(trained: TrainedModel) -> tuple[float, float]:
    """The cross-entropy after calibration, and the accuracy, on the validation images."""
    import torch

    logits_NK, targets_N = trained.validation_logits_NK, trained.validation_targets_N
    scaled = torch.from_numpy(logits_NK).double() / fit_temperature(logits_NK, targets_N)
    loss = float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(targets_N)))
    return loss, float((logits_NK.argmax(1) == targets_N).mean())


@contextmanager
def _without_reports() -> Iterator[None]:
    """Trainings of a second each report nothing of their own: the search does."""
    trainings = logging.getLogger("imageloop.training")
    level, token = trainings.level, progress.listener.set(progress.Silence())
    trainings.setLevel(logging.WARNING)
    try:
        yield
    finally:
        trainings.setLevel(level)
        progress.listener.reset(token)
