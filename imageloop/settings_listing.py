"""List the settings of a model with their types, defaults and reasons."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

REQUIRED = "required"


@dataclass(frozen=True)
class Setting:
    """One setting. `variant`: the `kind` of its group that has it, empty where all have; `default`: a value, or `required` where `is_required`."""

    key: str
    type: str
    default: Any
    reason: str
    variant: str = ""
    is_required: bool = False


def list_settings(model: type[BaseModel], prefix: str = "", skipped: frozenset[str] = frozenset()) -> Iterator[Setting]:
    """The settings of a model and of its groups, whose keys are joined by dots; `skipped`: names of groups that are left out."""
    for name, field in model.model_fields.items():
        if name in skipped:
            continue
        key, variants = f"{prefix}{name}", _models_in(field.annotation)
        if len(variants) == 1 and isinstance(field.default, BaseModel):
            yield from list_settings(variants[0], f"{key}.")
        elif variants and "kind" in variants[0].model_fields:
            kinds = [str(one.model_fields["kind"].default) for one in variants]
            yield Setting(f"{key}.kind", " | ".join(kinds), getattr(field.default, "kind", ""), field.description or "")
            for kind, one in zip(kinds, variants, strict=True):
                for inner in list_settings(one, f"{key}.", frozenset({"kind"})):
                    yield Setting(inner.key, inner.type, inner.default, inner.reason, kind, inner.is_required)
        else:
            default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
            yield Setting(key, type_name(field), default, field.description or "", is_required=field.is_required())


def type_name(field: FieldInfo) -> str:
    """The type of a field as a reader of settings writes it."""
    annotation = _without_limits(field.annotation)
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)  # the modules of types
    if "Literal[" in text:
        text = text.replace("Literal[", "").replace("]", "").replace(", ", " | ")
    return text


def _without_limits(annotation: Any) -> Any:
    """The type alone: `Annotated` adds what pydantic checks, within lists and tuples too."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _without_limits(inner[0])
    return origin[tuple(map(_without_limits, inner))] if origin in (tuple, list, dict) else annotation


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    options = get_args(annotation) or (annotation,)
    return [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
