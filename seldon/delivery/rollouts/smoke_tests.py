"""Smoke tests before a version gets traffic: its health, an image of each class, its metrics."""

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from imageloop.model.smoke_test_images import read_examples
from seldon.delivery.clusters.cluster_protocol import Caller, DeploymentError, UnfitVersionError

TOLERANCE = 0.05  # in probability: processors round differently, another model differs by more
SECONDS = 40  # longer than a gateway waits for a version
RETRYABLE = (429, 503)  # rate-limited or full, for a moment
GATEWAY_CODES = (401, 403, 404, 429)  # responses of the gateway, and of no version


class SmokeTestError(UnfitVersionError):
    """A version that must not get traffic."""


def smoke_test(caller: Caller, package: Path | None, *, as_packaged: bool = True) -> list[str]:
    """Run the tests and return a line for each. `package`: the folder whose smoke-test images are sent; without one none is.

    `as_packaged`: predictions have to be those that the package holds; else the classes alone.

    Raises: SmokeTestError; DeploymentError where it could not be reached.
    """
    call(caller, "health/status")
    passed = ["health: ready"]
    for example in read_examples(package) if package else []:
        prediction = json.loads(call(caller, "predict", example.content))
        expected, got = example.probability, prediction["probabilities"].get(example.label, 0.0)
        if not as_packaged and example.label in prediction["probabilities"]:
            passed.append(f"smoke-test image: {prediction['label']} ({prediction['probability']:.1%})")
            continue
        if prediction["label"] != example.label or abs(expected - got) > TOLERANCE:
            raise SmokeTestError(
                f"expected '{example.label}' with {expected:.3f} for a smoke-test image, got '{prediction['label']}' ({got:.3f} for '{example.label}')"
            )
        passed.append(f"smoke-test image: {example.label} ({got:.1%})")
    return passed


def check_metrics(expositions: dict[str, str], version: str) -> str:
    """Check that every replica's metrics name `version`, and return a line for the log. Raises: SmokeTestError."""
    expected = f'version="{version}"'
    if not all("imageloop_model_info{" in text and expected in text for text in expositions.values()):
        raise SmokeTestError(f"expected metrics of version {version} from each replica, got others")
    return f"metrics: {len(expositions)} replicas"


def _trust(caller: Caller) -> ssl.SSLContext | None:
    """Return a context that trusts exactly the gateway's certificate, which may be for the name of a proxy before it."""
    if caller.certificate is None:
        return None
    context = ssl.create_default_context(cafile=caller.certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def call(caller: Caller, path: str, image: bytes | None = None, content_type: str = "image/png") -> bytes:
    """Return the response's body.

    Raises: SmokeTestError where the version is at fault, DeploymentError where it could not be reached.
    """
    request = urllib.request.Request(f"{caller.url}/{path}", data=image, headers=caller.headers)
    if image is not None:
        request.add_header("Content-Type", content_type)
    context, deadline = _trust(caller), time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=context) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            if error.code in RETRYABLE and time.monotonic() < deadline:
                time.sleep(1)
                continue
            message = f"expected a response from /{path}, got {error.code}: {error.read().decode(errors='replace')[:300]}"
            raise (DeploymentError if error.code in GATEWAY_CODES else SmokeTestError)(message) from error
        except OSError as error:
            timed_out = image is not None and isinstance(getattr(error, "reason", error), TimeoutError)  # its health check passed
            message = f"expected a response from /{path}, got none ({error})"
            raise (SmokeTestError if timed_out else DeploymentError)(message) from error
