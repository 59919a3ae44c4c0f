"""Send notifications to Alertmanager and to webhooks in Slack's form. A failure is logged and stops nothing."""

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

logger = logging.getLogger(__name__)
WEBHOOK_VARIABLE = "IMAGELOOP_ALERT_WEBHOOK"  # a secret: it permits to post
TIMEOUT_SECONDS = 5
SEVERITY = {"alert": "warning", "retrain": "info", "no_data": "info"}


def notify(
    alertmanager: str, lasts_minutes: float, kind: str, model: str, text: str, metrics: dict[str, Any], *, is_news: bool = True
) -> bool:
    """Send a notification; `kind` as in a decision. Alertmanager groups, repeats and forwards; a webhook gets news alone.

    Returns: whether all were sent.
    """
    went_out = True
    if alertmanager:
        now = datetime.now(UTC)
        labels = {
            "alertname": f"ImageLoop{kind.title().replace('_', '')}",
            "model": model,
            "severity": SEVERITY.get(kind, "warning"),
        }
        annotations = {"summary": text[:1000], "metrics": ", ".join(f"{name}={value}" for name, value in metrics.items())[:1000]}
        ends = (now + timedelta(minutes=lasts_minutes)).isoformat()
        body = [{"labels": labels, "annotations": annotations, "startsAt": now.isoformat(), "endsAt": ends}]
        went_out = _post(f"{alertmanager.rstrip('/')}/api/v2/alerts", body)
    if is_news and (webhook := os.environ.get(WEBHOOK_VARIABLE)):
        went_out = _post(webhook, {"text": f"{model}: {kind}: {text}"}) and went_out
    return went_out


def _post(url: str, body: Any) -> bool:
    try:
        requests.post(url, json=body, timeout=TIMEOUT_SECONDS).raise_for_status()
    except requests.RequestException as error:
        logger.warning("an alert could not be delivered: %s", type(error).__name__)
        return False
    return True
