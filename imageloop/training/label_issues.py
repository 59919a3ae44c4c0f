"""Images with label issues, the likeliest first.

Every image is judged by a model that has not seen it (cross-validation on the backbone's features), as confident
learning does. Source: Northcutt et al., Confident Learning, 2021, through the library cleanlab.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.background_imports import loading
from imageloop.data.prepared_images import PreparedImages
from imageloop.progress import waiting
from imageloop.training.devices import DeviceChoice, device_of
from imageloop.training.features import known_features
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
NUM_FOLDS = 5
MAX_TRAINED = 20_000
TOLERANCE = (
    1e-3  # finds as many flipped labels as sklearn's 1e-4 (90 for 88 of 102, 8 for 8 of 14, 90 for 92 of 95) in half of the time
)
Rows = NDArray[np.int64]


def find_label_issues(
    images: PreparedImages, backbone: str, workspace: Workspace, device_choice: DeviceChoice = "auto"
) -> pd.DataFrame:
    """Rank the images of train and validation by label quality, on features of `backbone`; the test split stays unseen.

    Shapes: one row an image with a label issue (path, label, suggested, quality, sha256), the lowest quality first.
    """
    table = images.table[images.table["split"] != "test"]
    table = table[table.groupby("label")["label"].transform("size") > 1]  # a class with one image cannot be judged
    names, targets = np.unique(table["label"].to_numpy(str), return_inverse=True)
    device = device_of(device_choice)
    with loading("sklearn.linear_model", "sklearn.model_selection", "cleanlab.filter", "torch"):  # the last for the training
        features_ND = known_features(images, table, backbone, workspace, device)
    with waiting("judge labels"):
        probabilities_NK = _out_of_sample(features_ND, targets)
    from cleanlab.filter import find_label_issues as find
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(targets, probabilities_NK)
    wrong = find(targets, probabilities_NK, n_jobs=1)
    suggested = names[probabilities_NK.argmax(1)]
    issues = table[["path", "label", "sha256"]].assign(suggested=suggested, quality=quality)[wrong]
    logger.info(
        "label issues: models that had not seen them contradict %d of %d labels of train and validation", len(issues), len(table)
    )
    return issues.sort_values("quality").reset_index(drop=True)


def _out_of_sample(features_ND: NDArray[np.float32], targets_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each row's probabilities by a model of other rows, (N, K); the folds are fitted beside each other."""
    from sklearn.model_selection import StratifiedKFold

    num_folds = min(NUM_FOLDS, int(np.bincount(targets_N).min()))
    folds = list(StratifiedKFold(num_folds, shuffle=True, random_state=0).split(features_ND, targets_N))
    scaled = features_ND / np.linalg.norm(features_ND, axis=1).mean()
    with (
        threadpool_limits(1),  # twenty times as fast as with two threads, which wait for each other at every small product
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        found = list(pool.map(lambda fold: _probabilities(scaled, targets_N, *fold), folds))
    probabilities_NK = np.empty((len(targets_N), targets_N.max() + 1))
    for (_, held_out_rows), of_fold in zip(folds, found, strict=True):
        probabilities_NK[held_out_rows] = of_fold
    return probabilities_NK


def _probabilities(
    features_ND: NDArray[np.float32], targets_N: NDArray[np.int64], training_rows: Rows, held_out_rows: Rows
) -> NDArray[np.float64]:
    """Of a model of at most `MAX_TRAINED` of the training rows, since time grows with rows times classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    if len(training_rows) > MAX_TRAINED:
        training_rows, _ = train_test_split(
            training_rows, train_size=MAX_TRAINED, random_state=0, stratify=targets_N[training_rows]
        )
    model = LogisticRegression(C=10.0, max_iter=200, tol=TOLERANCE).fit(features_ND[training_rows], targets_N[training_rows])
    probabilities_NK: NDArray[np.float64] = model.predict_proba(features_ND[held_out_rows])
    return probabilities_NK
