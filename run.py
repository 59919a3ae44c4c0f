"""ImageLoop: a folder of labelled pictures goes in; a classifier comes out that is served, watched and retrained.

Every command works on the active ZenML stack (zenml stack set local), prints its result on standard output and all else
on standard error, and takes --json for scripts. Exit code 1: it failed, and says why. Exit code 2: a setting is wrong.
"""

import atexit
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from imageloop.errors import ImageLoopError, SettingsError

# Libraries make a million objects that stay; looking through them again and again costs a second.
gc.set_threshold(50_000, 20, 50)

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
pictures = typer.Typer(help="The pictures that the service kept for labelling, where it was told to.", no_args_is_help=True)
app.add_typer(pictures, name="pictures")
Result = dict[str, Any]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
ModelName = Annotated[str, typer.Option("--model", help="The model's name in the registry.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="One setting, at any depth, as often as you like.")
]
WatchConfig = Annotated[
    Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/monitor.yaml.")
]
NAME = "imageloop"
CRON_FIELDS = 5
STORY = Path(__file__).parent / "configs" / "demo-loop.yaml"


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="A YAML file with what differs from the defaults.")] = None,
    overrides: Overrides = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Your pictures: a folder with one folder a class (or names like cat.12.jpg), or a zip or tar of it."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step, also those whose inputs have not changed.")
    ] = False,
    serve: Annotated[bool, typer.Option("--deploy", help="Serve the champion afterwards, as `deploy` would.")] = False,
    json_output: Json = False,
) -> None:
    """Pictures in, a registered model out.

    Without options it draws its own pictures. With your own:

        python run.py train --data pets

        python run.py train --data pets --set training.model.kind=baseline_cnn --set training.seed=8
    """
    settings = _checked_settings(config, overrides or [], data)

    def work() -> Result:
        from operations import training

        result = training.train(settings, use_cache=not no_cache)
        if not serve:
            return result
        from operations import deployment
        from seldon.delivery.rollouts.settings import DeploySettings

        if result.get("submitted"):
            raise ImageLoopError(f"{training.describe(result)}; deploy when it has ended: python run.py deploy")
        wanted = DeploySettings.model_validate({"model_name": settings.promotion.model_name, "strategy": {"kind": "rolling"}})
        try:
            return result | {"deployment": deployment.deploy(wanted)}
        except ImageLoopError:
            sys.stderr.write(f"{training.describe(result)}\n\n")  # what came of the training, which is done
            raise

    def describe(result: Result) -> str:
        text = str(_lazy("training", "describe", result))
        return text + (f"\n{_lazy('deployment', 'describe_deployment', result['deployment'])}" if serve else "")

    _run("train", work, describe, json_output)


