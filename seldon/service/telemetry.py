"""What traces and logs by OpenTelemetry have in common: who speaks, whether anybody listens, and an end that waits for nobody long."""

import os
import threading
from typing import Any

from seldon.service.prediction_requests import Identity

FLUSH_SECONDS = 2.0


def is_configured(signal: str) -> bool:
    """Whether an endpoint is set for a signal (TRACES, LOGS), or for all of them."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def resource_of(identity: Identity) -> Any:
    """The resource of the SDK that names this service: model, version and predictor."""
    from opentelemetry.sdk.resources import Resource

    served = {"imageloop.model": identity.model_name, "imageloop.version": identity.model_version}
    service = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "imageloop", "imageloop.predictor": identity.predictor}
    return Resource.create(service | served)


def end(provider: Any) -> None:
    """Send what waits, for a short time, and end the SDK's thread; the SDK itself waits for as long as its endpoint may take."""
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    sending.join(FLUSH_SECONDS)
