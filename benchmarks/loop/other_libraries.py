"""The drift tests of Alibi Detect and Evidently, as these libraries run them by default, on the windows that ours tests.

make bench-drift-libraries      photographs of IMAGELOOP_TEST_DATA; the libraries have an environment of their own
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.loop.changes import CHANGES
from benchmarks.loop.drift_detection import TESTS, draw_windows, sample_of
from benchmarks.loop.features import DATA_SETS, UNCHANGED, image_sets
from benchmarks.loop.models import FOREIGN, Model
from imageloop.embeddings.drift_samples import Sample

PYTHON = Path(".venv-drift", "bin", "python")
NAMES = ("reference", "window", "few reference", "few window")  # as library_tests.py reads them
REFERENCE, SIZE = 150, 50
NUM_CALM, NUM_CHANGED = 10, 1  # windows of a data set; of each change, in strength 2
COMPONENTS = 32  # of the embedding, for Evidently


def main() -> None:
    image_sets()  # computes the features that are not kept yet
    rows = [row for name in DATA_SETS for row in _tested(name)]
    table = pd.DataFrame(rows)
    tests = [column for column in table if column not in ("data_set", "changed")]
    for changed, some in table.groupby("changed"):
        by_set = some.groupby("data_set", sort=False)[tests].mean()
        shown = 100 * pd.concat([by_set, some[tests].mean().to_frame("all").T])
        print(f"\n{'changed' if changed else 'unchanged'}: % of {len(some)} windows with an alarm\n{shown.round(1).to_string()}")


def _tested(name: str) -> list[dict[str, object]]:
    """Whether each test alarms on each window of a data set."""
    sets = image_sets((name, FOREIGN[name]))
    model, rng = Model(sets[name], sets[FOREIGN[name]], 0), np.random.default_rng(0)
    rows, arrays = [], {}
    for cell, count in [((UNCHANGED, 0), NUM_CALM), *(((change, 2), NUM_CHANGED) for change in CHANGES)]:
        for _ in range(count):
            known, met = draw_windows(model, REFERENCE, SIZE, rng)
            pair = sample_of(model, known, (UNCHANGED, 0)), sample_of(model, met, cell)
            samples = (*pair, *(_reduced(sample, pair[0]) for sample in pair))
            arrays |= {f"{name} {len(rows)}": _columns(sample) for name, sample in zip(NAMES, samples, strict=True)}
            alarms = {test: alarm(*pair, len(rows)) for test, alarm in TESTS.items()}
            rows.append({"data_set": name, "changed": cell[1] > 0} | alarms)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "samples.npz")
        np.savez(file, **arrays)
        program = Path(__file__).with_name("library_tests.py")
        done = subprocess.run([PYTHON, program, file], check=True, stdout=subprocess.PIPE, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: measured", file=sys.stderr, flush=True)
    return [row | alarms for row, alarms in zip(rows, theirs, strict=True)]


def _reduced(sample: Sample, reference: Sample) -> Sample:
    """The sample with the leading components of the reference's embeddings in the place of its own."""
    mean_D = reference.embeddings_ND.mean(0)
    directions_DD = np.linalg.svd(reference.embeddings_ND - mean_D, full_matrices=False)[2]
    return replace(sample, embeddings_ND=(sample.embeddings_ND - mean_D) @ directions_DD[:COMPONENTS].T)


def _columns(sample: Sample) -> np.ndarray:
    return np.concatenate([sample.embeddings_ND, sample.statistics_NS, sample.probabilities_NK], axis=1)


if __name__ == "__main__":
    main()