@app.command()
def deploy(
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/deploy.yaml.")
    ] = None,
    overrides: Overrides = None,
    version: Annotated[str | None, typer.Option(help="A version of the registry; by default the champion.")] = None,
    resume: Annotated[
        bool, typer.Option(help="Bring back the version that served before a stop, a restart or a rollout that was cut off.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Serve a version through the gateway; the one before it serves until the new one has shown itself.

    Strategies: rolling (the default), canary, blue_green, shadow, ab_test. For example:

        python run.py deploy --set strategy.kind=canary --set strategy.steps=[10,50]
    """
    from seldon.delivery.rollouts.settings import DeploySettings

    settings = _loaded(DeploySettings, config, overrides, **({} if version is None else {"version": version}))
    if resume and (config or overrides or version):
        _fail(
            SettingsError(
                "--resume: brings back what served as it was, wanted no other option beside it; leave it out to change something"
            )
        )

    def work() -> Result:
        from operations import deployment

        return deployment.deploy(settings, resume=resume)

    _run("deploy", work, lambda result: _lazy("deployment", "describe_deployment", result), json_output)


@app.command()
def render(
    kind: Annotated[
        str,
        typer.Option("--as", metavar="KIND", help="seldon, seldon-v2 (MLServer behind Seldon) or kserve (an InferenceService)."),
    ] = "seldon",
    config: Annotated[Path | None, typer.Option(help="A YAML file, as for `deploy`.")] = None,
    overrides: Overrides = None,
    version: Annotated[str | None, typer.Option(help="A version of the registry; by default the champion.")] = None,
    json_output: Json = False,
) -> None:
    """Print the manifest of a version, and apply nothing: for Git, or for a server that is not ours to change.

    python run.py render --as kserve --set image=REGISTRY/imageloop-serve-v2@sha256:...
    """
    from seldon.delivery.rollouts.settings import DeploySettings

    if kind not in ("seldon", "seldon-v2", "kserve"):
        _fail(SettingsError(f"--as: wanted seldon, seldon-v2 or kserve, found '{kind}'"))
    settings = _loaded(DeploySettings, config, overrides, **({} if version is None else {"version": version}))

    def work() -> Result:
        return dict(_lazy("manifest_rendering", "rendered", settings, kind))

    _run("render", work, lambda result: _lazy("manifest_rendering", "describe", result), json_output)


@app.command()
def status(json_output: Json = False) -> None:
    """Show what is served: versions, traffic, replicas, health, addresses."""

    def work() -> Result:
        from operations import deployment

        return deployment.status()

    _run("status", work, lambda result: _lazy("deployment", "describe_status", result), json_output)


@app.command()
def rollback(json_output: Json = False) -> None:
    """Give all traffic back to the version before, and the champion's title with it."""

    def work() -> Result:
        from operations import deployment

        return deployment.roll_back()

    _run("rollback", work, lambda result: _lazy("deployment", "describe_rollback", result), json_output)


@app.command()
def down(
    keep: Annotated[bool, typer.Option(help="Keep in mind what was deployed: `deploy --resume` brings it back.")] = False,
    json_output: Json = False,
) -> None:
    """Stop all that is served from here, and leave nothing running."""

    def work() -> Result:
        from operations import deployment

        return deployment.down(keep=keep)

    _run("down", work, lambda result: _lazy("deployment", "describe_down", result), json_output)


@app.command()
def monitor(
    config: WatchConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Look after what serves, once: collect, measure, decide, and where it is decided retrain and roll out."""
    settings = _watch_settings(config, overrides)

    def work() -> Result:
        from operations import monitoring

        return monitoring.monitor(settings)

    _run("monitor", work, lambda result: _lazy("monitoring", "describe", result), json_output)


@app.command()
def watch(
    config: WatchConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Look after what serves, unattended, until stopped with Ctrl-C or SIGTERM; it goes on wherever it was killed."""
    settings = _watch_settings(config, overrides)

    def work() -> Result:
        from operations import monitoring

        return monitoring.watch(settings)

    _run("watch", work, lambda result: _lazy("monitoring", "describe_watch", result), json_output)


@app.command()
def schedule(
    cron: Annotated[
        str | None, typer.Option(help="When to look, as cron writes it: '*/15 * * * *' is every quarter of an hour.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the schedule away.")] = False,
    config: WatchConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Let the active stack run `monitor` by the clock, retraining and rollout included; on a laptop `watch` does that.

    python run.py schedule --cron '*/15 * * * *' --config configs/monitor.yaml
    """
    settings = _watch_settings(config, overrides)
    if (cron is None) != remove or (cron is not None and len(cron.split()) != CRON_FIELDS):
        _fail(SettingsError(f"wanted --cron with {CRON_FIELDS} fields ('*/15 * * * *'), or --remove, found {cron!r}"))

    def work() -> Result:
        return dict(
            _lazy("scheduling", "unschedule", settings) if cron is None else _lazy("scheduling", "schedule", settings, cron)
        )

    _run("schedule", work, lambda result: _lazy("scheduling", "describe", result), json_output)


@app.command()
def story(
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of its own; what is in it goes.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your pictures instead of drawn ones, which will be blurred, darkened and badly saved.")
    ] = None,
    config: Annotated[Path, typer.Option(help="What the watch goes by in it.")] = STORY,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Play the whole loop in minutes: the world changes, labels come late, lies and a bad model are refused."""
    from imageloop.workspace_paths import Workspace

    folder = (to or Workspace.current().state / "story").absolute()
    settings = _watch_settings(config, overrides)

    def work() -> Result:
        from operations.demo_loop import scenario

        scenario.check(to, data)
        return scenario.tell_story(folder, settings, data)

    _run("story", work, lambda result: _lazy("demo_loop.scenario", "describe", result), json_output)


@app.command()
def evaluate(
    url: Annotated[str, typer.Option(help="The address of a deployment; `status` shows it. A key comes from IMAGELOOP_API_KEY.")],
    data: Annotated[Path, typer.Option(help="Labelled pictures: one folder a class, or names like cat.12.jpg.")],
    clients: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="End with exit code 1 below it, or when a request failed.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Send labelled pictures through a live service: its accuracy, latency and errors."""
    if not data.is_dir():
        _fail(SettingsError(f"--data: wanted a folder of labelled pictures, found none at '{data}'"))
    if not url.startswith(("http://", "https://")):
        _fail(SettingsError(f"--url: wanted an http address, found '{url}'; run: python run.py status"))

    def work() -> Result:
        from operations import evaluation

        return evaluation.evaluate(url, data, clients, min_accuracy)

    _run("evaluate", work, lambda result: _lazy("evaluation", "describe", result), json_output)


@pictures.command("key")
def pictures_key(json_output: Json = False) -> None:
    """Make the key that pictures are kept for, and say how to turn the keeping on."""
    _pictures("key", "describe_key", json_output)


@pictures.command("list")
def pictures_list(config: WatchConfig = None, overrides: Overrides = None, json_output: Json = False) -> None:
    """Which pictures were kept."""
    _pictures("listing", "describe_listing", json_output, _watch_settings(config, overrides).monitoring)


@pictures.command("export")
def pictures_export(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="labelled/<class>/ and to_label/ come into this folder.")],
    config: WatchConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Write them where a person can look at them: what is known to be, by class, and what somebody has to label."""
    settings = _watch_settings(config, overrides)
    _pictures("export", "describe_export", json_output, settings.monitoring, to.absolute(), settings.training.experience)


@pictures.command("delete")
def pictures_delete(
    request_ids: Annotated[list[str], typer.Argument(metavar="REQUEST_ID...", help="As the answers bore them.")],
    config: WatchConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Remove what was kept of requests."""
    _pictures("delete", "describe_deletion", json_output, _watch_settings(config, overrides).monitoring, request_ids)


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.")],
    model: ModelName = NAME,
    version: Annotated[str | None, typer.Option(help="A version; by default the champion.")] = None,
    explain: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a heat map for each picture to this folder.")] = None,
    exact: Annotated[bool, typer.Option(help="Use the exact model even where the quantised one is as good.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print path,label,probability.")] = False,
    json_output: Json = False,
) -> None:
    """Say what pictures show; go on after bad files and list them."""
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for what may not be looked at
            _fail(SettingsError(f"wanted a picture or a folder, found nothing at '{path}'"))

    def work() -> Result:
        from operations import prediction

        return prediction.predict(paths, model, version, explain, exact=exact)

    _run("predict", work, lambda result: _lazy("prediction", "as_csv" if csv else "describe", result).rstrip("\n"), json_output)


@app.command()
def compare(first: str, second: str, model: ModelName = NAME, json_output: Json = False) -> None:
    """Show two versions side by side on the same test pictures."""

    def work() -> Result:
        from operations import comparison

        return comparison.compare(model, first, second)

    _run("compare", work, lambda result: _lazy("comparison", "describe", result), json_output)


@app.command()
def approve(version: str, model: ModelName = NAME, json_output: Json = False) -> None:
    """Make a version that passed its gates the champion."""

    def work() -> Result:
        from operations import approval

        return approval.approve(model, version)

    _run("approve", work, lambda result: _lazy("approval", "describe_approval", result), json_output)


@app.command()
def versions(model: ModelName = NAME, json_output: Json = False) -> None:
    """List the versions in the registry, and what became of each."""

    def work() -> Result:
        from operations import approval

        return approval.versions(model)

    _run("versions", work, lambda result: _lazy("approval", "describe_versions", result), json_output)


@app.command()
def restore(
    run: Annotated[str, typer.Argument(help="The id of an MLflow run; train prints it.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A folder that does not exist yet.")],
    remote: Annotated[str | None, typer.Option(help="A DVC remote's name or address; by default the default remote.")] = None,
    json_output: Json = False,
) -> None:
    """Bring back the pictures and the catalog that a run was trained on, byte for byte."""

    def work() -> Result:
        from operations import data_restore

        return data_restore.restore(run, to, remote)

    _run("restore", work, lambda result: _lazy("data_restore", "describe", result), json_output)


@app.command()
def backup(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A tar.gz file; one that is there is replaced.")],
    json_output: Json = False,
) -> None:
    """Write the whole memory of this site to an archive: MLflow, ZenML, records, what is deployed, the key that verifies."""

    def work() -> Result:
        from operations import backup

        return backup.back_up(to.absolute())

    _run("backup", work, lambda result: _lazy("backup", "describe_backup", result), json_output)


@app.command()
def recover(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.")],
    json_output: Json = False,
) -> None:
    """Bring an archive of `backup` back to an empty site, on this machine or another, under any path."""

    def work() -> Result:
        from operations import backup

        return backup.recover(source.absolute())

    _run("recover", work, lambda result: _lazy("backup", "describe_recovery", result), json_output)


def _pictures(function: str, describe: str, json_output: bool, *arguments: Any) -> None:  # noqa: FBT001
    _run(
        "pictures",
        lambda: dict(_lazy("retained_images", function, *arguments)),
        lambda result: _lazy("retained_images", describe, result),
        json_output,
    )


def _watch_settings(config: Path | None, overrides: list[str] | None) -> Any:
    from steps.pipeline_settings import WatchSettings

    return _loaded(WatchSettings, config, overrides)


def _loaded(model: type[Any], config: Path | None, overrides: list[str] | None, **preset: Any) -> Any:
    """Settings that are right, before anything heavy is loaded."""
    from imageloop.settings_files import load_settings

    try:
        return load_settings(model, config, overrides or [], **preset)
    except SettingsError as error:
        _fail(error)


def _checked_settings(config: Path | None, overrides: list[str], data: Path | None) -> Any:
    """Settings that are right, before anything heavy is loaded."""
    from imageloop.data.sources.dispatch import check
    from imageloop.settings_files import load_settings
    from steps.pipeline_settings import TrainSettings

    try:
        preset = {}
        if data is not None:
            is_file = data.is_file()
            preset["data__source"] = (
                {"kind": "archive", "location": str(data)} if is_file else {"kind": "folder", "path": str(data)}
            )
        settings = load_settings(TrainSettings, config, overrides, **preset)
        check(settings.data)
    except SettingsError as error:
        _fail(error)
    except OSError as error:
        _fail(
            SettingsError(
                f"wanted pictures that can be read, found '{error.filename or data}' ({error.strerror}); grant it or name others"
            )
        )
    return settings


def _run(command: str, work: Callable[[], Result], describe: Callable[[Result], str], json_output: bool) -> None:  # noqa: FBT001
    """Do the work with a log file beside it; print the result, or the one sentence that says what went wrong."""
    from cli.console import Session, result_alone_on_stdout
    from imageloop.workspace_paths import Workspace

    session = Session(command, Workspace.current())
    with result_alone_on_stdout() as output:
        try:
            with session:
                result = work()
                text = json.dumps(result, indent=2) if json_output else describe(result)
        except SettingsError as error:
            _fail(error)
        except KeyboardInterrupt:
            _fail(ImageLoopError("stopped; the same command goes on where it can"))
        except Exception as error:  # the edge of the process: a sentence for the person, the rest in the log
            _fail(_sentence(error), session.log)
        try:
            with os.fdopen(output, "wb", closefd=False) as file:
                file.write(f"{text}\n".encode(errors="backslashreplace"))
        except OSError as error:
            _fail(
                ImageLoopError(f"wanted to write the result, found that it cannot be written ({error.strerror}); it is cut off")
            )


def _sentence(error: Exception) -> ImageLoopError:
    from imageloop.adapters.zenml_failures import disk_is_full, failed_step
    from imageloop.workspace_paths import Workspace

    if disk_is_full(Workspace.current().home):
        return ImageLoopError(f"wanted space on the disk, found none left ({error}); free some and run the same command again")
    return failed_step(error) or ImageLoopError(f"something went wrong that should not: {type(error).__name__}: {error}")


def _fail(error: ImageLoopError, log: Path | None = None) -> None:
    sys.stderr.write(f"error: {error}\n" + (f"       the details are in {log}\n" if log else ""))
    sys.stderr.flush()
    raise typer.Exit(2 if isinstance(error, SettingsError) else 1)


def _lazy(module: str, function: str, *arguments: Any) -> Any:
    import importlib

    return getattr(importlib.import_module(f"operations.{module}"), function)(*arguments)


def _fall_silent() -> None:
    """Registered first, so called last: what libraries of C++ say of what an interpreter leaves behind is no news to a user."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # theirs, whatever Python's own is by now


if __name__ == "__main__":
    atexit.register(_fall_silent)
    try:
        app()
    finally:
        gc.freeze()  # or an interpreter that ends looks for seconds for circles in all that ZenML and torch have made
