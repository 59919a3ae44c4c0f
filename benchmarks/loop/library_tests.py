"""Test the windows in a file as Alibi Detect and Evidently do by default; for the interpreter that has both libraries.

Arguments: a .npz file with `reference N` and `window N`, (rows, columns), and both with fewer columns as `few ...` for Evidently, which takes
two minutes for a thousand. Prints one JSON line: for each window which library alarms.
"""

import json
import sys

import numpy as np
import pandas as pd
from alibi_detect.cd import KSDrift
from evidently import Report
from evidently.presets import DataDriftPreset

NAMES = ("reference", "window", "few reference", "few window")


def main() -> None:
    with np.load(sys.argv[1]) as content:
        rows = [[content[f"{name} {number}"] for name in NAMES] for number in range(len(content.files) // len(NAMES))]
    print(json.dumps([{"Alibi Detect": alibi_alarms(*row[:2]), "Evidently": evidently_alarms(*row[2:])} for row in rows]))


def alibi_alarms(reference: np.ndarray, window: np.ndarray) -> bool:
    return bool(KSDrift(reference, p_val=0.05).predict(window)["data"]["is_drift"])


def evidently_alarms(reference: np.ndarray, window: np.ndarray) -> bool:
    """Whether the preset's own test of the share of columns that drift fails."""
    tables = [pd.DataFrame(part, columns=[f"c{place}" for place in range(part.shape[1])]) for part in (window, reference)]
    run = Report([DataDriftPreset()]).run(*tables)
    drifted = next(
        one for one in run.dict()["metrics"] if "DriftedColumnsCount" in one.get("metric_id", one.get("metric_name", ""))
    )
    return float(drifted["value"]["share"]) >= 0.5


if __name__ == "__main__":
    main()
