"""How many labels contradict predictions that the model was sure of: a sign of poisoned labels."""

import pandas as pd

SURE, MIN_SURE = 0.9, 10
MAX_CONTRADICTED = 0.5  # calibrated predictions of that confidence are wrong in a tenth


def contradicted_share(labelled: pd.DataFrame) -> float:
    """The share of confident predictions that their label contradicts; 0 if there are too few.

    Drift makes a model unsure before it makes it wrong with confidence.
    """
    sure = labelled[labelled["confidence"] >= SURE]
    return float((sure["label"] != sure["ground_truth"]).mean()) if len(sure) >= MIN_SURE else 0.0
