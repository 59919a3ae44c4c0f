"""Register every stack under stacks/ with ZenML, idempotently.

    python stacks/apply.py [--activate NAME] [FILE ...]
    python stacks/apply.py --applied
    python stacks/apply.py --downgrade

Changed values are updated, removed keys are removed from ZenML, and nothing else is touched. Without a FILE, a stack with
environment variables in its file is registered only where it does not exist yet: this shell may lack the variables.
--activate makes this folder a ZenML repository and NAME its stack, unless one of ours is active in it already.
--applied changes nothing: it fails unless --activate succeeded before with these files, this environment and this ZenML store.
--downgrade registers only the flavors, as 0.1 names them: run it before you go back to 0.1. Until 0.3.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import yaml
from pydantic import ValidationError

from imageloop.adapters.active_stack import last_used_stack, remember_stack, use_project_repository, zenml_folder
from imageloop.adapters.mlflow_tracking import ensure_experiment
from imageloop.adapters.quiet_libraries import never_proxy_loopback, quiet_libraries
from imageloop.adapters.registered_stacks import artifacts_of, find_component, find_stack, kind_of
from imageloop.adapters.stack_flavors import refuse_unsupported
from imageloop.adapters.stack_reachability import ORCHESTRATOR
from imageloop.adapters.step_resources import keep_steps
from imageloop.adapters.zenml_stack_files import (
    FOLDER,
    UNSET,
    VARIABLE,
    ComponentFile,
    StackFile,
    known_variables,
    read_stack,
    validation_summary,
)
from imageloop.adapters.zenml_store import refuse_dead_server, write_configuration_whole
from imageloop.atomic_files import replacing
from imageloop.errors import SettingsError
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from zenml.client import Client

FLAVORS = {
    "imageloop_seldon": ("model_deployer", "seldon.delivery.deployer.flavor.SeldonDeployerFlavor"),
    "imageloop_alerter": ("alerter", "imageloop.adapters.alerter.flavor.AlerterFlavor"),
}
FLAVORS_BEFORE_0_2 = {
    "imageloop_seldon": ("model_deployer", "seldon.deployer.flavor.SeldonDeployerFlavor"),
    "imageloop_alerter": ("alerter", "adapters.alerter.flavor.AlerterFlavor"),
}


def apply(stack: StackFile, client: "Client") -> None:
    """Create or update the secrets, the components and the stack of the file."""
    for name, values in stack.secrets.items():
        _apply_secret(name, values, client)
    components = {kind: [_apply_component(kind, spec, client)] for kind, spec in stack.components.items()}
    for id_ in components.get(ORCHESTRATOR, []):
        keep_steps(id_, stack.steps, client)
    found = find_stack(stack.name, client)
    if found is None:
        client.create_stack(stack.name, components={kind_of(kind): ids[0] for kind, ids in components.items()})
    else:
        _update_stack(
            found.id, {kind: [part.id for part in parts] for kind, parts in found.components.items()}, components, client
        )


def _apply_secret(name: str, values: dict[str, str], client: "Client") -> None:
    """Store the values of a secret; those that this shell does not know stay as they are, so that a component never refers to nothing."""
    given = {key: value for key, value in values.items() if value != UNSET}
    try:
        client.get_secret(name, allow_partial_name_match=False)
    except KeyError:
        client.create_secret(name, values, private=False)
    else:
        if given:
            client.update_secret(name, add_or_update_values=given)


def _update_stack(stack_id: UUID, have: dict[Any, list[UUID]], spec: dict[str, list[UUID]], client: "Client") -> None:
    by_name = {getattr(kind, "value", kind): ids for kind, ids in have.items()}
    if by_name == spec:
        return
    gone: dict[Any, list[UUID]] = {kind_of(kind): [] for kind in by_name.keys() - spec.keys()}
    client.update_stack(stack_id, component_updates=gone | {kind_of(kind): ids for kind, ids in spec.items()})


def _apply_component(kind: str, spec: ComponentFile, client: "Client") -> Any:
    found = find_component(kind, spec.name, client)
    if found is not None and found.flavor_name != spec.flavor:
        raise SettingsError(
            f"expected the {kind} '{spec.name}' of flavor '{spec.flavor}', got one of flavor '{found.flavor_name}'; "
            f"rename it in the file, or delete the old one: zenml {kind.replace('_', '-')} delete {spec.name}"
        )
    try:
        if found is None:
            return client.create_stack_component(spec.name, spec.flavor, kind_of(kind), spec.config).id
        gone = dict.fromkeys(found.configuration.keys() - spec.config.keys())
        if gone or found.configuration != spec.config:
            client.update_stack_component(found.id, kind_of(kind), configuration=spec.config | gone)
    except ValidationError as error:
        raise SettingsError(
            f"expected the {kind} '{spec.name}' as its flavor '{spec.flavor}' takes it, got: {validation_summary(error, kind)}"
        ) from error
    return found.id


def _register_flavors(flavors: dict[str, tuple[str, str]], client: "Client") -> None:
    """Register our flavors once; ZenML imports them by their path below the repository, which changed in 0.2.0."""
    from zenml.models import FlavorUpdate

    for name, (kind, source) in flavors.items():
        registered = {flavor.name: flavor for flavor in client.get_flavors_by_type(kind_of(kind))}.get(name)
        if registered is None:
            client.create_flavor(source, kind_of(kind))
        elif registered.source != source:
            client.zen_store.update_flavor(registered.id, FlavorUpdate(source=source))


def activate(name: str, ours: list[str], client: "Client") -> None:
    """Make the project's folder a repository of ZenML's, and `name` its stack, or the one that this store last used here, where none of `ours` is."""
    from zenml.client import Client

    if client.root is None:
        root = _repository()
        Client.initialize(root)
        client = Client(root)
    if client.active_stack_model.name not in ours:
        before = last_used_stack()
        client.activate_stack(before if before and client.list_stacks(id=before).total else name)
    active = client.active_stack_model
    remember_stack(str(active.id))
    print(f"stack '{active.name}' is active", file=sys.stderr)


def is_applied(environment: dict[str, str]) -> bool:
    """Whether `--activate` succeeded in this folder, none of its inputs has changed since, and no other folder re-registered the stacks."""
    mark = _applied_mark()
    return mark.exists() and mark.read_text() == _state(environment)


def _applied_mark() -> Path:
    return zenml_folder() / "imageloop-applied"


def _state(environment: dict[str, str]) -> str:
    """A hash of the files, of what the environment fills in, of our flavors, and of the store and the repository that ZenML writes to."""
    texts = [file.read_text() for file in sorted(FOLDER.glob("*.yaml"))]
    names = {match["name"] for text in texts for match in VARIABLE.finditer(text)}
    names |= {name for name in environment if name.startswith("ZENML_STORE_") and "PASSWORD" not in name}
    filled_in = {name: environment.get(name) for name in names}
    settings = zenml_folder() / "config.yaml"
    address = (yaml.safe_load(settings.read_text()) or {}).get("store", {}).get("url", "") if settings.exists() else ""
    database = Path(address.removeprefix("sqlite:///"))
    made = database.stat().st_ino if database.is_file() else None  # another file of the same name knows nothing of our stacks
    repository = _repository() / ".zen" / "config.yaml"
    active = repository.read_text() if repository.exists() else None
    state = [texts, filled_in, FLAVORS, address, made, str(repository), active]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _repository() -> Path:
    return Path(os.environ.get("ZENML_REPOSITORY_PATH") or FOLDER.parent)


def _apply_all(stacks: dict[Path, StackFile], client: "Client", *, also_known: bool) -> list[StackFile]:
    """Apply the stacks of the files, and return them; those that are registered already only with `also_known`, or where they are this machine's."""
    applied = []
    for file, stack in stacks.items():
        found = find_stack(stack.name, client)
        if not also_known and stack.name != "local" and found:
            print(
                f"stack '{stack.name}' stays as it was registered; python stacks/apply.py {shlex.quote(str(file))} changes it",
                file=sys.stderr,
            )
            continue
        apply(stack, client)
        applied.append(stack)
        before = artifacts_of(found) if stack.name == "local" else None
        moved = before is not None and before != stack.components["artifact_store"].config.get("path")
        note = f"; it kept its artifacts in '{before}' before: `make setup` there takes it back" if moved else ""
        print(f"stack '{stack.name}' is registered{note}", file=sys.stderr)
    return applied


