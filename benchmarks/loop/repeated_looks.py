"""False alarms over a week in which nothing changes: a window every minute, always against the same reference.

make bench-repeated-looks

A drift test keeps its rate over many references. One reference is drawn once and met by every window, so a small one that is not typical
alarms more often than another. Images are drawn: clusters of classes with common factors, heavy tails, and statistics that go with them.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from imageloop.data.image_statistics import NAMES
from imageloop.embeddings.drift_samples import Sample
from imageloop.monitoring.drift import measure_drift
from imageloop.monitoring.drift_settings import DriftSettings
from imageloop.monitoring.settings import DecisionSettings

NUM_FEATURES, NUM_FACTORS = 128, 12
CLASSES, REFERENCES, WINDOW_SIZES = (2, 10, 37), (40, 100, 400), (25, 100)
NUM_REFERENCES, NUM_WINDOWS = 40, 25  # references of a case, and windows of each
MINUTES_OF_WEEK = 7 * 24 * 60
SETTINGS, DECISION = DriftSettings(), DecisionSettings()


@dataclass(frozen=True)
class Case:
    num_classes: int
    reference: int
    window: int


class DrawnImages:
    """A population of images: what a window and a reference are drawn from."""

    def __init__(self, num_classes: int, rng: np.random.Generator) -> None:
        self.rng, self.num_classes = rng, num_classes
        self.centres_KD = 2 * rng.normal(size=(num_classes, NUM_FEATURES))
        self.factors_FD = rng.normal(size=(NUM_FACTORS, NUM_FEATURES))
        self.statistics_DS = rng.normal(size=(NUM_FEATURES, len(NAMES))) / NUM_FEATURES**0.5

    def draw(self, count: int) -> Sample:
        classes_N = self.rng.integers(self.num_classes, size=count)
        common_NF = self.rng.standard_t(4, size=(count, NUM_FACTORS))
        rows_ND = self.centres_KD[classes_N] + common_NF @ self.factors_FD + self.rng.standard_t(4, size=(count, NUM_FEATURES))
        logits_NK = rows_ND @ self.centres_KD.T / NUM_FEATURES
        statistics_NS = np.exp(0.3 * (rows_ND @ self.statistics_DS + self.rng.normal(size=(count, len(NAMES)))))
        return Sample(rows_ND.astype(np.float32), statistics_NS.astype(np.float32), softmax(logits_NK, axis=1).astype(np.float32))


def main() -> None:
    cases = [Case(classes, reference, window) for classes in CLASSES for reference in REFERENCES for window in WINDOW_SIZES]
    print(f"{NUM_REFERENCES} references of a case, {NUM_WINDOWS} windows of each; {SETTINGS.false_alarm_rate:.0%} configured")
    print(
        f"{'classes':>7}{'reference':>11}{'window':>8}{'alarms %':>10}{'of a reference, half / 95 of 100 up to %':>42}{'a week':>8}"
    )
    with ProcessPoolExecutor() as pool:
        for case, alarms_RW in zip(cases, pool.map(_alarms, cases), strict=True):
            rates_R = 100 * alarms_RW.mean(1)
            half, most = np.quantile(rates_R, [0.5, 0.95])
            week = MINUTES_OF_WEEK * _repeated(alarms_RW)
            print(
                f"{case.num_classes:>7}{case.reference:>11}{case.window:>8}{rates_R.mean():>10.1f}{f'{half:.0f} / {most:.0f}':>42}{week:>8.0f}",
                flush=True,
            )


def _alarms(case: Case) -> np.ndarray:
    """Whether each window alarms, (R, W)."""
    rng = np.random.default_rng([case.num_classes, case.reference, case.window])
    images = DrawnImages(case.num_classes, rng)
    found = []
    for number in range(NUM_REFERENCES):
        reference = images.draw(case.reference)
        found.append([measure_drift(reference, images.draw(case.window), SETTINGS, number).alarm for _ in range(NUM_WINDOWS)])
    return np.array(found)


def _repeated(alarms_RW: np.ndarray) -> float:
    """The share of windows with which so many of the last ones alarmed that the monitor speaks of drift."""
    last = np.lib.stride_tricks.sliding_window_view(alarms_RW, DECISION.of_windows, axis=1).sum(2)
    return float((last >= DECISION.violated_windows).mean())


if __name__ == "__main__":
    main()
