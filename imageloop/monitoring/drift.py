"""The drift test: one test over many feature groups with the configured false alarm rate, however the groups are correlated.

Each group is a kernel between images: of the embedding, of each statistic, of the files, of the predictions. The distance of a window
from the reference is the maximum mean discrepancy. The same permutations of the pooled images give every group its p-value, and
the smallest of them its own. The test is exact, since everything before it treats all images alike.
Sources: Gretton et al., A Kernel Two-Sample Test, 2012; Westfall and Young, Resampling-Based Multiple Testing, 1993.

Shapes: N images, the reference first; G feature groups; P permutations, the original order first.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.data.image_statistics import NAMES
from imageloop.embeddings.drift_samples import Sample
from imageloop.monitoring.drift_settings import DriftSettings

EMBEDDING = "embedding"
PREDICTIONS = "predictions"
SIZE = "size"
NUM_BINS = 12  # of a histogram
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureGroup:
    """One group of features: its own p-value, and its mean before and after where it has one."""

    name: str
    p_value: float
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Histogram:
    """How often values of a feature group lie between consecutive `edges`, before and after, as shares of all."""

    edges: list[float]
    before: list[float]
    after: list[float]


@dataclass(frozen=True)
class Drift:
    """`p_value` over all feature groups; an alarm where it is at most the configured rate. The most significant groups come first."""

    p_value: float
    alarm: bool
    feature_groups: list[FeatureGroup]
    histograms: dict[str, Histogram] = field(default_factory=dict)


def measure_drift(reference: Sample, window: Sample, settings: DriftSettings, seed: int = 0) -> Drift:
    """Test a window against the reference.

    Raises: ValueError for windows of fewer than two images.
    """
    if min(len(reference), len(window)) < 2:
        raise ValueError(f"expected two images or more on both sides, got {len(reference)} and {len(window)}")
    with threadpool_limits(1):  # more threads wait for each other where a service works beside them
        return _measure(reference, window.spread(settings.max_compared), settings, seed)


def _measure(reference: Sample, window: Sample, settings: DriftSettings, seed: int) -> Drift:
    kernels = _kernels(reference, window, settings.components)
    members = _permutations(len(reference), len(window), settings.permutations, np.random.default_rng(seed))
    p_values_GP = np.stack([_p_values(_discrepancies(kernel, members, len(window))) for kernel in kernels.values()])
    # the embedding is the most sensitive: it has half of the false alarms, the other groups share the rest
    weights = np.array([1.0 if name == EMBEDDING else 1.0 / (len(kernels) - 1) for name in kernels])
    smallest_P = (p_values_GP / weights[:, None]).min(0)
    overall = float((smallest_P <= smallest_P[0] + 1e-12).mean())
    before, after = _values(reference), _values(window)
    both = [name for name in before if name in after]
    means = {name: (_centre(name, before[name]), _centre(name, after[name])) for name in both}
    feature_groups = [
        FeatureGroup(name, float(p), *means.get(name, (None, None))) for name, p in zip(kernels, p_values_GP[:, 0], strict=True)
    ]
    ordered = sorted(feature_groups, key=lambda group: group.p_value)
    histograms = {name: _histogram(before[name], after[name]) for name in both}
    return Drift(overall, overall <= settings.false_alarm_rate, ordered, histograms)


def _kernels(reference: Sample, window: Sample, components: int) -> dict[str, FloatArray]:
    """Make one symmetric (N, N) matrix a group from all images alike."""
    embeddings_ND = np.concatenate([reference.embeddings_ND, window.embeddings_ND])
    kernels = {EMBEDDING: _gaussian(_whitened(embeddings_ND, components))}
    statistics_NS = np.concatenate([reference.statistics_NS, window.statistics_NS])
    kernels |= {name: _distance(_ranks(column_N)) for name, column_N in zip(NAMES, statistics_NS.T, strict=True)}
    kernels[PREDICTIONS] = _distance(np.concatenate([reference.probabilities_NK, window.probabilities_NK]))
    if reference.pixels_N is not None and window.pixels_N is not None:
        kernels[SIZE] = _distance(_ranks(np.concatenate([reference.pixels_N, window.pixels_N])))
    if reference.formats_N is not None and window.formats_N is not None:
        formats_N = np.concatenate([reference.formats_N, window.formats_N])
        kernels["format"] = (formats_N[:, None] == formats_N[None]).astype(np.float32)
    return kernels


def _whitened(rows_ND: FloatArray, components: int) -> FloatArray:
    """The leading principal components of all rows, each with variance 1. Shapes: (N, D) -> (N, components)."""
    centred_ND = rows_ND - rows_ND.mean(0)
    _, vectors_NN = np.linalg.eigh(centred_ND @ centred_ND.T)
    whitened: FloatArray = vectors_NN[:, -components:] * np.sqrt(len(rows_ND))
    return whitened


def _gaussian(rows_NC: FloatArray) -> FloatArray:
    squares_N = (rows_NC**2).sum(1)
    distances_NN = np.maximum(squares_N[:, None] + squares_N[None] - 2 * rows_NC @ rows_NC.T, 0)
    kernel: FloatArray = np.exp(-distances_NN / max(float(np.median(distances_NN)), 1e-12)).astype(np.float32)
    return kernel


def _distance(rows: FloatArray) -> FloatArray:
    """The kernel of the energy distance. Shapes: (N,) or (N, K) -> (N, N)."""
    kernel_NN = np.zeros((len(rows), len(rows)), np.float32)
    for column_N in rows.reshape(len(rows), -1).T:  # one after the other: of a thousand classes all together would take gigabytes
        kernel_NN -= np.abs(column_N[:, None] - column_N[None])
    return kernel_NN


def _ranks(values_N: NDArray[np.floating]) -> FloatArray:
    """Mean ranks in (0, 1): no unit, no outliers."""
    distinct, places, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts + 1) / 2 if len(distinct) else np.empty(0)
    ranks: FloatArray = (((middles + 0.5) / max(1, len(values_N)))[places]).astype(np.float32)
    return ranks


def _permutations(num_reference: int, num_window: int, count: int, rng: np.random.Generator) -> FloatArray:
    """Draw which images count as the window: (P, N) of 0 and 1, the original first."""
    total = num_reference + num_window
    members_PN = np.zeros((count + 1, total), np.float32)
    members_PN[0, num_reference:] = 1
    chosen = np.argsort(rng.random((count, total)), axis=1)[:, :num_window]
    np.put_along_axis(members_PN[1:], chosen, 1, axis=1)
    return members_PN


def _discrepancies(kernel_NN: FloatArray, members_PN: FloatArray, num_window: int) -> NDArray[np.float64]:
    """The unbiased squared discrepancy for each permutation, (P,)."""
    num_reference = kernel_NN.shape[0] - num_window
    products_PN = members_PN @ kernel_NN
    within_P = (products_PN * members_PN).sum(1, dtype=np.float64)
    reached_P = products_PN.sum(1, dtype=np.float64)
    diagonal_P = members_PN @ np.diag(kernel_NN).astype(np.float64)
    across_P = reached_P - within_P
    outside_P = kernel_NN.sum(dtype=np.float64) - 2 * across_P - within_P
    rest_P = float(np.trace(kernel_NN)) - diagonal_P
    discrepancies_P: NDArray[np.float64] = (
        (within_P - diagonal_P) / (num_window * (num_window - 1))
        + (outside_P - rest_P) / (num_reference * (num_reference - 1))
        - 2 * across_P / (num_window * num_reference)
    )
    return discrepancies_P


def _p_values(discrepancies_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute for each permutation the share of permutations that are as extreme, (P,); equal ones share the larger value."""
    ordered = np.sort(np.round(discrepancies_P, 12))
    return (len(ordered) - np.searchsorted(ordered, np.round(discrepancies_P, 12), side="left")) / len(ordered)


def _values(sample: Sample) -> dict[str, NDArray[np.floating]]:
    """The values of the feature groups that have a unit: one number an image."""
    values: dict[str, NDArray[np.floating]] = {name: sample.statistics_NS[:, place] for place, name in enumerate(NAMES)}
    if sample.pixels_N is not None:
        values[SIZE] = sample.pixels_N / 1e6
    return values | {PREDICTIONS: sample.probabilities_NK.max(1)}


def _histogram(before_N: NDArray[np.floating], after_N: NDArray[np.floating]) -> Histogram:
    edges = np.histogram_bin_edges(np.concatenate([before_N, after_N]), NUM_BINS)
    shares = [np.histogram(values_N, edges)[0] / len(values_N) for values_N in (before_N, after_N)]
    return Histogram([round(float(edge), 4) for edge in edges], *([round(float(one), 4) for one in part] for part in shares))


def _centre(name: str, values_N: NDArray[np.floating]) -> float:
    """The mean; of sizes the median, which a few large images do not move."""
    return float(np.median(values_N) if name == SIZE else values_N.mean())
