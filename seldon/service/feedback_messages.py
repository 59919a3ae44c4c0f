"""The ground truth of a prediction, from Seldon's feedback message or our own short form."""

import re
from typing import Any

from seldon.service.request_errors import RequestError

REQUEST_ID = re.compile(r"[0-9a-f]{32}(\.\d{1,2})?")
OTHER = "other"  # none of the classes that the model knows


def parse_feedback(fields: Any, class_names: list[str]) -> tuple[str, str]:
    """{'request_id': ..., 'label': ...} -> both, checked.

    Raises: RequestError.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("request_id"), str) or not isinstance(fields.get("label"), str):
        raise RequestError(400, "wrong_field", "expected {'request_id': ..., 'label': ...}, got other fields")
    return _checked(fields["request_id"], fields["label"], class_names)


def parse_seldon_feedback(fields: Any, class_names: list[str]) -> tuple[str, str]:
    """Return the same two from {'response': {'meta': {'puid': ...}}, 'truth': ...}.

    Raises: RequestError.
    """
    if not isinstance(fields, dict):
        raise RequestError(400, "wrong_field", "expected a feedback message, got no object")
    response, truth = fields.get("response"), fields.get("truth")
    meta = response.get("meta") if isinstance(response, dict) else None
    puid = meta.get("puid") if isinstance(meta, dict) else None
    label = _label(truth) if isinstance(truth, dict) else None
    if not isinstance(puid, str) or not isinstance(label, str):
        raise RequestError(
            400,
            "wrong_field",
            "expected response.meta.puid, and the label in truth.strData, truth.jsonData.label or truth.data.ndarray; got less",
        )
    return _checked(puid, label, class_names)


def _label(truth: dict[str, Any]) -> Any:
    if "strData" in truth:
        return truth["strData"]
    if isinstance(truth.get("jsonData"), dict):
        return truth["jsonData"].get("label")
    data = truth.get("data")
    rows = data.get("ndarray") if isinstance(data, dict) else None
    return rows[0] if isinstance(rows, list) and rows else None


def _checked(request_id: str, label: str, class_names: list[str]) -> tuple[str, str]:
    if not REQUEST_ID.fullmatch(request_id):
        raise RequestError(
            422, "unknown_request", "expected the request id of a prediction (32 hexadecimal digits), got something else"
        )
    if label not in (*class_names, OTHER):
        raise RequestError(422, "unknown_label", f"expected one of {', '.join(class_names)} or '{OTHER}', got another label")
    return request_id, label
