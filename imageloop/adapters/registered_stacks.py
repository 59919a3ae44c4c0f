"""Find what is registered with ZenML: stacks and their components, by exact names."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zenml.client import Client
    from zenml.models import ComponentResponse, StackResponse


def find_stack(name: str, client: "Client") -> "StackResponse | None":
    """Return the stack with this exact name."""
    return next((known for known in client.list_stacks(name=name, size=1000) if known.name == name), None)


def artifacts_of(found: "StackResponse | None") -> str | None:
    """Where a registered stack keeps its artifacts: the store is the user's, so another clone may have registered it."""
    parts = found.components.get(kind_of("artifact_store")) if found else None
    return str(parts[0].configuration.get("path")) if parts else None


def find_component(kind: str, name: str, client: "Client") -> "ComponentResponse | None":
    """Return the item with this exact name: ZenML's own query also matches prefixes."""
    return next((part for part in client.list_stack_components(type=kind, name=name, size=1000) if part.name == name), None)


def kind_of(kind: str) -> Any:
    """ZenML's enumeration for the kind of a component in a stack file."""
    from zenml.enums import StackComponentType

    return StackComponentType(kind)
