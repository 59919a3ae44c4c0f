"""Catalog, prepare and DVC: images a second, peak memory, and what a second run costs.

    make bench-data            20,000 images
    make bench-data N=2000     fewer

Ratios compare two things in one run; absolute figures are of the machine that printed them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.benchmark_images import multiply, photographs

NUM_IMAGES = int(os.environ.get("N", "20000"))
NUM_NEW = 10
CATALOGUE = """
import json, resource, sys, time
from pathlib import Path
from imageloop.data.catalog import read_catalog
from imageloop.data.ingestion import prepared_store
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
folder, store_folder = map(Path, sys.argv[1:3])
started = time.perf_counter()
store = prepared_store(store_folder, 224)
known = len(store._places)
catalog = read_catalog(folder, "folder", store, 224, Limits())
read = time.perf_counter() - started
catalog = split_catalog(catalog, None, SplitSettings(), 4)
together = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"images": len(catalog), "decoded": len(store._places) - known, "read": read, "together": together, "peak_mb": peak,
                  "catalog_mb": catalog.memory_usage(deep=True).sum() / 2**20}))
"""
USUAL = """
import json, sys, time
from pathlib import Path
from PIL import Image
from torchvision import transforms
transform = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))[:1000]
started = time.perf_counter()
for file in files:
    transform(Image.open(file).convert("RGB"))
print(json.dumps({"rate": len(files) / (time.perf_counter() - started)}))
"""


def run(program: str, *arguments: object) -> dict[str, float]:
    """A program in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def dvc_figures(folder: Path, home: Path) -> dict[str, float]:
    """Seconds of add and push: at first, and with new images."""
    import shutil

    from imageloop.adapters import dvc
    from imageloop.data.settings import VersioningSettings
    from imageloop.workspace_paths import Workspace

    workspace, figures = Workspace(home), {}
    shutil.copytree(folder, workspace.data / "raw")
    for name in ("first", "with_new"):
        started = time.perf_counter()
        dvc.track(workspace.data / "raw", workspace, VersioningSettings())
        figures[name] = time.perf_counter() - started
        multiply(folder, workspace.data / "raw", NUM_NEW, first=2 * NUM_IMAGES)
    started = time.perf_counter()
    dvc.track_images(workspace.data / "raw", workspace, VersioningSettings(archive=True))
    figures["as_archives"] = time.perf_counter() - started
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, kind = photographs(scratch / "drawn")
        many, few = multiply(source, scratch / "many", NUM_IMAGES), multiply(source, scratch / "few", NUM_IMAGES // 10)
        usual = run(USUAL, many)["rate"]
        small = run(CATALOGUE, few, scratch / "store-few")
        first = run(CATALOGUE, many, scratch / "store")
        multiply(source, many, NUM_NEW, first=NUM_IMAGES)
        second = run(CATALOGUE, many, scratch / "store")
        dvc = dvc_figures(many, scratch / "home")
        rate = first["images"] / first["read"]
        print(f"images: {kind}, {first['images']:,}")
        print(
            f"catalog and prepare: {rate:,.0f} a second; the usual transform, one after the other: {usual:,.0f} ({rate / usual:.1f} times)"
        )
        print(f"duplicates and split: {first['together'] - first['read']:.1f} s")
        print(
            f"second run with {NUM_NEW} new: decoded {second['decoded']}, {second['together']:.1f} s instead of {first['together']:.1f}"
        )
        own = {key: figures["peak_mb"] - figures["catalog_mb"] for key, figures in (("small", small), ("first", first))}
        print(f"peak memory without the catalog: {own['first']:.0f} MB for {first['images']:,}, {own['small']:.0f} MB for "
              f"{small['images']:,} ({own['first'] / own['small']:.2f} times)")  # fmt: skip
        print(f"DVC add and push: {dvc['first']:.1f} s at first, {dvc['with_new']:.1f} s with {NUM_NEW} new, "
              f"{dvc['as_archives']:.1f} s as archives")  # fmt: skip


if __name__ == "__main__":
    main()
