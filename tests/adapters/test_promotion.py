"""What may still become of a version that is registered already; whole promotions are tried in tests/system."""

import pytest

from adapters.promotion import PROMOTING, _is_open
from adapters.registry import RegisteredVersion
from classifier.promotion.settings import PromotionSettings


@pytest.mark.parametrize(
    ("verdict", "against", "approval", "is_open"),
    [
        (PROMOTING, "1", "automatic", True),
        ("advance", "1", "automatic", False),
        ("rollback", "1", "automatic", False),
        ("hold", "1", "automatic", True),
        ("hold", "1", "manual", True),
        ("hold", "3", "manual", False),
    ],
)
def test_a_version_is_judged_again_where_that_could_change_something(verdict, against, approval, is_open):
    known = RegisteredVersion("imageloop", "2", "r1", verdict, "", "d", judged_against=against)

    assert _is_open(known, "3", PromotionSettings(approval=approval)) is is_open
