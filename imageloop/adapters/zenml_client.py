"""Open ZenML's client, and refuse in one sentence where that cannot work."""

import functools
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from imageloop.adapters.active_stack import (
    STACK_VARIABLE,
    last_used_stack,
    remember_stack,
    repository_file,
    use_project_repository,
)
from imageloop.adapters.run_command import IMAGE_VARIABLE
from imageloop.adapters.stack_flavors import refuse_unsupported
from imageloop.adapters.stack_reachability import (
    ARTIFACTS,
    ORCHESTRATOR,
    REGISTRY,
    TRACKER,
    refuse_unreachable_parts,
)
from imageloop.adapters.zenml_store import (
    refuse_dead_server,
    refuse_unusable_store,
    store_configuration,
    write_configuration_whole,
)
from imageloop.atomic_files import own_secret, replacing
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import PROJECT, Workspace

if TYPE_CHECKING:
    from zenml.client import Client

LOCAL_STACK = "local"  # its paths are below the folder where `make setup` ran last
OUR_PACKAGES = ("imageloop", "seldon", "materializers", "steps")
SILENCING = "To silence this warning"  # how ZenML goes on


def open_store() -> "Client":
    """ZenML's client, once it is sure that it and the tracker of the active stack can work.

    Raises: SettingsError for a server that is dead, a folder that is no repository of ZenML's, a stack without a tracker or of another
    folder, an MLflow server that does not respond.
    """
    client = _open_store()
    refuse_unreachable_parts(client.active_stack_model, {TRACKER})
    return client


def _open_store() -> "Client":
    refuse_dead_server()
    refuse_unusable_store()
    write_configuration_whole()
    client = _client_of_this_store()
    if client.root is None and not os.environ.get(STACK_VARIABLE):
        raise SettingsError("expected a ZenML repository, got none here; run: make setup")
    if client.active_stack_model.name == "default":
        raise SettingsError(
            "expected one of our stacks, got ZenML's 'default', without a tracker; run: zenml stack set local, or make setup"
        )
    if client.active_stack_model.name == LOCAL_STACK:
        _refuse_other_home(client)
    active = client.active_stack_model
    refuse_unsupported(active.name, {kind.value: parts[0].flavor_name for kind, parts in active.components.items() if parts})
    return client


def _client_of_this_store() -> "Client":
    """Make ZenML's client with the stack that this store last used here, where another store has chosen one of its own since.

    ZenML would activate its stack 'default' instead, and write that to the repository's file, for both stores.
    """
    use_project_repository()
    file = repository_file()
    chosen = file.read_bytes() if file.exists() else None
    from zenml.client import Client

    _silence_console()
    client = Client()
    if chosen is None or os.environ.get(STACK_VARIABLE):
        return client
    if (yaml.safe_load(chosen) or {}).get("active_stack_id") == str(client.active_stack_model.id):
        remember_stack(str(client.active_stack_model.id))
        return client
    if file.read_bytes() != chosen:
        with replacing(file) as aside:
            aside.write_bytes(chosen)
    if (before := last_used_stack()) is None or not client.list_stacks(id=before).total:
        raise SettingsError(
            f"expected a stack of this ZenML store ({store_configuration().get('url')}) to be active in '{file.parent.parent}', got one of another "
            "store, or one that was deleted; run: make setup, or zenml stack set NAME"
        )
    os.environ[STACK_VARIABLE] = before
    return client


def _refuse_other_home(client: "Client") -> None:
    """Refuse a stack of another clone: ZenML's store is the user's, so a later `make setup` elsewhere moved it."""
    from zenml.enums import StackComponentType

    expected = _local_artifacts()
    actual = client.active_stack_model.components[StackComponentType.ARTIFACT_STORE][0].configuration.get("path")
    if expected and actual and Path(actual).resolve() != Path(expected).resolve():
        raise SettingsError(
            f"expected the stack '{LOCAL_STACK}' to keep artifacts in '{expected}', as its file says here, got '{actual}': "
            "another folder was set up since, or the file was changed; run: make setup"
        )


def _local_artifacts() -> str | None:
    """Return the path of the local artifact store, None where its file is elsewhere or needs variables that this shell lacks."""
    from imageloop.adapters.zenml_stack_files import FOLDER, fill_in, known_variables

    file = FOLDER / f"{LOCAL_STACK}.yaml"
    try:
        store = yaml.safe_load(file.read_text())["components"]["artifact_store"]
        return fill_in(store["config"]["path"], known_variables())
    except (OSError, yaml.YAMLError, KeyError, TypeError, SettingsError):
        return None


