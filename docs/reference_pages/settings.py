"""The page of the settings."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.reference_pages.markdown import code, page, table, type_name


def settings() -> str:
    """Every setting with its type, default and reason."""
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
            yield [code(key), type_name(field), _default_of(field), field.description or ""]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    options = get_args(annotation) or (annotation,)
    return [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "see its type"
    return code(json.dumps(default) if isinstance(default, bool | int | float | list | tuple | dict) else default)
