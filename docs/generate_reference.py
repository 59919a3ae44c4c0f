"""Write docs/reference/*.md from the code: python docs/generate_reference.py [--check].

--check writes nothing, and fails where a page is not what the code says.
"""

import argparse
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import typer
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by docs/generate_reference.py: change the code, then run make docs-reference. -->\n"


def page(title: str, lead: str, *parts: str) -> str:
    return "\n\n".join([NOTE + f"# {title}", lead, *parts]).rstrip() + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def code(value: object) -> str:
    return f"`{value}`" if str(value) else ""


# --- commands


def commands() -> str:
    from cli.app import app

    root = typer.main.get_command(app)
    context = click.Context(root, info_name="python run.py")
    parts = [_command(name, command, context) for name, command in _walk(root, context)]
    lead = "All commands of `python run.py`, with their options. Without a command it trains with the defaults and deploys the champion."
    return page("Command line", lead, *parts)


def _walk(group: Any, context: click.Context, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _walk(command, context, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = code(parameter.get_usage_pieces(context)[0])
        default = "" if parameter.default in (None, False) or callable(parameter.default) else _shown(parameter.default)
        rows.append([names, getattr(parameter, "help", "") or "", default])
    options = table(["option", "meaning", "default"], rows)
    return f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\npython run.py {name} {usage}\n```\n\n{options}"


def _shown(value: object) -> str:
    if isinstance(value, Path):
        return code(value.relative_to(ROOT) if value.is_relative_to(ROOT) else value)
    return code(value)


# --- settings


def settings() -> str:
    from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
    from seldon.delivery.clusters.settings import KubernetesSettings
    from seldon.delivery.rollouts.settings import DeploySettings
    from steps.pipeline_settings import MonitorSettings, TrainSettings

    lead = (
        "Every setting with its type, its default and the reason. A file (`--config`) holds only what differs; `--set key.path=value` "
        "changes one, at any depth. An unknown key is refused at once, with the name of the nearest one."
    )
    groups = (
        ("train", "`python run.py train`, and below `training` in a monitor's file.", TrainSettings),
        ("deploy", "`python run.py deploy`, and below `rollout` in a monitor's file.", DeploySettings),
        ("monitor", "`python run.py monitor`, `watch` and `schedule`.", MonitorSettings),
        ("local gateway", "In `stacks/local.yaml`, below `components.model_deployer.config.cluster.gateway`.", GatewaySettings),
        ("cluster", "In `stacks/kubernetes.yaml`, below `components.model_deployer.config.cluster`.", KubernetesSettings),
    )
    parts = []
    for title, where, model in groups:
        skipped = {"training", "rollout"} if model is MonitorSettings else set()
        rows = list(_settings_rows(model, "", skipped))
        parts.append(f"## {title}\n\n{where}\n\n" + table(["setting", "type", "default", "reason"], rows))
    return page("Settings", lead, *parts)


def _settings_rows(model: type[BaseModel], prefix: str, skipped: set[str]) -> Iterator[list[str]]:
    for name, field in model.model_fields.items():
        if name in skipped:
            continue
        key = f"{prefix}{name}"
        variants = _models_in(field.annotation)
        if len(variants) == 1 and isinstance(field.default, BaseModel):
            yield from _settings_rows(variants[0], f"{key}.", set())
        elif variants and "kind" in variants[0].model_fields:
            kinds = [one.model_fields["kind"].default for one in variants]
            default = getattr(field.default, "kind", "")
            yield [code(f"{key}.kind"), " \\| ".join(map(str, kinds)), code(default), field.description or ""]
            for one in variants:
                kind = one.model_fields["kind"].default
                for row in _settings_rows(one, f"{key}.", {"kind"}):
                    yield [row[0], row[1], row[2], f"*{kind}*: {row[3]}".rstrip(": ")]
        else:
            yield [code(key), _type_name(field), _default_of(field), field.description or ""]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    options = get_args(annotation) or (annotation,)
    return [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]


def _type_name(field: FieldInfo) -> str:
    annotation = field.annotation
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    for old in ("typing.", "pathlib.", "collections.abc."):
        text = text.replace(old, "")
    if "Literal[" in text:
        text = text.replace("Literal[", "").replace("]", "").replace(", ", " | ")
    return text


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "see its type"
    return code(json.dumps(default) if isinstance(default, bool | int | float | list | tuple | dict) else default)


# --- results


def results() -> str:
    from cli.training_text import TrainedAndDeployed
    from operations import (
        approval,
        backup,
        comparison,
        data_restore,
        deployment,
        evaluation,
        monitoring,
        prediction,
        retained_images,
        scheduling,
        serving,
        training,
    )
    from operations.demo_loop import scenario

    types: dict[str, type] = {
        "train": training.TrainingResult, "train --deploy": TrainedAndDeployed, "predict": prediction.PredictionTable,
        "versions": approval.VersionList, "compare": comparison.Comparison, "approve": approval.Approval,
        "deploy": deployment.DeploymentResult, "status": serving.ServingStatus, "evaluate": evaluation.EndpointEvaluation,
        "rollback": serving.RollbackResult, "down": serving.StoppedDeployments, "monitor": monitoring.MonitoringRun,
        "watch": monitoring.WatchResult, "schedule": scheduling.Schedule, "schedule --remove": scheduling.RemovedSchedule,
        "demo-loop": scenario.DemoLoopResult, "restore": data_restore.RestoredData, "images key": retained_images.RetentionKey,
        "images list": retained_images.RetainedList, "images export": retained_images.ExportedImages,
        "images delete": retained_images.DeletedImages, "backup": backup.BackupResult, "restore-backup": backup.RestoredSite,
        "train, deploy on a stack that does not wait": training.SubmittedRun,
    }  # fmt: skip
    lead = "What each command prints with `--json`: the fields of its result. `render` prints the manifest itself."
    parts = []
    for name, result in types.items():
        if name == "train --deploy":
            parts.append(f"## {name}\n\nThe fields of `train`, and `deployment`: those of `deploy`.")
            continue
        doc = inspect.cleandoc(result.__doc__ or "")
        parts.append(f"## {name}\n\n{doc}\n\n" + table(["field", "type"], _result_rows(result)))
    return page("JSON results", lead, *parts)


def _result_rows(result: Any, prefix: str = "") -> list[list[str]]:
    if issubclass(result, BaseModel):
        hints = {name: field.annotation for name, field in result.model_fields.items()}
    else:
        known = get_type_hints(result)
        hints = {field.name: known[field.name] for field in dataclasses.fields(result)}
    rows = []
    for name, hint in hints.items():
        inner = [one for one in (*get_args(hint), hint) if dataclasses.is_dataclass(one) or _is_model(one)]
        rows.append([code(f"{prefix}{name}"), _hint_name(hint)])
        for one in inner:
            rows += _result_rows(one, f"{prefix}{name}[]." if get_args(hint) and "list" in str(hint) else f"{prefix}{name}.")
    return rows


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _hint_name(hint: Any) -> str:
    schema = TypeAdapter(hint).json_schema()
    options = schema.get("anyOf", [schema])
    names = [str(one.get("type") or ("object" if "$ref" in one else "any")) for one in options]
    return " or ".join(dict.fromkeys(names))


# --- service


def api() -> str:
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
    from prometheus_client.metrics import MetricWrapperBase

    from seldon.service import prometheus_metrics
    from seldon.service.monitor_metrics import DECISION, LABELS, LAST_RUN, METRICS, NEXT_RUN

    rows: list[list[str]] = []
    for metric in vars(prometheus_metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if metric._type == "counter" else ""
            rows.append(
                [code(metric._name + suffix), str(metric._type), ", ".join(metric._labelnames), str(metric._documentation)]
            )
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
    from imageloop.records.record_types import FeedbackRecord, PredictionRecord
    from imageloop.records.store.tables import metadata

    parts = []
    for record in (PredictionRecord, FeedbackRecord):
        rows = [
            [code(name), _type_name(field), "" if field.is_required() else "optional"]
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
    from imageloop.model import package as module
    from imageloop.model.package import REQUIRED_FILES, PackageInfo

    files = [line.split(maxsplit=1) for line in (module.__doc__ or "").splitlines()[2:] if line.strip()]
    rows = [[code(name), "required" if name in REQUIRED_FILES else "optional", meaning] for name, meaning in files]
    fields = [[code(name), _type_name(field)] for name, field in PackageInfo.model_fields.items()]
    return page(
        "Model package", "The folder that is registered, shipped and served. Its signature and every file's hash are verified before a file is opened.",
        "## Files\n\n" + table(["file", "", "content"], rows), "## model.json\n\n" + table(["field", "type"], fields),
    )  # fmt: skip


PAGES = {
    "commands.md": commands, "settings.md": settings, "json.md": results, "api.md": api, "metrics.md": metrics,
    "environment.md": environment, "records.md": records, "package.md": package,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    stale = []
    for name, make in PAGES.items():
        text, file = make(), FOLDER / name
        if check and (not file.exists() or file.read_text() != text):
            stale.append(name)
        elif not check:
            file.write_text(text)
    if stale:
        sys.exit(f"error: docs/reference is not what the code says: {', '.join(stale)}; run: make docs-reference")


if __name__ == "__main__":
    main()
