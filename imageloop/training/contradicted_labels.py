"""How many labels contradict predictions that the model was sure of: a sign of poisoned labels, where the images have not changed."""

import pandas as pd

SURE, MIN_SURE = 0.95, 10
MAX_CONTRADICTED = 0.5  # calibrated predictions of that confidence are wrong in a twentieth


def contradicted_share(labelled: pd.DataFrame) -> float:
    """The share of sure predictions that their label contradicts; 0 if there are too few.

    Sure is a confident prediction for a typical image (column `typical`): after drift a model errs with confidence, and honest labels
    contradict it.
    """
    sure = labelled[(labelled["confidence"] >= SURE) & labelled["typical"].astype(bool)]
    return float((sure["label"] != sure["ground_truth"]).mean()) if len(sure) >= MIN_SURE else 0.0
