"""One gate: what was expected, what was got, and whether that decides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One gate with the expected and the actual value. `undecided`: where it fails, evidence is missing, and a user may approve."""

    name: str
    passed: bool
    expected: str
    got: str
    undecided: bool = False
