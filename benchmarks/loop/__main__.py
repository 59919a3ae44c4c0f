"""Fill the grid, and print what the decisions of the loop are worth.

make bench-loop             photographs of IMAGELOOP_TEST_DATA; features are kept below .imageloop, so that only the first run takes long
python -m benchmarks.loop FILE  also writes the tables to a JSON file
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # more wait for each other

import pandas as pd

from benchmarks.loop import drift_detection, estimates, labels, rehearsed_heads, retraining
from benchmarks.loop.features import DATA_SETS, image_sets
from benchmarks.loop.models import FOREIGN, Model

SEEDS = range(3)


def main() -> None:
    image_sets()  # computes the features that are not kept yet, with all processors
    tasks = [(name, seed) for name in DATA_SETS for seed in SEEDS]
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(_measure, tasks))
    tables = {
        "accuracy estimates": estimates.report([row for part in parts for row in part[0]]),
        "poisoned labels": labels.report([row for part in parts for row in part[1]]),
        "drift": drift_detection.report([row for part in parts for row in part[2]])
        | drift_detection.report_fewest([row for part in parts for row in part[5]]),
        "rehearsed copies in the first head": rehearsed_heads.report([row for part in parts for row in part[6]]),
        "retraining": retraining.report([row for part in parts for row in part[4]]),
    }
    pd.set_option("display.width", 200, "display.max_columns", 40, "display.max_rows", 200)
    for chapter, of_chapter in tables.items():
        for title, table in of_chapter.items():
            print(f"\n{chapter}: {title}\n{table.to_string()}")
    print(f"\none estimate of 100 images takes {sorted(part[3] for part in parts)[len(parts) // 2]:.1f} ms")
    if len(sys.argv) > 1:
        content = {
            chapter: {title: json.loads(table.to_json(orient="split")) for title, table in part.items()}
            for chapter, part in tables.items()
        }
        Path(sys.argv[1]).write_text(json.dumps(content, indent=1) + "\n")


def _measure(task: tuple[str, int]) -> tuple[Any, ...]:
    name, seed = task
    sets = image_sets((name, FOREIGN[name]))
    model = Model(sets[name], sets[FOREIGN[name]], seed)
    found = (
        estimates.estimate_windows(model),
        labels.judge_windows(model),
        drift_detection.test_windows(model),
        estimates.milliseconds_per_window(model),
        retraining.climb_ladders(model),
        drift_detection.detect_changes(model),
        rehearsed_heads.compare_heads(model, Model(sets[name], sets[FOREIGN[name]], seed, rehearsal_weight=0.0)),
    )
    print(f"{name}, seed {seed}: measured", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
