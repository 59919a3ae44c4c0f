"""Before a version gets traffic: is it well, does it know a picture of each class, does it tell Prometheus?"""

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from imageloop.model.smoke_test_images import read_examples
from seldon.delivery.clusters.cluster_protocol import Caller, DeploymentError, UnfitVersionError

TOLERANCE = 0.05  # in probability: other processors round otherwise, other models answer otherwise
SECONDS = 40  # more than a gateway waits for a version
TRY_AGAIN = (429, 503)  # what keeps others out, or is full, for a moment
IN_BETWEEN = (401, 403, 404, 429)  # what the gateway says, and no version


class SmokeTestError(UnfitVersionError):
    """A version that must not get traffic."""


def smoke_test(caller: Caller, package: Path | None) -> list[str]:
    """What was tried, a line each. `package`: the folder whose examples are sent; without one that part is left out.

    Raises: SmokeTestError; DeploymentError where it could not be reached.
    """
    _call(caller, "health/status")
    tried = ["health: ready"]
    for example in read_examples(package) if package else []:
        answer = json.loads(_call(caller, "predict", example.content))
        wanted, found = example.probability, answer["probabilities"].get(example.label, 0.0)
        if answer["label"] != example.label or abs(wanted - found) > TOLERANCE:
            raise SmokeTestError(
                f"wanted '{example.label}' with {wanted:.3f} for a known picture, found '{answer['label']}' ({found:.3f} for '{example.label}')"
            )
        tried.append(f"known picture: {example.label} ({found:.1%})")
    return tried


def check_metrics(expositions: dict[str, str], version: str) -> str:
    """A line that says what was tried. Raises: SmokeTestError where no replica tells Prometheus that it serves `version`."""
    told = f'version="{version}"'
    if not all("imageloop_model_info{" in text and told in text for text in expositions.values()):
        raise SmokeTestError(f"wanted metrics of version {version} from each replica, found others")
    return f"metrics: {len(expositions)} replicas"


def _trusting(caller: Caller) -> ssl.SSLContext | None:
    """The very certificate that the place was told to answer with, which may be for the name of a proxy before it."""
    if caller.certificate is None:
        return None
    context = ssl.create_default_context(cafile=caller.certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _call(caller: Caller, path: str, picture: bytes | None = None) -> bytes:
    request = urllib.request.Request(f"{caller.url}/{path}", data=picture, headers=caller.headers)
    if picture is not None:
        request.add_header("Content-Type", "image/png")
    trusting, deadline = _trusting(caller), time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=trusting) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code in TRY_AGAIN and time.monotonic() < deadline:
                time.sleep(1)
                continue
            told = f"wanted an answer from /{path}, found {error.code}: {error.read().decode(errors='replace')[:300]}"
            raise (DeploymentError if error.code in IN_BETWEEN else SmokeTestError)(told) from error
        except OSError as error:
            hangs = picture is not None and isinstance(getattr(error, "reason", error), TimeoutError)  # it said that it is well
            told = f"wanted an answer from /{path}, found none ({error})"
            raise (SmokeTestError if hangs else DeploymentError)(told) from error