def main(arguments: list[str]) -> None:
    """Register the files that are named, by default all that none registered before, and this machine's; make their MLflow ready."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--activate", metavar="NAME")
    parser.add_argument("--applied", action="store_true")
    parser.add_argument("--downgrade", action="store_true")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    environment = known_variables()
    if options.applied:
        sys.exit(0 if is_applied(environment) else 1)
    os.environ.setdefault("ZENML_LOGGING_VERBOSITY", "ERROR")  # that a remote part cannot be reached yet is no news
    quiet_libraries()
    never_proxy_loopback()
    refuse_dead_server()
    write_configuration_whole()
    use_project_repository()
    from zenml.client import Client

    if options.downgrade:
        _applied_mark().unlink(missing_ok=True)  # or a later `make demo` would take these flavors for registered
        _register_flavors(FLAVORS_BEFORE_0_2, Client())
        return
    _register_flavors(FLAVORS, Client())
    stacks = {file: read_stack(file, environment) for file in options.files or sorted(FOLDER.glob("*.yaml"))}
    for stack in stacks.values():
        refuse_unsupported(stack.name, {kind: component.flavor for kind, component in stack.components.items()})
    names = [stack.name for stack in stacks.values()]
    if options.activate and options.activate not in names:
        raise SettingsError(
            f"--activate: expected a stack of the files that are applied ({', '.join(names)}), got '{options.activate}'"
        )
    applied = _apply_all(stacks, Client(), also_known=bool(options.files))
    if options.activate:
        activate(options.activate, names, Client())
    for tracker in (
        stack.components["experiment_tracker"].config for stack in applied if "experiment_tracker" in stack.components
    ):
        ensure_experiment(tracker["tracking_uri"], tracker["experiment_name"], Workspace.current())
    if options.activate and not options.files:
        with replacing(_applied_mark()) as aside:
            aside.write_text(_state(environment))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        sys.exit(f"error: {error}")
