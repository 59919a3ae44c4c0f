"""A second training with images that cannot be trained on leaves those of the first where they are."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("training")]
GIVEN = (
    "--model", "held", "--set", "training.model.loop.max_epochs=5", "--set", "promotion.export.int8=false",
    "--set", "promotion.gates.min_accuracy=0.1", "--set", "promotion.gates.min_class_recall=0.0", "--set", "promotion.gates.max_calibration_error=1.0",
)  # fmt: skip


def test_the_images_of_the_last_training_stay_where_the_next_ones_are_refused(site, draw_folder):
    good, bad = draw_folder("good", cat=20, dog=20), draw_folder("bad", seed=1, cat=20, dog=20)
    for number in range(6):
        (bad / "cat" / f"broken{number}.png").write_bytes(b"no image")
    site.run("train", "--data", str(good), *GIVEN)
    raw = site.home / "data" / "sets" / "held" / "raw"
    before = {path.relative_to(raw) for path in raw.rglob("*.png")}

    _, err = site.run("train", "--data", str(bad), *GIVEN, expect=1)
    after = {path.relative_to(raw): path.read_bytes() for path in raw.rglob("*.png")}

    assert "expected at most 10% of the files to be unusable, got 13%" in err
    assert "refused '" in err
    assert set(after) == before
    assert all((good / name).read_bytes() == content for name, content in after.items())
