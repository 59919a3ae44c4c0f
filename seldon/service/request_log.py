"""The request log by OpenTelemetry: every record that is written is also sent by OTLP, where an endpoint is configured.

A record goes without its embedding, which a log store could do nothing with. The SDK sends from a thread of its own and drops what a slow endpoint
does not take; the files and the database have every record.
"""

import json
import re
import time
from typing import Any, Self

from seldon.service.prediction_requests import Identity
from seldon.service.telemetry import end, is_configured, resource_of

NOT_SENT = ("embedding",)
ATTRIBUTES = (
    "kind",
    "request_id",
    "model_name",
    "model_version",
    "predictor",
    "label",
    "latency_ms",
    "in_distribution",
    "ground_truth",
    "source",
)
TRACE = re.compile(r"[0-9a-f]{32}")  # a caller's id that is a trace's


class RequestLog:
    """Sends records as log records, with the id of their trace where the caller named one."""

    def __init__(self, provider: Any) -> None:
        self._provider, self._logger = provider, provider.get_logger("imageloop")

    @classmethod
    def from_environment(cls, identity: Identity) -> Self | None:
        """None where no endpoint is configured."""
        if not is_configured("LOGS"):
            return None
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        provider = LoggerProvider(resource=resource_of(identity), shutdown_on_exit=False)
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        return cls(provider)

    def send(self, record: dict[str, Any]) -> None:
        """Queue one record."""
        from opentelemetry._logs import LogRecord, SeverityNumber

        caller_id = str(record.get("caller_id") or "")
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                trace_id=int(caller_id, 16) if TRACE.fullmatch(caller_id) else None,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name=f"imageloop.{record['kind']}",
                body=json.dumps({name: value for name, value in record.items() if name not in NOT_SENT}, default=str),
                attributes={name: record[name] for name in ATTRIBUTES if record.get(name) is not None},
            )
        )

    def close(self) -> None:
        """Send what waits, for a short time."""
        end(self._provider)