def open_stack() -> "Client":
    """The same for a run, whose steps must reach the store too.

    Raises: SettingsError also where they run elsewhere and the store is on this machine.
    """
    client = _open_store()
    from zenml.enums import StoreType

    if not runs_elsewhere(client):
        own_secret(Workspace.current().artifacts_mark)
    elif client.zen_store.type != StoreType.REST:
        raise SettingsError(
            f"expected a ZenML server, got a store on this machine, which the pods of the stack '{client.active_stack_model.name}' "
            "cannot reach; run: zenml login URL"
        )
    refuse_unreachable_parts(client.active_stack_model, {TRACKER, ARTIFACTS})
    _leave_integrations_alone()
    _remember_packages()
    return client


def _leave_integrations_alone() -> None:
    """Before each run ZenML loads every integration whose packages it finds, to register their materializers.

    That takes three seconds because of torch and scikit-learn. The stack's own integrations are loaded when they are used, and every
    step names the materializer of an artifact that ZenML has none for: without one, ZenML would pickle it.
    """
    from zenml.integrations.registry import integration_registry

    integration_registry.activate_integrations = lambda: None


@functools.cache  # once: a monitor opens the stack in each pass
def _remember_packages() -> None:
    """Cache which package has which module: ZenML asks for each type, and Python reads the lists of all installed files each time.

    MLflow does the same by the backport. The installed packages do not change while a command runs, so the result is cached.
    """
    import importlib.metadata

    import importlib_metadata

    known = functools.cache(importlib.metadata.packages_distributions)
    module: Any
    for module in (importlib.metadata, importlib_metadata):
        module.packages_distributions = lambda: dict(known())


def check_parts(client: "Client") -> None:
    """Check that the parts of the stack fit, before an image is built.

    Raises: SettingsError where parts do not fit, such as a registry of this machine with pods elsewhere, or do not respond.
    """
    if not runs_elsewhere(client):
        return
    refuse_unreachable_parts(
        client.active_stack_model, {ORCHESTRATOR} if os.environ.get(IMAGE_VARIABLE) else {ORCHESTRATOR, REGISTRY}
    )
    from zenml.exceptions import StackValidationError

    try:
        client.active_stack.validate()
    except (StackValidationError, RuntimeError) as error:  # the latter where there is no kubeconfig
        raise SettingsError(
            f"expected parts of a stack that fit, got in '{client.active_stack_model.name}': {str(error).partition(SILENCING)[0].strip()} "
            "Correct the file under stacks/ or the environment that it reads, and run stacks/apply.py"
        ) from error


def runs_elsewhere(client: "Client") -> bool:
    """Whether the steps of the active stack run on other machines than this one."""
    return bool(client.active_stack.orchestrator.config.is_remote)


def finished_run(client: "Client", run_id: Any) -> Any:
    """The run, if it succeeded. A failed step raises on this machine; in a pod, the error is read from the run.

    Raises: ImageLoopError with the error of the failed step.
    """
    run = client.get_pipeline_run(run_id)
    if run.status.is_successful:
        return run
    failed = [(name, step) for name, step in run.steps.items() if not step.status.is_successful]
    name, found = (failed[0][0], _words_of(failed[0][1])) if failed else ("", None)
    where = f"step '{name}'" if name else "its first step"
    raise ImageLoopError(
        f"{found or f'expected {where} to succeed, got no error message: its pod was ended (memory, image, eviction)'}; "
        f"run {run.name} is {run.status.value}; its pods: kubectl get pods -l run_id={run.id}"
    )


def _words_of(step: Any) -> str | None:
    """The message of a failed step: our own errors are sentences, others need their type."""
    failure = step.exception_info
    if failure is None or not failure.message:
        return None
    source = str(failure.source or "")
    return str(failure.message) if source.partition(".")[0] in OUR_PACKAGES else f"{source.rpartition('.')[2]}: {failure.message}"


def register_stacks() -> None:
    """Register the stacks in a process of its own: within one process, ZenML keeps the first store that it opened.

    Raises: ImageLoopError.
    """
    command = [sys.executable, str(PROJECT / "stacks" / "apply.py"), "--activate", "local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    if done.returncode:
        raise ImageLoopError(f"expected to register the stacks, got: {done.stderr.strip()[-300:]}; run: make setup")


def _silence_console() -> None:
    """Remove ZenML's console handler: it repeats what the log file has."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler).__name__ == "ZenMLConsoleHandler":
            root.removeHandler(handler)
