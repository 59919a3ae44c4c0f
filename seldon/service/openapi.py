"""The OpenAPI document of the service, and a page that shows it: Swagger UI from the environment's own files, plain HTML without scripts."""

import html
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imageloop.model.package import PackageInfo
from seldon.service.seldon_messages import MAX_IMAGES

IMAGE = {
    "image/*": {"schema": {"type": "string", "format": "binary"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}
SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
ERRORS = {
    "400": "no image, no JSON, or not the fields that are expected",
    "403": "a web page of another origin",
    "408": "the upload stalled",
    "413": "more than 50 MiB",
    "415": "another content type, or an image format that is not read",
    "422": "readable, but refused: too small, too many pixels, wrong shape, unknown label",
    "503": "overloaded, or not loaded yet; retry after Retry-After",
}


def document(info: PackageInfo, name: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the routes that callers use; `info` gives the class names and the side of images."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"ImageLoop: {name}",
            "version": "1",
            "description": f"Classifies images as {', '.join(info.class_names)}.",
        },
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {
                "post": _post(
                    "Classify an image, or a list of encoded images",
                    "predict",
                    IMAGE | _json("PredictMessage"),
                    "Prediction",
                    "Predictions",
                    "SeldonAnswer",
                )
            },
            "/api/v1.0/predictions": {
                "post": _post(
                    "Classify images of a Seldon message", "seldonPredict", _json("SeldonMessage") | _FORM, "SeldonAnswer"
                )
            },
            "/explain": {
                "post": _post(
                    "Show which regions of the image support the prediction", "explain", IMAGE, "Explanation", image=True
                )
            },
            "/feedback": {"post": _post("Send the ground truth of a prediction", "feedback", _json("Feedback"), "Receipt")},
            "/api/v1.0/feedback": {
                "post": _post("Send Seldon's feedback message", "seldonFeedback", _json("SeldonFeedback"), "SeldonReceipt")
            },
            **_open_inference_paths(name),
            "/health/ping": {"get": _get("Liveness of the process", "ping", "text/html")},
            "/health/status": {"get": _get("Readiness of the model", "status", "application/json")},
            "/metadata": {"get": _get("Model name, version and classes", "metadata", "application/json")},
            "/model-card": {"get": _get("What the model is for, how good it is, and where it is not", "modelCard", "text/plain")},
            "/loop": {"get": _get("Status of the monitor: windows, accuracy, decisions", "loop", "application/json")},
            "/metrics": {"get": _get("Prometheus metrics", "metrics", "text/plain")},
        },
        "components": {"schemas": _schemas(info)},
    }


def _open_inference_paths(name: str) -> dict[str, Any]:
    """The routes of the Open Inference Protocol for a model."""
    return {
        f"/v2/models/{name}/infer": {
            "post": _post(
                "Classify images by the Open Inference Protocol, in JSON, or as application/octet-stream with binary tensors behind a JSON of "
                "Inference-Header-Content-Length bytes; /v2/models/NAME/versions/VERSION/infer is the same",
                "infer",
                _json("InferenceRequest"),
                "InferenceResponse",
            )
        },
        "/v2": {"get": _get("The server of the Open Inference Protocol", "server", "application/json")},
        "/v2/health/live": {"get": _get("Liveness of the process", "live", "application/json")},
        f"/v2/models/{name}": {"get": _get("Inputs and outputs of the model", "modelMetadata", "application/json")},
        f"/v2/models/{name}/ready": {"get": _get("Readiness of the model", "modelReady", "application/json")},
        "/v2/health/ready": {"get": _get("Readiness of the service", "ready", "application/json")},
    }


_FORM = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["binData"], "properties": {"binData": {"type": "string", "format": "binary"}}}
    }
}


def swagger_folder() -> Path | None:
    """Return the folder with Swagger UI's files, None in an environment without them, as that of MLServer."""
    found = find_spec("flask_swagger_ui")
    return Path(found.origin).parent / "dist" if found and found.origin else None


def page(description: dict[str, Any]) -> str:
    """Render the document as a page in which requests can be tried, and as plain HTML where scripts or Swagger UI are missing."""
    parts = [
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(what['summary'])}</p>{_bodies(what)}</section>"
        for path, methods in description["paths"].items()
        for method, what in methods.items()
    ]
    schemas = html.escape(json.dumps(description["components"]["schemas"], indent=2))
    errors = "".join(f"<li><code>{code}</code> {html.escape(text)}</li>" for code, text in ERRORS.items())
    style, script = (f"docs/{name}" for name in SWAGGER_FILES)
    swagger = f'<link rel=stylesheet href="{style}"><script src="{script}" defer></script><script src="docs.js" defer></script>'
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{html.escape(description['info']['title'])}</title>"
        '<meta name=viewport content="width=device-width"><link rel=icon href="data:,"><link rel=stylesheet href="page.css">'
        f"{swagger if swagger_folder() else ''}</head><body><div id=swagger></div><main id=plain>"
        f"<h1>{html.escape(description['info']['title'])}</h1><p>{html.escape(description['info']['description'])}</p>"
        '<pre>curl -H "Content-Type: image/jpeg" --data-binary @image.jpg ADDRESS/predict</pre>'
        f'<p><a href="openapi.json">openapi.json</a></p>{"".join(parts)}<h2>Errors</h2><ul>{errors}</ul>'
        f"<h2>Schemas</h2><pre>{schemas}</pre></main></body></html>"
    )


