"""How many images show a change, how often nothing is taken for one, and the mean confidence beside the accuracy.

make bench-drift        trains on half of the photographs of IMAGELOOP_TEST_DATA and sends the other half, changed
"""

import io
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.loop.changes import camera
from benchmarks.training import Site
from imageloop.data.image_statistics import image_statistics
from imageloop.embeddings.drift_samples import Sample, read_reference
from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scenes_of
from imageloop.model.predictor import Predictor
from imageloop.monitoring.drift import measure_drift
from imageloop.monitoring.drift_settings import DriftSettings

ROOT = Path(__file__).parents[1]


NUM_TAUGHT = 500  # of each class
NUM_WINDOWS = 100
NUM_CALM_WINDOWS = 1000
NUM_FILMED, NUM_FRAMES = 200, 10  # photographs, and frames of each
SIZES = (10, 25, 50, 100)
SETTINGS = DriftSettings()


def main() -> None:
    named = os.environ.get("IMAGELOOP_TEST_DATA")
    if not named:
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    folder = Path(named, "data")
    with tempfile.TemporaryDirectory() as scratch:
        predictor, package = _train(folder / "catsdogs", Path(scratch))
        scene = Novelty.read(package).scene
        reference = read_reference(package, predictor.info.class_names, scene)
        unseen = [file for name in ("cat", "dog") for file in sorted((folder / "catsdogs" / name).glob("*.jpg"))[NUM_TAUGHT:]]
        ground_truth = np.array([file.parent.name for file in unseen])
        print(
            f"{len(reference)} reference images, {len(unseen)} unseen ones, {NUM_WINDOWS} windows each, {SETTINGS.false_alarm_rate:.0%} false alarms"
        )
        seen = {name: _see(predictor, unseen, change) for name, change in CHANGES.items()}
        insects = sorted((folder / "antsbees").rglob("*.jpg"))
        calm, right = seen["nothing"]
        _calm_windows(reference, calm)
        _filmed_windows(reference, _filmed(predictor, unseen), scene)
        print(f"\n{'change':<34}" + "".join(f"{size:>6}" for size in SIZES) + "   accuracy  confidence")
        for name, (sample, labels) in seen.items():
            _row(name, reference, sample, float((labels == ground_truth).mean()))
        cats = np.flatnonzero(ground_truth == "cat")
        dogs = np.flatnonzero(ground_truth == "dog")[: len(cats) // 9]
        mix = np.concatenate([cats, dogs])
        _row("nine cats to a dog", reference, calm.some(mix), float((right[mix] == ground_truth[mix]).mean()))
        strangers, _ = _see(predictor, insects, CHANGES["nothing"])
        rng = np.random.default_rng(0)
        mixed = _together(
            calm.some(rng.choice(len(calm), 400, replace=False)), strangers.some(rng.choice(len(strangers), 100, replace=False))
        )
        _row("a fifth ants and bees", reference, mixed, float("nan"))
        _novelty(package, calm, strangers)
        started = time.perf_counter()
        measure_drift(reference, calm.some(rng.choice(len(calm), 10_000)), SETTINGS)
        print(f"10,000 records are compared in {time.perf_counter() - started:.2f} s")


def _train(images: Path, scratch: Path) -> tuple[Predictor, Path]:
    """The usual training, on a site of its own."""
    for name in ("cat", "dog"):
        (scratch / "images" / name).mkdir(parents=True)
        for file in sorted((images / name).glob("*.jpg"))[:NUM_TAUGHT]:
            (scratch / "images" / name / file.name).symlink_to(file)
    site = Site(scratch)
    trained = site.train(scratch / "images")
    print(f"trained on {2 * NUM_TAUGHT} photographs: accuracy {trained['accuracy']:.1%} on the test images")
    return Predictor.load(site.package, site.verification_key, threads=2), site.package


def _saved(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


CHANGES = {
    "nothing": None,
    "blur of 2 pixels": lambda image: _saved(image.filter(ImageFilter.GaussianBlur(2))),
    "JPEG quality 10": lambda image: _saved(image, 10),
    "half as bright": lambda image: _saved(image.convert("RGB").point(lambda value: value * 0.5)),
    "another camera": lambda image: _saved(camera(1)(image.convert("RGB"), np.random.default_rng(0))),
}


def _see(predictor: Predictor, files: list[Path], change) -> tuple[Sample, np.ndarray]:
    def content(file: Path) -> bytes:
        return file.read_bytes() if change is None else change(Image.open(file))

    samples, labels = [], []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(files), 200):
            images = predictor.preprocess_all(list(pool.map(content, files[start : start + 200]))).images_BSSC
            found = predictor.predict(images)
            samples.append(
                (found.embeddings.astype(np.float16).astype(np.float32), image_statistics(images), found.probabilities)
            )
            labels += found.labels
    return Sample(*(np.concatenate(parts) for parts in zip(*samples, strict=True))), np.array(labels)


def _calm_windows(reference: Sample, calm: Sample) -> None:
    rng = np.random.default_rng(1)
    for size in (25, 100):
        alarms = [
            measure_drift(reference, calm.some(rng.choice(len(calm), size, replace=False)), SETTINGS, n).alarm
            for n in range(NUM_CALM_WINDOWS)
        ]
        print(f"{NUM_CALM_WINDOWS} windows of {size} in which nothing changed: {np.mean(alarms):.1%} alarms")


def _frame(image: Image.Image) -> bytes:
    """As the next frame of a camera that moves a little: another cut, another light, saved anew."""
    image = image.convert("RGB")
    width, height = image.size
    left, top = random.uniform(0, 0.06), random.uniform(0, 0.06)
    cut = image.crop((int(left * width), int(top * height), int((left + 0.94) * width), int((top + 0.94) * height)))
    light = random.uniform(0.93, 1.07)
    return _saved(cut.point(lambda value: value * light), random.randint(80, 95))


def _filmed(predictor: Predictor, files: list[Path]) -> Sample:
    """Some of the photographs, so many frames of each in a row."""
    random.seed(3)
    sample, _ = _see(predictor, [file for file in random.sample(files, NUM_FILMED) for _ in range(NUM_FRAMES)], _frame)
    return sample


def _filmed_windows(reference: Sample, filmed: Sample, distance: float) -> None:
    """Windows of few scenes, in which nothing but these changed."""
    rng = np.random.default_rng(4)
    alarms, found = {"frames": [], "scenes": []}, []
    for number in range(NUM_WINDOWS):
        scenes = rng.choice(NUM_FILMED, 10, replace=False)
        window = filmed.some((scenes[:, None] * NUM_FRAMES + np.arange(NUM_FRAMES)).ravel())
        apart = np.unique(scenes_of(window.embeddings_ND, distance))
        found.append(len(apart))
        alarms["frames"].append(measure_drift(reference, window, SETTINGS, number).alarm)
        alarms["scenes"].append(measure_drift(reference, window.some(apart), SETTINGS, number).alarm)
    shares = ", ".join(f"{np.mean(alarm_rates):.0%} alarms by {name}" for name, alarm_rates in alarms.items())
    print(
        f"{NUM_WINDOWS} windows of {NUM_FRAMES} frames of 10 photographs each: {shares}; {np.mean(found):.1f} scenes are alarm_rates apart"
    )


def _row(name: str, reference: Sample, sample: Sample, accuracy: float) -> None:
    rng = np.random.default_rng(2)
    shares = []
    for size in SIZES:
        alarms = [
            measure_drift(reference, sample.some(rng.choice(len(sample), size, replace=False)), SETTINGS, n).alarm
            for n in range(NUM_WINDOWS)
        ]
        shares.append(np.mean(alarms))
    print(
        f"{name:<34}"
        + "".join(f"{share:6.2f}" for share in shares)
        + f"   {'' if np.isnan(accuracy) else f'{accuracy:.2%}':>8}  {sample.probabilities_NK.max(1).mean():8.2%}"
    )


def _together(one: Sample, other: Sample) -> Sample:
    return Sample(
        *(
            np.concatenate([first, second])
            for first, second in zip(list(vars(one).values())[:3], list(vars(other).values())[:3], strict=True)
        )
    )


def _novelty(package: Path, calm: Sample, strangers: Sample) -> None:
    from sklearn.metrics import roc_auc_score

    novelty = Novelty.read(package)
    known, unknown = novelty.distance(calm.embeddings_ND), novelty.distance(strangers.embeddings_ND)
    area = roc_auc_score([0] * len(known) + [1] * len(unknown), np.concatenate([known, unknown]))
    print(
        f"\nants and bees among cats and dogs: AUROC {area:.4f}; {np.mean(unknown > novelty.limit):.1%} of them are called out of distribution, "
        f"and {np.mean(known > novelty.limit):.1%} of the cats and dogs"
    )


if __name__ == "__main__":
    main()
