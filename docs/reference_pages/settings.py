"""The page of the settings."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from cli.reference_text import REPEATED
from docs.reference_pages.markdown import code, page, table
from imageloop.settings_listing import list_settings


def settings() -> str:
    """Every setting with its type, default and reason."""
    from imageloop.batch_prediction.settings import BatchPredictionSettings
    from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
    from seldon.delivery.clusters.settings import KubernetesSettings
    from seldon.delivery.rollouts.settings import DeploySettings
    from steps.pipeline_settings import MonitorSettings, TrainSettings, TuneSettings

    lead = (
        "Every setting with its type, its default and the reason. A file (`--config`) holds only what differs; `--set key.path=value` "
        "changes one, at any depth. An unknown key is refused at once, with the name of the nearest one."
    )
    groups = (
        ("train", "`python run.py train`, and below `training` in a monitor's file.", TrainSettings),
        ("tune", "`python run.py tune`, beside `data`, `training` and `promotion` of `train`.", TuneSettings),
        ("predict", "`python run.py predict --pipeline`.", BatchPredictionSettings),
        ("deploy", "`python run.py deploy`, and below `rollout` in a monitor's file.", DeploySettings),
        ("monitor", "`python run.py monitor`, `watch` and `schedule`.", MonitorSettings),
        ("local gateway", "In `stacks/local.yaml`, below `components.model_deployer.config.cluster.gateway`.", GatewaySettings),
        ("cluster", "In `stacks/kubernetes.yaml`, below `components.model_deployer.config.cluster`.", KubernetesSettings),
    )
    parts = []
    for title, where, model in groups:
        rows = list(_settings_rows(model, frozenset(REPEATED.get(title, ()))))
        parts.append(f"## {title}\n\n{where}\n\n" + table(["setting", "type", "default", "reason"], rows))
    return page("Settings", lead, *parts)


def _settings_rows(model: type[BaseModel], skipped: frozenset[str]) -> Iterator[list[str]]:
    for one in list_settings(model, skipped=skipped):
        is_choice = one.key.endswith(".kind") and not one.variant
        type_text = one.type.replace(" | ", " \\| ") if is_choice else one.type
        reason = f"*{one.variant}*: {one.reason}".rstrip(": ") if one.variant else one.reason
        yield [code(one.key), type_text, one.default if one.is_required else _shown(one.default), reason]


def _shown(default: Any) -> str:
    if isinstance(default, BaseModel):
        return "see its type"
    return code(json.dumps(default) if isinstance(default, bool | int | float | list | tuple | dict) else default)
