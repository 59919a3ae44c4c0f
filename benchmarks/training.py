"""Accuracy against time: the whole pipeline, cold and warm, beside fine-tuning in eager PyTorch, in one run.

make bench-training                      transfer, five split seeds, and the usual way for two minutes
make bench-training BASELINE=1           the small network from scratch too, ten minutes
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from benchmarks.benchmark_images import photographs
from imageloop.workspace_paths import of_this_site

ROOT = Path(__file__).parents[1]


SPLIT_SEEDS = range(1, 6)
USUAL_SECONDS = 120
USUAL = """
import json, sys, time
from pathlib import Path
import torch
from PIL import Image
from torchvision.transforms import v2
from imageloop.model.backbones import load_backbone
from imageloop.model.network import Classifier
folder, limit = Path(sys.argv[1]), float(sys.argv[2])
labels = sorted(path.name for path in folder.iterdir())
files = sorted(folder.rglob("*.jpg"))
order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
test, train = order[: len(order) // 10], order[len(order) // 5 :]
prepare = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
def load(rows):
    images = torch.stack([prepare(Image.open(files[i]).convert("RGB")).permute(1, 2, 0) for i in rows])
    return images, torch.tensor([labels.index(files[i].parent.name) for i in rows])
started = time.perf_counter()
torch.manual_seed(0)
model = Classifier(load_backbone("efficientnet_lite0"), len(labels))
optimizer = torch.optim.AdamW(model.parameters(), 3e-4)
step, seen, out = 0, 0, []
def accuracy():
    model.eval()
    with torch.inference_mode():
        right = sum((model(images).argmax(1) == targets).sum().item() for images, targets in (load(test[i:i + 32]) for i in range(0, len(test), 32)))
    model.train()
    return right / len(test)
model.train()
spent = 0.0
while spent < limit:
    for start in range(0, len(train), 32):
        begun = time.perf_counter()
        images, targets = load(train[start:start + 32])
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        spent += time.perf_counter() - begun; seen += len(targets); step += 1
        if step % 10 == 0 or spent > limit:
            out.append((round(spent, 1), seen, accuracy()))
        if spent > limit:
            break
print(json.dumps(out))
"""


def own_environment(folder: Path) -> dict[str, str]:
    """This one with a site of its own below `folder`, and without what leads to one that is not ours to write to."""
    theirs = of_this_site(os.environ)
    return {name: value for name, value in os.environ.items() if name not in theirs} | {
        "IMAGELOOP_HOME": str(folder / "home"), "ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_CUSTOM_SOURCE_ROOT": str(ROOT), "ZENML_ANALYTICS_OPT_IN": "false",
    }  # fmt: skip


class Site:
    """A ZenML store, a registry and data of its own, below a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.environment = own_environment(folder)
        for program in (["-m", "imageloop.training.features"], ["stacks/apply.py", "--activate", "local"]):  # as `make setup`
            subprocess.run([sys.executable, *program], env=self.environment, cwd=ROOT, check=True)

    def train(self, folder: Path, *arguments: str) -> dict[str, object]:
        command = [sys.executable, ROOT / "run.py", "train", "--data", str(folder), "--json", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        result: dict[str, object] = json.loads(done.stdout)
        return result

    @property
    def package(self) -> Path:
        """The package of the version that was trained."""
        return next((self.home / ".imageloop" / "mlartifacts").rglob("model.json")).parent

    @property
    def verification_key(self) -> Path:
        return self.home / ".imageloop" / "keys" / "signing.pub"


def show(what: str, result: dict) -> None:
    seconds = result["seconds"]
    steps = sum(value for name, value in seconds.items() if name not in ("start_up", "total"))
    work = seconds["total"] - seconds["start_up"]
    print(f"{what:<28} accuracy {result['accuracy']:.4f}  work {work:5.1f} s  (steps {steps:.1f} s, between them {work - steps:.1f} s, "
          f"start-up {seconds['start_up']:.1f} s: ZenML's and MLflow's share {100 * (1 - steps / seconds['total']):.0f} %)", flush=True)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder, kind = photographs(scratch / "drawn")
        print(kind, flush=True)
        site = Site(scratch / "site")
        cold = site.train(folder, "--set", "data.split.seed=1")
        show("transfer, cold, split 1", cold)
        warm = site.train(folder, "--set", "data.split.seed=1", "--set", "training.seed=2")
        show("transfer, warm, split 1", warm)
        accuracies = [cold["accuracy"]]
        for seed in list(SPLIT_SEEDS)[1:]:
            result = site.train(folder, "--set", f"data.split.seed={seed}")
            show(f"transfer, warm, split {seed}", result)
            accuracies.append(result["accuracy"])
        print(f"transfer, mean of {len(accuracies)} split seeds: {mean(accuracies):.4f}", flush=True)
        if os.environ.get("BASELINE"):
            started = time.perf_counter()
            show("baseline, from scratch", site.train(folder, "--config", str(ROOT / "configs" / "baseline.yaml")))
            print(f"baseline took {time.perf_counter() - started:.0f} s")
        done = subprocess.run(
            [sys.executable, "-c", USUAL, str(folder), str(USUAL_SECONDS)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        print("the usual way (all layers fine-tuned, eager PyTorch, from the same ImageNet weights):")
        for seconds, images, accuracy in json.loads(done.stdout.splitlines()[-1]):
            print(f"  after {seconds:6.1f} s of training, {images:5d} images: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
