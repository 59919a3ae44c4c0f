"""Log the epochs of a training to its MLflow run."""

import time
from typing import TYPE_CHECKING

from imageloop.adapters.mlflow_tracking import metric_name

if TYPE_CHECKING:
    from imageloop.training.trained_model import EpochReport


class EpochLog:
    """Epochs become metrics; written together every few epochs, since each write is a transaction."""

    EPOCHS_PER_WRITE = 10

    def __init__(self) -> None:
        self._waiting: list[EpochReport] = []

    def __call__(self, report: "EpochReport") -> None:
        self._waiting.append(report)
        if len(self._waiting) >= self.EPOCHS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        import mlflow
        from mlflow.entities import Metric

        run = mlflow.active_run()
        if run is None or not self._waiting:
            return
        now = time.time_ns() // 10**6
        metrics = [
            Metric(name, value, now, report.epoch) for report in self._waiting for name, value in _epoch_values(report).items()
        ]
        for start in range(0, len(metrics), 1000):  # MLflow's maximum of one call
            mlflow.MlflowClient().log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
        self._waiting.clear()


def _epoch_values(report: "EpochReport") -> dict[str, float]:
    losses = {"train/loss": report.train_loss, "validation/loss": report.validation_loss}
    return losses | {metric_name(f"validation/{name}"): value for name, value in report.validation.flat().items()}
