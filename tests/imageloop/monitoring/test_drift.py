"""False alarms as rare as asked for, changes noticed; on drawn numbers here, on photographs where there are some."""

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.embeddings.drift_samples import Sample, read_reference, sample_of_records
from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scene_distance
from imageloop.monitoring.drift import EMBEDDING, PREDICTIONS, measure_drift
from imageloop.monitoring.drift_settings import DriftSettings
from imageloop.monitoring.windows import Window, drifting_since, measure_window

QUICK = DriftSettings(permutations=400, components=8)


def draw(count: int, seed: int, *, shift: float = 0.0, darker: float = 0.0, share: float = 0.5, side: float = 300.0) -> Sample:
    """Embeddings of two classes in 16 dimensions, and predictions that follow them."""
    rng = np.random.default_rng(seed)
    targets = rng.random(count) < share
    embeddings = rng.normal(size=(count, 16)).astype(np.float32)
    embeddings[:, 0] += 3 * targets
    embeddings[:, 1] += shift
    first = 1 / (1 + np.exp(3 * embeddings[:, 0] - 4.5))
    statistics = rng.normal([120 - darker, 50, 10, 0.3], [20, 8, 2, 0.1], (count, 4)).astype(np.float32)
    pixels = (rng.normal(side, 30, count) ** 2).astype(float)
    formats = np.where(rng.random(count) < 0.9, "JPEG", "PNG")
    return Sample(embeddings, statistics, np.stack([first, 1 - first], 1).astype(np.float32), pixels, formats)


def test_the_false_alarm_rate_is_as_configured_in_a_thousand_windows():
    alarms = [measure_drift(draw(100, n), draw(25, 10_000 + n), QUICK, n).alarm for n in range(1000)]

    assert 0.03 <= np.mean(alarms) <= 0.07  # 5 % were asked for; three standard deviations are 2 %


@pytest.mark.parametrize(
    ("change", "group"),
    [({"shift": 1.5}, EMBEDDING), ({"darker": 40.0}, "brightness"), ({"share": 0.02}, PREDICTIONS), ({"side": 900.0}, "size")],
)
def test_a_change_is_noticed_and_named(change, group):
    drifts = [measure_drift(draw(200, n), draw(60, 900 + n, **change), DriftSettings(), n) for n in range(10)]

    assert all(drift.alarm for drift in drifts)
    assert all(next(part for part in drift.feature_groups if part.name == group).p_value < 0.05 for drift in drifts)


def test_another_format_is_noticed():
    reference, window = draw(200, 1), draw(50, 2)

    drift = measure_drift(reference, Sample(*list(vars(window).values())[:4], np.full(50, "WEBP")), DriftSettings())

    assert (drift.alarm, drift.feature_groups[0].name) == (True, "format")


def test_images_without_a_file_are_judged_by_the_rest():
    window = draw(50, 2)

    drift = measure_drift(
        draw(200, 1), Sample(window.embeddings_ND, window.statistics_NS, window.probabilities_NK), DriftSettings()
    )

    assert {group.name for group in drift.feature_groups} == {EMBEDDING, PREDICTIONS, *NAMES}


def test_the_same_window_gives_the_same_verdict_and_a_large_one_is_thinned():
    reference, window = draw(200, 1), draw(10_000, 2)

    first, second = measure_drift(reference, window, QUICK, 3), measure_drift(reference, window, QUICK, 3)

    assert first == second
    assert len(window.spread(400)) == 400


def test_histograms_show_where_the_values_went():
    drift = measure_drift(draw(200, 1), draw(60, 2, darker=40.0), QUICK)

    assert set(drift.histograms) == {*NAMES, "size", PREDICTIONS}
    brightness = drift.histograms["brightness"]
    assert len(brightness.edges) == len(brightness.before) + 1 == len(brightness.after) + 1
    assert (sum(brightness.before), sum(brightness.after)) == (pytest.approx(1, abs=0.01), pytest.approx(1, abs=0.01))
    middles = [(low + high) / 2 for low, high in pairwise(brightness.edges)]
    mean_before, mean_after = (np.dot(middles, shares) for shares in (brightness.before, brightness.after))
    assert mean_before - mean_after == pytest.approx(40, abs=10)


def test_one_image_is_no_window():
    with pytest.raises(ValueError, match="two images"):
        measure_drift(draw(10, 1), draw(1, 2), QUICK)


def records_of(sample: Sample, version: str = "1", start: float = 1000.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "request_id": [f"{start:.0f}-{n}" for n in range(len(sample))],
            "time": [start + n for n in range(len(sample))],
            "model_version": version,
            "label": np.where(sample.probabilities_NK[:, 0] > 0.5, "cat", "dog"),
            "confidence": sample.probabilities_NK.max(1),
            "probabilities": [{"cat": float(row[0]), "dog": float(row[1])} for row in sample.probabilities_NK],
            "embedding": [row.astype(np.float16).tobytes() for row in sample.embeddings_ND],
            "statistics": [dict(zip(NAMES, map(float, row), strict=True)) for row in sample.statistics_NS],
            "width": 100, "height": 100, "format": "JPEG",
            "in_distribution": True, "novelty": np.linspace(0, 1, len(sample)),
        }
    )  # fmt: skip


