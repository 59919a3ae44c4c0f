"""What the page of operations shows of each version: its status, its share of the traffic, and what it served lately."""

from dataclasses import asdict
from typing import Any

from imageloop.intervals import wilson
from imageloop.model.served_versions import versions_in
from imageloop.records.store.database import Database

RECENT_SECONDS = 900
NUM_RECENT, NUM_LABELLED, NUM_VERSIONS = 20_000, 1000, 10
SHOWN = ("version", "accuracy", "backbone", "data", "made_at", "reason")


def versions_shown(model_name: str) -> list[dict[str, Any]]:
    """Versions that serve together, then the newest versions of a model. `traffic`: percent; None where this machine does not know it."""
    from operations.approval import known_versions

    known = known_versions(model_name)
    together = [
        dict.fromkeys(SHOWN)
        | {"version": text, "status": "together", "traffic": share, "reason": f"versions {', '.join(versions_in(text))}"}
        for text, share in (known.traffic or {}).items()
        if len(versions_in(text)) > 1
    ]
    return together + [
        {name: value for name, value in asdict(one).items() if name in SHOWN}
        | {
            "accuracy_low": one.interval[0] if one.interval else None,
            "accuracy_high": one.interval[1] if one.interval else None,
            "status": known.statuses[one.version],
            "traffic": None if known.traffic is None else known.traffic.get(one.version, 0),
        }
        for one in known.versions[:NUM_VERSIONS]
    ]


def served_lately(database: Database, model_name: str, now: float) -> dict[str, dict[str, Any]]:
    """By version: predictions of the last quarter of an hour with their latency in milliseconds, and the accuracy on its newest labels."""
    found: dict[str, dict[str, Any]] = {}
    recent = database.latencies(model_name, now - RECENT_SECONDS, NUM_RECENT)
    for version, rows in recent.groupby("model_version"):
        p50, p95 = rows["latency_ms"].quantile([0.5, 0.95])
        found[str(version)] = {"predictions": len(rows), "p50_ms": float(p50), "p95_ms": float(p95)}
    labelled = database.labelled(model_name, newest=NUM_LABELLED)
    for version, rows in labelled.groupby("model_version"):
        right = int((rows["label"] == rows["ground_truth"]).sum())
        low, high = wilson(right, len(rows))
        shown = {"labelled": len(rows), "accuracy": right / len(rows), "accuracy_low": low, "accuracy_high": high}
        found[str(version)] = found.get(str(version), {"predictions": 0}) | shown
    return found
