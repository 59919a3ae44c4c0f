"""What single steps ask of the active stack's orchestrator beyond the others: a GPU, a node of its own, more memory."""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from uuid import UUID

from imageloop.adapters.registered_stacks import kind_of
from imageloop.adapters.stack_reachability import ORCHESTRATOR

if TYPE_CHECKING:
    from zenml.client import Client

LABEL = "imageloop-steps"  # of the orchestrator as ZenML registers it; its configuration has no place for steps
GPU = "nvidia.com/gpu"


def step_options(names: Collection[str]) -> dict[str, Any]:
    """The options of those of a pipeline's steps that ask for something, as `with_options(steps=...)` takes them."""
    from zenml.client import Client

    orchestrator = Client().active_stack_model.components[kind_of(ORCHESTRATOR)][0]
    asked: dict[str, dict[str, Any]] = json.loads((orchestrator.labels or {}).get(LABEL) or "{}")
    usual = orchestrator.configuration.get("pod_settings") or {}
    return {
        name: {"settings": {"orchestrator": {"pod_settings": merged(usual, asked[name])}}} for name in names if asked.get(name)
    }


def keep_steps(orchestrator: UUID, steps: dict[str, dict[str, Any]], client: "Client") -> None:
    """Store what steps ask for beside the orchestrator, where `step_options` finds it."""
    asked = json.dumps({name: own for name, each in steps.items() if (own := _without_nothing(each))}, sort_keys=True)
    kind = kind_of(ORCHESTRATOR)
    known = client.get_stack_component(kind, orchestrator).labels or {}
    if known.get(LABEL, "{}") != asked:
        client.update_stack_component(orchestrator, kind, labels={LABEL: asked})


def merged(usual: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Settings of pods with those of a step on top: mappings are merged, lists are joined, everything else is replaced."""
    found = dict(usual)
    for key, value in own.items():
        before = found.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            found[key] = merged(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            found[key] = [*before, *value]
        else:
            found[key] = value
    return found


def _without_nothing(asked: dict[str, Any]) -> dict[str, Any]:
    """What a step asks for, without the rest where it asks for no GPU at all: a variable of the stack's file decides how many."""
    limits = (asked.get("resources") or {}).get("limits") or {}
    return {} if str(limits.get(GPU, "1")) == "0" else asked