def test_a_window_of_records_has_its_metrics_and_an_estimated_loss():
    reference = draw(200, 1)

    window = measure_window(
        records_of(draw(60, 2, shift=2.0)), Sample(*list(vars(reference).values())[:3]), ["cat", "dog"], DriftSettings()
    )

    assert (window.version, window.start, window.end, window.count, window.alarm) == ("1", 1000.0, 1059.0, 60, True)
    assert window.estimated_accuracy == pytest.approx(window.reference_accuracy, abs=0.05)
    assert not window.out_of_distribution_alarm
    assert sum(window.labels.values()) == 60
    assert [image.request_id for image in window.unusual[:2]] == ["1000-59", "1000-58"]
    assert (len(window.unusual), window.unusual[0].novelty) == (12, 1.0)
    assert Window.of_metrics(window.metrics()) == window


def test_a_window_of_a_package_without_a_reference_names_no_unusual_image():
    records = records_of(draw(30, 2)).assign(novelty=None)

    assert measure_window(records, draw(200, 1), ["cat", "dog"], QUICK).unusual == []


def filmed(sample: Sample, times: int, seed: int) -> Sample:
    """Each image as so many frames, which differ by a little noise."""
    frames = sample.some(np.repeat(np.arange(len(sample)), times))
    noise = np.random.default_rng(seed).normal(0, 0.05, frames.embeddings_ND.shape).astype(np.float32)
    return replace(frames, embeddings_ND=frames.embeddings_ND + noise)


def test_a_cameras_frames_are_no_more_than_the_scenes_that_they_show():
    reference = Sample(*list(vars(draw(200, 1)).values())[:3])
    distance = scene_distance(reference.embeddings_ND, reference.probabilities_NK.argmax(1))
    windows = [
        measure_window(records_of(filmed(draw(10, 100 + n), 10, n)), reference, ["cat", "dog"], QUICK, distance)
        for n in range(100)
    ]
    changed = measure_window(records_of(filmed(draw(40, 2, darker=60.0), 5, 1)), reference, ["cat", "dog"], QUICK, distance)

    assert np.mean([window.alarm for window in windows]) <= 0.1
    assert {window.count for window in windows} == {100}
    assert 8 <= np.mean([window.num_scenes for window in windows]) <= 10
    assert (changed.alarm, changed.feature_groups[0].name) == (True, "brightness")


def test_a_camera_that_shows_one_scene_shows_no_change():
    reference = draw(200, 1)

    window = measure_window(records_of(filmed(draw(1, 2), 50, 1)), reference, ["cat", "dog"], QUICK, 0.2)

    assert (window.num_scenes, window.alarm, window.p_value, window.feature_groups) == (1, False, 1.0, [])
    assert Window.of_metrics(window.metrics()) == window


def test_many_images_out_of_distribution_are_a_signal_of_their_own():
    records = records_of(draw(60, 2)).assign(in_distribution=[n % 3 > 0 for n in range(60)])

    window = measure_window(records, draw(200, 1), ["cat", "dog"], DriftSettings())

    assert window.out_of_distribution_alarm
    assert window.out_of_distribution_share == pytest.approx(1 / 3)


def test_drift_is_dated_from_the_first_of_its_alarms():
    calm = measure_window(records_of(draw(50, 2)), draw(200, 1), ["cat", "dog"], QUICK)
    metrics = calm.metrics()
    windows = [
        Window.of_metrics(metrics | {"alarm": alarm, "start": float(n)}) for n, alarm in enumerate([True, False, True, True])
    ]

    assert drifting_since(windows) == 2.0
    assert drifting_since(windows[:2]) is None
    assert drifting_since([*windows, replace(windows[1], num_scenes=2)]) == 2.0


def test_a_record_of_an_older_service_is_left_out():
    records = records_of(draw(10, 1))
    records.loc[3, "embedding"] = None

    assert len(sample_of_records(records, ["cat", "dog"])) == 9
    assert len(sample_of_records(records[:0], ["cat", "dog"])) == 0


def written(sample: Sample, split: list[str], folder: Path) -> Path:
    """The reference of a package."""
    table = pd.DataFrame(
        {
            "split": split,
            "width": 10,
            "height": 20,
            "format": "JPEG",
            "embedding": list(sample.embeddings_ND.astype(np.float16)),
        }
        | dict(zip(NAMES, sample.statistics_NS.T, strict=True))
        | {"p_cat": sample.probabilities_NK[:, 0], "p_dog": sample.probabilities_NK[:, 1]}
    )
    table.to_parquet(folder / "reference.parquet")
    return folder


