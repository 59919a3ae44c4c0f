"""Requests by which a rollout tests a version: they are predicted as any other, and neither recorded nor counted."""

import hmac
import os

SALT_VARIABLE = "IMAGELOOP_SOURCE_SALT"  # a site's own secret; `seldon/delivery/clusters/open_cluster.py` makes one
ROLLOUT_HEADER = "X-ImageLoop-Rollout"


def rollout_headers(salt: str | None) -> dict[str, str]:
    """The header that marks a site's own test requests; none without a secret that the replicas have too."""
    return {ROLLOUT_HEADER: _token(salt)} if salt else {}


def is_of_rollout(header: str | None) -> bool:
    """Return whether the header carries the token of this site; a caller without the secret cannot hide from the records."""
    salt = os.environ.get(SALT_VARIABLE)
    return bool(salt and header) and hmac.compare_digest(_token(salt or "").encode(), (header or "").encode())


def _token(salt: str) -> str:
    return hmac.digest(salt.encode(), b"rollout", "sha256").hex()