def _bodies(what: dict[str, Any]) -> str:
    kinds = what.get("requestBody", {}).get("content", {})
    return f"<p>Takes {html.escape(', '.join(kinds))}</p>" if kinds else ""


def _post(summary: str, operation: str, content: dict[str, Any], *responses: str, image: bool = False) -> dict[str, Any]:
    schemas = [{"$ref": f"#/components/schemas/{name}"} for name in responses]
    response: dict[str, Any] = {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}
    if image:
        response["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    failures = {code: {"description": text, "content": _json("Failure")} for code, text in ERRORS.items()}
    return {
        "summary": summary,
        "operationId": operation,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "success", "content": response}, **failures},
    }


def _get(summary: str, name: str, content_type: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": name,
        "responses": {"200": {"description": "success", "content": {content_type: {}}}},
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _schemas(info: PackageInfo) -> dict[str, Any]:
    label, number = {"type": "string", "enum": list(info.class_names)}, {"type": "number"}
    request_id = {"type": "string", "pattern": r"^[0-9a-f]{32}(\.[0-9]{1,2})?$"}
    ground_truth = {"type": "string", "enum": [*info.class_names, "other"]}
    model = _object(
        model={"type": "string"}, version={"type": "string"}, predictor={"type": "string"}, precision={"type": "string"}
    )
    pixels = {"type": "array", "description": f"({info.side_pixels}, {info.side_pixels}, 3) or (N, ...) of 0 to 255, upright RGB"}
    base64 = {"type": "string", "contentEncoding": "base64"}
    rows = {"type": "array", "items": {"type": "array", "items": number}}
    rows_or_nulls = {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}}
    error = _object(status={"const": "FAILURE"}, code={"type": "integer"}, reason={"type": "string"}, info={"type": "string"})
    tags = {"type": "object", "properties": {"errors": {"type": "object", "additionalProperties": error}}}
    served: dict[str, Any] = {
        "request_id": request_id, "label": label, "probability": number,
        "probabilities": {"type": "object", "additionalProperties": number},
        "in_distribution": {"type": ["boolean", "null"], "description": "false: the image is out of distribution; null: unknown"},
    }  # fmt: skip
    return {
        "PredictMessage": {"anyOf": [{"$ref": "#/components/schemas/Images"}, {"$ref": "#/components/schemas/SeldonMessage"}]},
        "Images": _object(images={"type": "array", "items": base64, "minItems": 1, "maxItems": MAX_IMAGES}),
        "Predictions": _object(
            predictions={"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/ServedImage"}, _object(error=error)]}},
            model=model, milliseconds=number,
        ),
        "ServedImage": _object(**served),
        "Prediction": _object(**served, model=model, milliseconds=number),
        "SeldonMessage": {
            "anyOf": [
                _object(binData=base64),
                _object(jsonData={"anyOf": [_object(image=base64), _object(images={"type": "array", "items": base64})]}),
                _object(data={"anyOf": [_object(ndarray=pixels), _object(tensor={"type": "object"})]}),
            ]
        },
        "SeldonAnswer": _object(
            data=_object(names={"type": "array", "items": label}, ndarray=rows_or_nulls), meta=_object(puid=request_id, tags=tags)
        ),
        **_open_inference_schemas(base64, pixels),
        "Explanation": _object(label=label, probability=number, heat_map=rows, model=model)
        | {"description": "Where the package holds thumbnails of training images, `similar` has the nearest ones: label, distance, thumbnail."},
        "Feedback": _object(request_id=request_id, label=ground_truth),
        "Receipt": _object(request_id=request_id),
        "SeldonFeedback": _object(
            response=_object(meta=_object(puid=request_id)), truth={"anyOf": [_object(strData=ground_truth), _object(jsonData=_object(label=ground_truth))]}
        ),
        "SeldonReceipt": _object(meta=_object(puid=request_id)),
        "Failure": _object(status=error),
    }  # fmt: skip


def _open_inference_schemas(base64: dict[str, Any], pixels: dict[str, Any]) -> dict[str, Any]:
    """The messages of the Open Inference Protocol in JSON."""
    shape = {"type": "array", "items": {"type": "integer"}}
    tensor = _object(name={"type": "string"}, shape=shape, datatype={"enum": ["FP32", "BYTES"]}, data={"type": "array"})
    return {
        "InferenceRequest": _object(
            inputs={
                "type": "array", "minItems": 1, "maxItems": 1,
                "items": {
                    "anyOf": [
                        _object(name={"type": "string"}, shape=shape, datatype={"const": "BYTES"}, data={"type": "array", "items": base64}),
                        _object(name={"type": "string"}, shape=shape, datatype={"const": "UINT8"}, data=pixels),
                    ]
                },
            }
        ),
        "InferenceResponse": _object(
            model_name={"type": "string"}, model_version={"type": "string"}, outputs={"type": "array", "items": tensor}
        ),
    }  # fmt: skip
