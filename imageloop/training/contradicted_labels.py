"""How many labels contradict predictions that the model was sure of: a sign of poisoned labels."""

import pandas as pd

SURE, MIN_SURE = 0.9, 10
MAX_CONTRADICTED = 0.5  # calibrated answers of that confidence are wrong in a tenth


def contradicted_share(labelled: pd.DataFrame) -> float:
    """Of the answers that the model was sure of, the share whose label says otherwise; 0 where there are too few of them.

    A changed world makes a model unsure before it makes it surely wrong.
    """
    sure = labelled[labelled["confidence"] >= SURE]
    return float((sure["label"] != sure["true_label"]).mean()) if len(sure) >= MIN_SURE else 0.0
