"""The grid of `make bench-loop`, on two small sets of drawn features, whose changes move the classes together."""

import hashlib

import numpy as np
import pytest

from benchmarks.loop import drift_detection, estimates, labels, models, retraining
from benchmarks.loop.changes import CHANGES, changed
from benchmarks.loop.features import CELLS, ImageSet
from imageloop.training.rehearsal import NUM_COPIES, SHUFFLED, Cell, cells_of
from imageloop.training.rehearsal import changes as rehearsed_changes

SIZE, COUNT = 40, 240
HARM = {1: 0.2, 2: 0.4, 3: 0.6}  # how much nearer the classes lie to each other, by strength


def drawn(classes, rng, harm=0.0, first=0):
    centres = 3 * np.eye(SIZE)[first + classes] * (1 - harm)
    return (rng.normal(size=(len(classes), SIZE)) + 3 + centres + 3 * harm * np.eye(SIZE)[-1]).astype(np.float32)


def drawn_set(name, seed, first=0) -> ImageSet:
    rng = np.random.default_rng(seed)
    classes = np.arange(COUNT) % 3
    cells = list(rehearsed_changes())
    keys = [hashlib.sha256(f"{name} {number}".encode()).hexdigest() for number in range(COUNT)]
    chosen = [[cells[cells_of(key, len(cells))[copy]] for key in keys] for copy in range(NUM_COPIES)]
    copies = [np.stack([drawn(classes[n : n + 1], rng, HARM[cell.strength])[0] for n, cell in enumerate(row)]) for row in chosen]
    return ImageSet(
        name=name,
        class_names=["a", "b", "c"],
        targets_N=classes,
        embeddings={cell: drawn(classes, rng, HARM[cell[1]] if cell[1] else 0.0, first) for cell in CELLS},
        statistics={cell: rng.normal(size=(COUNT, 4)).astype(np.float32) for cell in CELLS},
        rehearsed=[*copies, rng.normal(0, 3, (COUNT, SIZE)).astype(np.float32)],
        rehearsed_cells=[*chosen, [Cell(SHUFFLED, 1)] * COUNT],
    )


@pytest.fixture(scope="module")
def model():
    return models.Model(drawn_set("one", 0), drawn_set("other", 1, first=10), seed=0)


def test_estimates_are_nearer_to_the_accuracy_than_confidence_and_their_intervals_hold_it(model):
    tables = estimates.report(estimates.estimate_windows(model))

    overall = tables["over all"].iloc[0]
    assert overall["mean"] < overall["confidence: mean"]
    assert overall["interval holds %"] >= 80
    assert tables["damage alarm"].loc[["50 images", "200 images"], "unchanged"].max() == 0
    assert {"unchanged", "blur", "new class", "label shift"} <= set(tables["by change"].index)


def test_flipped_labels_are_accused_and_honest_ones_are_not(model):
    tables = labels.report(labels.judge_windows(model))

    accused = tables["source accused %"]
    assert accused.loc[("unchanged", 200), "all flipped"] == 100
    assert accused.loc[("unchanged", 200), "half flipped"] >= 80
    assert accused.loc["unchanged", "honest"].max() == 0
    assert accused.loc[("changed", 200), "honest"] < 20 < 60 < accused.loc[("changed", 200), "half flipped"]


def test_drift_is_noticed_and_unchanged_windows_rarely_alarm(model, monkeypatch):
    monkeypatch.setattr(drift_detection, "CALM", 10)
    monkeypatch.setattr(drift_detection, "CHANGED", 1)
    monkeypatch.setattr(drift_detection, "REFERENCES", (60,))

    tables = drift_detection.report(drift_detection.test_windows(model))

    assert tables["false alarms %, by data set"].loc["one", "ImageLoop"] <= 20
    assert tables["changes noticed %, by window"]["ImageLoop", 50].mean() > 60


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_changes_an_image_more_with_its_strength(name):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)

    differences = [np.abs(changed(image, change, 0).astype(int) - image).mean() for change in CHANGES[name]]

    assert 0 < differences[0] < differences[-1]


def test_a_retraining_is_expected_to_give_about_what_it_gives_on_other_images(model):
    table = retraining.report(retraining.climb_ladders(model))["accuracy after a retraining"]

    assert list(table.index.get_level_values("labels")) == [20]
    assert {"as it is", "recalibrated", "labels", "labels and rehearsed copies"} <= set(table.columns)
    assert (table["chosen: changed"] > table["as it is"] - 2).all()
    assert abs(table["chosen: expected"] - table["chosen: changed"]).max() < 15