def test_a_reference_leaves_out_what_the_model_was_fitted_on(tmp_path):
    found = read_reference(written(draw(120, 1), ["train"] * 60 + ["validation"] * 60, tmp_path), ["cat", "dog"])

    assert len(found) == 60
    assert found.pixels_N.tolist() == [200.0] * 60


def test_a_reference_of_frames_is_one_of_scenes(tmp_path):
    known = draw(200, 1)
    distance = scene_distance(known.embeddings_ND, known.probabilities_NK.argmax(1))
    reference = read_reference(written(filmed(draw(30, 2), 7, 0), ["served"] * 210, tmp_path), ["cat", "dog"], distance)

    windows = [
        measure_drift(
            replace(reference, pixels_N=None, formats_N=None), Sample(*list(vars(draw(12, 50 + n)).values())[:3]), QUICK, n
        )
        for n in range(60)
    ]

    assert 20 <= len(reference) <= 30
    assert np.mean([found.alarm for found in windows]) <= 0.15


def test_images_far_from_the_training_data_are_out_of_distribution(tmp_path):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4, 32))
    known = (directions[rng.integers(0, 4, 300)] + 0.2 * rng.normal(size=(300, 32))).astype(np.float32)
    Novelty.of(known[:200], 2).write(tmp_path)

    novelty = Novelty.read(tmp_path)
    near, far = novelty.distance(known[200:]), novelty.distance(rng.normal(size=(50, 32)).astype(np.float32))

    assert (near <= novelty.limit).mean() > 0.9
    assert (far > novelty.limit).all()
    assert Novelty.read(tmp_path / "nowhere") is None


def test_a_new_class_is_out_of_distribution_among_a_hundred_others():
    """Of which four images each are known: the tenth nearest is another class's."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(101, 64))
    known = (directions[np.arange(400) % 100] + 0.3 * rng.normal(size=(400, 64))).astype(np.float32)
    new = (directions[100] + 0.3 * rng.normal(size=(50, 64))).astype(np.float32)

    novelty = Novelty.of(known, 100)

    assert novelty.neighbour == 2
    assert (novelty.distance(new) > novelty.limit).mean() > 0.9


@pytest.fixture(scope="module")
def photograph_features(photographs, exported_backbones):
    """Embeddings and statistics of photographs as they are and changed, by the name of the change."""
    from imageloop.training.features import Backbone, FeatureExtractor, exported_backbone

    extractor = FeatureExtractor([Backbone(exported_backbone("efficientnet_lite0", 224, exported_backbones), exported_backbones)])

    def changed(content: bytes, change: str) -> bytes:
        if change == "none":
            return content
        image = Image.open(io.BytesIO(content)).convert("RGB")
        if change == "blur":
            image = image.filter(ImageFilter.GaussianBlur(2))
        if change == "dark":
            image = image.point(lambda value: value * 0.5)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=10 if change == "jpeg" else 90)
        return out.getvalue()

    def features(files, change: str = "none") -> Sample:
        images = np.stack([preprocess(changed(file.read_bytes(), change), 224, Limits(min_side_pixels=8)) for file in files])
        return Sample(extractor.run(images), image_statistics(images), np.full((len(images), 2), 0.5, np.float32))

    pets = [
        file
        for pair in zip(*(sorted((photographs / "catsdogs" / name).glob("*.jpg"))[:350] for name in ("cat", "dog")), strict=True)
        for file in pair
    ]
    insects = sorted((photographs / "antsbees").rglob("*.jpg"))[:150]
    return {
        "reference": features(pets[:400]), "none": features(pets[400:]), "insects": features(insects),
        **{change: features(pets[400:550], change) for change in ("blur", "jpeg", "dark")},
    }  # fmt: skip


@pytest.mark.parametrize("change", ["blur", "jpeg", "dark"])
def test_twenty_five_photographs_show_that_the_camera_changed(photograph_features, change):
    rng = np.random.default_rng(0)
    reference, changed = photograph_features["reference"], photograph_features[change]

    alarms = [
        measure_drift(reference, changed.some(rng.choice(len(changed), 25, replace=False)), DriftSettings(), n).alarm
        for n in range(40)
    ]

    assert np.mean(alarms) >= 0.95


def test_unchanged_photographs_raise_few_alarms(photograph_features):
    rng = np.random.default_rng(0)
    reference, same = photograph_features["reference"], photograph_features["none"]

    alarms = [
        measure_drift(reference, same.some(rng.choice(len(same), 25, replace=False)), DriftSettings(), n).alarm
        for n in range(100)
    ]

    assert np.mean(alarms) <= 0.12  # 5 % were asked for, and all windows share one reference


def test_ants_and_bees_are_unlike_cats_and_dogs(photograph_features):
    from sklearn.metrics import roc_auc_score

    novelty = Novelty.of(photograph_features["reference"].embeddings_ND, 2)
    known, unknown = (novelty.distance(photograph_features[name].embeddings_ND) for name in ("none", "insects"))

    assert roc_auc_score([0] * len(known) + [1] * len(unknown), np.concatenate([known, unknown])) >= 0.995
