from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from imageloop.data.settings import Drift, GeneratedSource
from imageloop.data.sources.generated import bring_generated
from steps.pipeline_settings import TrainSettings


def images(folder):
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.jpg"))}


def test_the_same_seed_draws_the_same_images_and_another_seed_others(tmp_path):
    first, second, other = (
        images(bring_generated(GeneratedSource(num_images=40, seed=seed), tmp_path / str(n))) for n, seed in enumerate((7, 7, 8))
    )

    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first.keys() & other.keys())


def test_the_drift_knobs_turn(tmp_path):
    def drawn(**drift):
        return images(bring_generated(GeneratedSource(num_images=40, drift=Drift(**drift)), tmp_path / str(drift)))

    plain, dark, blurred, outlined, mixed = (
        drawn(),
        drawn(darkness=0.7),
        drawn(blur_pixels=4),
        drawn(style="outlined"),
        drawn(first_class_share=0.9),
    )

    mean = lambda group: np.mean([image.mean() for image in group.values()])
    edges = lambda group: np.mean([np.abs(np.diff(image.astype(int), axis=1)).mean() for image in group.values()])
    assert mean(dark) < 0.6 * mean(plain)
    assert edges(blurred) < edges(plain)
    assert any(not np.array_equal(plain[name], outlined[name]) for name in plain)
    assert 34 <= sum(name.startswith("cat") for name in mixed) <= 38
    assert 18 <= sum(name.startswith("cat") for name in plain) <= 22


def test_images_of_the_same_settings_are_not_drawn_again(tmp_path, monkeypatch):
    source = GeneratedSource(num_images=40)
    folder = bring_generated(source, tmp_path)
    drawn = []
    monkeypatch.setattr("imageloop.data.sources.generated._save", lambda source, index, folder: drawn.append(index))

    bring_generated(source, tmp_path)
    assert drawn == []
    next(folder.glob("cat/*.jpg")).write_bytes(b"damaged")
    bring_generated(source, tmp_path)
    assert len(drawn) == 40


def test_set_up_draws_what_the_first_run_reads_in():
    settings = yaml.safe_load((Path(__file__).parents[4] / "configs" / "train.yaml").read_text())

    assert TrainSettings.model_validate(settings).data.source == GeneratedSource()
