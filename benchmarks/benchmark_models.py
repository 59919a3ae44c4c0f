"""Models to measure with: a backbone under a head of random numbers, which takes the time of a trained one."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from imageloop.batch_prediction.part_table import BatchModel
from imageloop.embeddings.novelty import Novelty
from imageloop.model.onnx_export import attach_head
from imageloop.model.package import PackageInfo
from imageloop.model.predictor import Predictor

NUM_FEATURES, NUM_KNOWN = 1280, 2000


def random_predictor(features: Path, file: Path) -> Predictor:
    """The predictor of two classes on the exported backbone `features`; its model is written to `file`, whose name says the precision."""
    info = PackageInfo(
        class_names=["a", "b"], side_pixels=224, preprocessing_version="1", model_kind="transfer", backbone="", temperature=1.0, seed=0,
        data_version="", git_commit="", run_id="", created_at=datetime.now(UTC),
    )  # fmt: skip
    weight = np.random.default_rng(0).normal(0, 0.05, (2, NUM_FEATURES)).astype(np.float32)
    attach_head(features, file, weight, np.zeros(2, np.float32), 1.0)
    return Predictor(file, info, threads=os.cpu_count() or 1)


def batch_model(predictor: Predictor) -> BatchModel:
    """The same with a novelty reference of random embeddings."""
    known_ND = np.random.default_rng(0).normal(size=(NUM_KNOWN, NUM_FEATURES)).astype(np.float32)
    return BatchModel(predictor, Novelty(known_ND / np.linalg.norm(known_ND, axis=1, keepdims=True), 0.5))
