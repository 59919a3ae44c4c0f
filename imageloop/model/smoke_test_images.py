"""Smoke-test images in the package: one for each class, which a new replica must predict right."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path

from imageloop.atomic_files import replacing

EXAMPLES = "examples.json"


@dataclass(frozen=True)
class Example:
    """`content`: a PNG of the model's side, which preprocessing only crops; `probability`: of `label`, by this very model."""

    label: str
    probability: float
    content: bytes


def write_examples(folder: Path, examples: list[Example]) -> None:
    rows = [{"label": one.label, "probability": one.probability, "png": b64encode(one.content).decode()} for one in examples]
    with replacing(folder / EXAMPLES) as aside:
        aside.write_text(json.dumps(rows))


def read_examples(folder: Path) -> list[Example]:
    """Read them; empty in packages without."""
    file = folder / EXAMPLES
    rows = json.loads(file.read_text()) if file.exists() else []
    return [Example(row["label"], row["probability"], b64decode(row["png"])) for row in rows]
