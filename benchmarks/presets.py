"""What each preset gives on three data sets: accuracy, training time, package size and milliseconds an image, in one run.

make bench-presets                          cats and dogs, five flowers, ten hand signs, below IMAGELOOP_TEST_DATA
make bench-presets SETS="pets37 antsbees"   others
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training import ROOT, Site

PRESETS = (None, "fast", "tiny", "best")
SETS = (os.environ.get("SETS") or "catsdogs flowers signdigits").split()


def measure(folder: Path, scratch: Path) -> None:
    """Train every preset on one data set, the features of each computed anew, and compare the versions on the same test images."""
    site = Site(scratch)
    versions, seconds = [], []
    for preset in PRESETS:
        shutil.rmtree(scratch / "home" / ".imageloop" / "features", ignore_errors=True)
        result: dict[str, Any] = site.train(folder, *(["--preset", preset] if preset else []))
        versions.append(str(result["model_version"]))
        seconds.append(
            result["seconds"]["train"] + result["seconds"]["find_label_issues"]
        )  # whichever comes first computes the features
    command = [sys.executable, ROOT / "run.py", "compare", *versions, "--json"]
    done = subprocess.run(command, env=site.environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    compared = json.loads(done.stdout)
    print(f"{folder.name}: {compared['num_images']} test images", flush=True)
    for preset, spent, one in zip(PRESETS, seconds, compared["versions"], strict=True):
        metrics, difference = one["metrics"], one["difference"]
        against = (
            ""
            if difference is None
            else f"  {100 * difference['mean']:+.1f} points ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"
        )
        print(
            f"  {preset or 'default':<8} accuracy {metrics['accuracy']:.1%} ({metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%})  "
            f"training {spent:5.1f} s  package {metrics['package_megabytes']:6.1f} MB  {metrics['milliseconds_per_image']:6.1f} ms  "
            f"{one['precision']}{against}",
            flush=True,
        )  # fmt: skip


def main() -> None:
    data = Path(os.environ.get("IMAGELOOP_TEST_DATA", ""), "data")
    missing = [name for name in SETS if not (data / name).is_dir()]
    if missing:
        sys.exit(
            f"error: expected the data sets {', '.join(SETS)} below IMAGELOOP_TEST_DATA/data, got none for {', '.join(missing)}"
        )
    with tempfile.TemporaryDirectory() as name:
        for data_set in SETS:
            measure(data / data_set, Path(name, data_set))


if __name__ == "__main__":
    main()
