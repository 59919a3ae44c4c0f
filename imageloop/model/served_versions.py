"""The version of a predictor that serves several: `4+3` where the mean of both is the prediction, `4|3` where one of them is chosen."""

import re

MEAN, CHOICE = "+", "|"


def versions_in(text: str) -> list[str]:
    """The versions of the registry that a predictor's version names."""
    return re.split(r"[+|]", text)


def registered_version(text: str) -> str:
    """The version of the registry whose package stands for a predictor's version."""
    return versions_in(text)[0]


def recorded_version(text: str) -> str:
    """The version in the records of a predictor: of a mean all versions, of a choice the one that was chosen, so at first the first one."""
    return registered_version(text) if CHOICE in text else text
