"""The pages about what runs: API, metrics, environment, records, model package."""

import inspect
import json
from datetime import UTC, datetime

from docs.reference_pages.markdown import ROOT, code, page, table
from imageloop.settings_listing import type_name


def api() -> str:
    """The routes, errors and schemas of the service."""
    from imageloop.model.package import PackageInfo
    from seldon.service.openapi import document

    info = PackageInfo(
        class_names=["cat", "dog"], side_pixels=224, preprocessing_version="1", model_kind="transfer", backbone="efficientnet_lite0",
        temperature=1.0, seed=7, data_version="", git_commit="", run_id="", created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    described = document(info, "imageloop")
    rows, bodies = [], []
    for path, methods in described["paths"].items():
        for method, one in methods.items():
            content = ", ".join((one.get("requestBody") or {}).get("content", {}))
            success = ", ".join(next(iter(one["responses"].values())).get("content", {}))
            rows.append([code(f"{method.upper()} {path}"), one.get("summary", ""), content, success])
    for name, schema in described["components"]["schemas"].items():
        bodies.append(f"### {name}\n\n```json\n{json.dumps(schema, indent=1)}\n```")
    errors: dict[str, str] = {}
    for methods in described["paths"].values():
        for one in methods.values():
            errors |= {number: response["description"] for number, response in one["responses"].items() if number >= "400"}
    lead = (
        "The routes of the service, below the address that `python run.py status` shows. The service itself has the same as "
        "`/openapi.json`, and as a page at `/docs`. The schemas show a model with the classes `cat` and `dog`."
    )
    return page(
        "HTTP API", lead,
        "## Routes\n\n" + table(["route", "what it does", "request", "response"], rows),
        "## Errors\n\nAn error has Seldon's status shape: `{\"status\": {\"status\": \"FAILURE\", \"code\": 400, \"reason\": \"NOT_AN_IMAGE\", "
        "\"info\": \"...\"}}`. [Troubleshooting](../troubleshooting.md) has every reason.\n\n"
        + table(["code", "meaning"], [[code(number), errors[number]] for number in sorted(errors)]),
        "## Schemas", *bodies,
    )  # fmt: skip


def metrics() -> str:
    """The metrics of the service and of the monitor."""
    from prometheus_client.metrics import MetricWrapperBase

    from seldon.service import prometheus_metrics
    from seldon.service.monitor_metrics import DECISION, LABELS, LAST_RUN, METRICS, NEXT_RUN
    from seldon.service.process_metrics import NAMES, WORKER

    rows: list[list[str]] = []
    for metric in vars(prometheus_metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if metric._type == "counter" else ""
            rows.append(
                [code(metric._name + suffix), str(metric._type), ", ".join(metric._labelnames), str(metric._documentation)]
            )
    kinds = {"process_cpu_seconds": "counter"}
    for name, meaning in NAMES.items():
        kind = kinds.get(name, "gauge")
        rows.append([code(name + ("_total" if kind == "counter" else "")), kind, WORKER, meaning])
    families = [*METRICS.items(), DECISION, LAST_RUN, NEXT_RUN]
    labels = {DECISION: ", ".join([*LABELS, "action"])}
    monitored = [
        [code(f"imageloop_{name}"), "gauge", labels.get((name, meaning), ", ".join(LABELS)), meaning]
        for name, meaning in families
    ]
    return page(
        "Metrics", "The Prometheus metrics of the service, at `/metrics`.",
        "## The service\n\n" + table(["metric", "type", "labels", "meaning"], rows),
        "## The monitor\n\nEvery replica repeats them: take the maximum.\n\n"
        + table(["metric", "type", "labels", "meaning"], monitored),
    )  # fmt: skip


def environment() -> str:
    """Every environment variable, from .env.example."""
    parts, rows, notes = [], [], []
    for line in [*(ROOT / ".env.example").read_text().splitlines(), ""]:
        text = line.removeprefix("#").strip()
        if "=" in text.partition(" ")[0] and text.partition("=")[0].isupper():
            name, _, meaning = text.partition("=")
            rows.append([code(name), meaning.strip()])
        elif text:
            notes.append(text)
        elif rows or notes:
            parts.append(" ".join(notes) + ("\n\n" + table(["variable", "meaning"], rows) if rows else ""))
            rows, notes = [], []
    return page("Environment variables", "Every environment variable; `.env.example` has the same list to copy.", *parts)


def records() -> str:
    """The records that the service writes, and the tables of the database."""
    from imageloop.records.record_types import FeedbackRecord, PredictionRecord
    from imageloop.records.store.tables import metadata

    parts = []
    for record in (PredictionRecord, FeedbackRecord):
        rows = [
            [code(name), type_name(field), "" if field.is_required() else "optional"]
            for name, field in record.model_fields.items()
        ]
        parts.append(f"## {record.__name__}\n\n{inspect.cleandoc(record.__doc__ or '')}\n\n" + table(["field", "type", ""], rows))
    for name, one in metadata.tables.items():
        rows = [
            [code(column.name), str(column.type), "key" if column.primary_key else "" if column.nullable else "never null", str(column.comment or "")]
            for column in one.columns
        ]  # fmt: skip
        parts.append(f"## Table {name}\n\n" + table(["column", "type", "", "meaning"], rows))
    lead = "The lines that the service writes, one JSON document each, and the tables that the collector fills. Images are never among them."
    return page("Records", lead, *parts)


def package() -> str:
    """The files of a model package."""
    from imageloop.model import package as module
    from imageloop.model.package import REQUIRED_FILES, PackageInfo

    files = [line.split(maxsplit=1) for line in (module.__doc__ or "").splitlines()[2:] if line.strip()]
    rows = [[code(name), "required" if name in REQUIRED_FILES else "optional", meaning] for name, meaning in files]
    fields = [[code(name), type_name(field)] for name, field in PackageInfo.model_fields.items()]
    return page(
        "Model package", "The folder that is registered, shipped and served. Its signature and every file's hash are verified before a file is opened.",
        "## Files\n\n" + table(["file", "", "content"], rows), "## model.json\n\n" + table(["field", "type"], fields),
    )  # fmt: skip
