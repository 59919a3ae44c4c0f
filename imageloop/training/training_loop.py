"""The training loop.

Each epoch has its own seed, so the same settings give the same losses on the same kind of device, and a run that was
interrupted goes on as if it had not been. Shapes: B rows a batch, K classes; inputs are images (B, S, S, 3) uint8 or features (B, D) float32.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imageloop.errors import ImageLoopError
from imageloop.progress import counted
from imageloop.training.checkpoint import KeepsState
from imageloop.training.classification_metrics import ClassificationScores, score
from imageloop.training.devices import Precision
from imageloop.training.loop_settings import LoopSettings
from imageloop.training.optimization import Optimization
from imageloop.training.ranks import Alone, Ranks
from imageloop.training.teacher import Teacher
from imageloop.training.trained_model import EpochReport

logger = logging.getLogger(__name__)
# of a GPU's convolutions: algorithms that give the same twice
REPEATABLE = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": True}
# The batches of epoch n: inputs (B, ...), targets (B,), or (B, K) where images are mixed.
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


@dataclass
class Fitted:
    """The history of a training, and the logits of the best model for the validation rows."""

    history: list[EpochReport] = field(default_factory=list)
    best_epoch: int = -1
    logits_NK: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))


@dataclass(frozen=True)
class Work:
    """Everything that a loop needs besides its settings."""

    batches: Batches
    num_batches: int
    validation: Callable[[], Iterable[Tensor]]  # inputs in the order of `validation_targets`
    validation_targets: NDArray[np.int64]
    class_names: list[str]
    class_weights: Tensor | None
    device: torch.device
    seed: int
    max_seconds: float = math.inf
    teacher: Teacher | None = None
    precision: Precision = "fp32"
    ranks: Ranks = field(default_factory=Alone)


def fit(
    model: nn.Module, work: Work, settings: LoopSettings, checkpoint: KeepsState, report: Callable[[EpochReport], None]
) -> Fitted:
    """Train `model` in place and leave it with the weights of the epoch whose validation loss was lowest.

    Raises: ImageLoopError where the loss is not a finite number.
    """
    model.to(work.device)
    weights = work.class_weights.to(work.device) if work.class_weights is not None else None
    loss_of = nn.CrossEntropyLoss(weight=weights, label_smoothing=settings.label_smoothing)
    optimization = Optimization(model, settings, settings.max_epochs * work.num_batches)
    trained = work.ranks.wrapped(model)
    fitted, best, spent = Fitted(), copy.deepcopy(model.state_dict()), 0.0

    if saved := checkpoint.load():
        optimization.load_state_dict(saved)
        fitted, best, spent = _history_from(saved), saved["best"], saved["spent"]
        logger.info("resumed after epoch %d", len(fitted.history))

    for past in fitted.history:  # a tracker's new run has the whole curve
        report(past)
    epochs = range(len(fitted.history), settings.max_epochs)
    with torch.backends.cudnn.flags(**REPEATABLE), counted("train, batches", len(epochs) * work.num_batches) as advance:
        for epoch in epochs:
            spent = work.ranks.as_first(spent)
            if fitted.history and (epoch - 1 - fitted.best_epoch >= settings.patience_epochs or spent > work.max_seconds):
                break  # checked here, so that a run that was killed after its last epoch does not go on
            started = time.monotonic()
            train_loss = _train_epoch(trained, work, epoch, loss_of, optimization, advance)
            fitted.history.append(_validate(optimization.result, work, epoch, train_loss, loss_of, settings.learning_rate))
            report(fitted.history[-1])
            if fitted.history[-1].validation_loss <= min(past.validation_loss for past in fitted.history):
                fitted.best_epoch, best = epoch, copy.deepcopy(optimization.result.state_dict())
            spent += time.monotonic() - started
            if checkpoint.is_due():
                checkpoint.save(optimization.state_dict() | _progress(fitted, best, spent))

    model.load_state_dict(best)
    fitted.logits_NK = predict_logits(model, work.validation(), work.device, work.ranks)
    checkpoint.remove()
    loss = fitted.history[fitted.best_epoch].validation_loss
    logger.info("best epoch %d of %d, validation loss %.4f", fitted.best_epoch + 1, len(fitted.history), loss)
    return fitted


def _train_epoch(
    model: nn.Module,
    work: Work,
    epoch: int,
    loss_of: nn.CrossEntropyLoss,
    optimization: Optimization,
    advance: Callable[[int], None],
) -> float:
    """Train one pass over the rows, and return the mean loss of a row."""
    torch.manual_seed(work.seed * 100_003 + epoch)
    model.train()
    losses, num_rows = torch.zeros((), dtype=torch.float64, device=work.device), 0  # there: a GPU is not waited for
    for inputs, of_batch in work.batches(epoch):
        targets_B, own = of_batch.to(work.device), work.ranks.own_rows(len(of_batch))
        autocast = torch.autocast(work.device.type, torch.bfloat16, enabled=work.precision == "bf16")
        with work.ranks.computing(), autocast:
            logits_BK = model(inputs[own].to(work.device)).float()
        loss = work.ranks.scaled(loss_of(logits_BK, targets_B[own]), targets_B, loss_of.weight)
        if work.teacher is not None:
            loss = work.teacher.loss(inputs, logits_BK, loss)
        optimization.step(loss)
        losses += loss.detach() * len(targets_B)
        num_rows += len(targets_B)
        advance(1)
    return float(work.ranks.mean(losses).item() / num_rows)


def _validate(
    model: nn.Module, work: Work, epoch: int, train_loss: float, loss_of: nn.Module, learning_rate: float
) -> EpochReport:
    work.ranks.share_statistics(model)
    logits_NK = predict_logits(model, work.validation(), work.device, work.ranks)
    targets_N = torch.from_numpy(work.validation_targets).to(work.device)
    validation_loss = loss_of(torch.from_numpy(logits_NK).to(work.device), targets_N).item()
    if not math.isfinite(validation_loss):
        raise ImageLoopError(
            f"expected a loss that falls, got {validation_loss} in epoch {epoch + 1}; lower the loop's learning_rate "
            f"(it was {learning_rate:g})"
        )
    scores = score(logits_NK.argmax(1), work.validation_targets, work.class_names)
    return EpochReport(epoch, train_loss, validation_loss, scores)


def predict_logits(model: nn.Module, batches: Iterable[Tensor], device: torch.device, ranks: Ranks) -> NDArray[np.float32]:
    """Shapes: batches of inputs -> (N, K), in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return np.concatenate(ranks.in_turns(iter(batches), lambda inputs: model(inputs.to(device)).float().cpu().numpy()))


def balanced_weights(targets_N: NDArray[np.int64], num_classes: int) -> Tensor:
    """Each class weighs as much as each other in sum, and a row weighs 1 on average, (K,)."""
    counts = np.bincount(targets_N, minlength=num_classes).clip(min=1)
    return torch.tensor(len(targets_N) / (num_classes * counts), dtype=torch.float32)


def _progress(fitted: Fitted, best: dict[str, Tensor], spent: float) -> dict[str, Any]:
    return {
        "best": best,
        "best_epoch": fitted.best_epoch,
        "spent": spent,
        "history": [(row.epoch, row.train_loss, row.validation_loss, row.validation.as_dict()) for row in fitted.history],
    }


def _history_from(saved: dict[str, Any]) -> Fitted:
    rows = [
        EpochReport(epoch, train, loss, ClassificationScores.from_dict(scores)) for epoch, train, loss, scores in saved["history"]
    ]
    return Fitted(rows, saved["best_epoch"])


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit small matrix operations to one thread: more gain nothing, and wait for each other beside a service."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
