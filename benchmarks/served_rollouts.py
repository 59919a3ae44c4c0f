"""Canaries of versions whose loss is known, through the real gateway: what becomes of each, and how many requests it served meanwhile.

make bench-served-rollouts      photographs of IMAGELOOP_TEST_DATA

The stable version is a trained head on ten hand signs; a candidate has noise on the head's weights, as much as costs so many points of accuracy
on the images that callers send. Clients send these at random. With labels, each client sends the ground truth of each prediction.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import requests
import torch

from benchmarks.local_serving import local_cluster
from benchmarks.training import Site
from imageloop.model.onnx_export import attach_head
from imageloop.model.package import EXACT_MODEL, INT8_MODEL, WEIGHTS
from imageloop.model.predictor import Predictor
from imageloop.model.signing import private_key, sign
from imageloop.model.smoke_test_images import EXAMPLES
from imageloop.model.test_images import read_test_images, write_test_images
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.render_manifest import render_predictor
from seldon.delivery.rollouts.rollout_runner import RolloutStoppedError, roll_out
from seldon.delivery.rollouts.settings import Canary, DeploySettings, Rolling

DATA_SET, SENT_SHARE = "signdigits", 0.3
GAPS = (0.5, 0.2, 0.1, 0.0)
REPEATS, NUM_CLIENTS = 3, 4
SETTINGS = DeploySettings(name="signs", model_name="signs", replicas=1)


def main() -> None:
    data = Path(os.environ.get("IMAGELOOP_TEST_DATA", ""), "data", DATA_SET)
    if not data.is_dir():
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        taught, sent = _halves(data, scratch / "images")
        site = Site(scratch / "site")
        site.train(taught)
        with local_cluster(site, scratch / "serving") as cluster:
            _measure(cluster, Candidates(site, sent, scratch), sent)


class Candidates:
    """Versions that are less accurate than the stable one by a known number of points."""

    def __init__(self, site: Site, sent: list[Path], scratch: Path) -> None:
        self.stable, self._scratch, state_folder = site.package, scratch, site.home / ".imageloop"
        self._features, self._keys = next((state_folder / "backbones").glob("*.onnx")), state_folder / "keys"
        predictor = Predictor.unsigned(self.stable, threads=2)
        found = predictor.predict([file.read_bytes() for file in sent])
        names = predictor.info.class_names
        self._embeddings, self._targets = found.embeddings, np.array([names.index(file.parent.name) for file in sent])
        state = torch.load(self.stable / WEIGHTS, weights_only=True)
        self._weights, self._biases = (state[name].numpy() for name in ("head.weight", "head.bias"))
        self._temperature = predictor.info.temperature
        self.accuracy = self._accuracy(self._weights)

    def make(self, gap: float, seed: int) -> tuple[Path, float]:
        """A signed package that is less accurate by about `gap`, and by how much it is."""
        noise = np.random.default_rng(seed).normal(size=self._weights.shape).astype(np.float32) * self._weights.std()
        low, high = 0.0, 64.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self.accuracy - self._accuracy(self._weights + middle * noise) > gap else (middle, high)
        weights = self._weights + (low if gap else 0.02) * noise
        folder = self._scratch / f"candidate-{gap}-{seed}"
        shutil.copytree(self.stable, folder)
        for name in (INT8_MODEL, EXAMPLES):  # a version that is evaluated has images that it predicts right
            (folder / name).unlink(missing_ok=True)
        (folder / EXACT_MODEL).unlink()
        attach_head(self._features, folder / EXACT_MODEL, weights, self._biases, self._temperature)
        images = read_test_images(folder)
        labels = Predictor.unsigned(folder, threads=2).predict([image.content for image in images]).labels
        write_test_images(
            folder, [replace(image, right=label == image.label) for image, label in zip(images, labels, strict=True)]
        )
        sign(folder, private_key(self._keys))
        return folder, self.accuracy - self._accuracy(weights)

    def _accuracy(self, weights: np.ndarray) -> float:
        return float(((self._embeddings @ weights.T + self._biases).argmax(1) == self._targets).mean())


def _measure(cluster: LocalCluster, candidates: Candidates, sent: list[Path]) -> None:
    first = render_predictor(version="1", model_name="signs", model_uri=f"file://{candidates.stable}", replicas=1, traffic=100)
    roll_out(cluster, SETTINGS.model_copy(update={"strategy": Rolling()}), first)
    url = cluster.describe("default", "signs").url
    print(
        f"{len(read_test_images(candidates.stable))} test images in the package, {candidates.accuracy:.1%} of {len(sent)} sent ones right"
    )
    print(f"{'points':>7}{'evidence':>16}{'outcome':>14}  {'stage':<16}{'served %':>9}{'seconds':>9}")
    for number, (gap, seed) in enumerate((gap, seed) for seed in range(REPEATS) for gap in GAPS):
        folder, loss = candidates.make(gap, seed)
        for labelled in (False, True):
            version = f"{10 * number + labelled + 2}"
            spec = render_predictor(version=version, model_name="signs", model_uri=f"file://{folder}", replicas=1, traffic=100)
            settings = SETTINGS.model_copy(update={"strategy": Canary()})
            started = time.monotonic()
            with Clients(url, sent, labelled=labelled):
                try:
                    rollout = roll_out(cluster, settings, spec)
                except RolloutStoppedError as error:
                    rollout = error.rollout
            outcome = "no data" if rollout.unproved else rollout.outcome.replace("_", " ")
            stage = rollout.verdicts[-1][0] if rollout.verdicts else "smoke"
            print(
                f"{-100 * loss:>+7.1f}{'labels' if labelled else 'test images':>16}{outcome:>14}  {stage:<16}{rollout.exposure:>9.1%}"
                f"{time.monotonic() - started:>9.0f}",
                flush=True,
            )
            roll_out(cluster, SETTINGS.model_copy(update={"strategy": Rolling(shadow_percent=0)}), first)


class Clients:
    """Threads that send images at random and, where asked, the ground truth of each prediction."""

    def __init__(self, url: str, files: list[Path], *, labelled: bool, number: int = NUM_CLIENTS) -> None:
        self._url, self._labelled = url, labelled
        self.answered = self.failed = 0
        self._images = [(file.parent.name, file.read_bytes()) for file in files]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(client,)) for client in range(number)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        rng = np.random.default_rng(number)
        with requests.Session() as session:
            while not self._stopped.is_set():
                label, content = self._images[rng.integers(len(self._images))]
                try:
                    found = session.post(f"{self._url}/predict", content, headers={"Content-Type": "image/jpeg"}, timeout=30)
                    self.answered, self.failed = self.answered + 1, self.failed + (not found.ok)
                    if self._labelled and found.ok:
                        feedback = {"request_id": json.loads(found.content)["request_id"], "label": label}
                        session.post(f"{self._url}/feedback", json=feedback, timeout=30)
                except requests.RequestException as error:
                    self.failed += 1
                    print(f"a request failed: {error}", file=sys.stderr)


def _halves(data: Path, target: Path) -> tuple[Path, list[Path]]:
    """A folder of the images that train, and the others, which callers send."""
    sent = []
    for folder in sorted(entry for entry in data.iterdir() if entry.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        count = int(SENT_SHARE * len(files))
        sent += files[:count]
        (target / folder.name).mkdir(parents=True)
        for file in files[count:]:
            (target / folder.name / file.name).symlink_to(file)
    return target, sent


if __name__ == "__main__":
    main()
