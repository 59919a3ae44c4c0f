"""How the commands of serving show their results to a user."""

from typing import TYPE_CHECKING, Any

from cli.output import interval, lines, percent, program, status_text, summary, table

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from operations.deployment import DeploymentResult
    from operations.evaluation import EndpointEvaluation
    from operations.model_server import DeployedModels
    from operations.serving import RollbackResult, ServedDeployment, ServingStatus, StoppedDeployments
    from operations.training import SubmittedRun

NUM_SHOWN = 10


def deployment(result: "DeploymentResult | SubmittedRun") -> "RenderableType":
    """Show the outcome of a deployment, its addresses, and the next commands."""
    from rich.console import Group

    from operations.training import SubmittedRun

    if isinstance(result, SubmittedRun):
        return f"the rollout was submitted to the stack '{result.stack}'; its dashboard shows the rest"
    reason = f" ({result.reason})" if result.reason else ""
    rows = [
        ("deployment", f"{result.namespace}/{result.name}: version {result.version} {result.outcome}{reason}"),
        *(("", line) for line in result.smoke + result.verdicts),
        ("page", f"{result.url}/"),
        ("API", f"{result.url}/api/v1.0/predictions, {result.url}/predict"),
        ("API docs", f"{result.url}/docs"),
        ("metrics", f"{result.url}/metrics"),
        ("seconds", f"{result.seconds:.1f}"),
    ]
    if result.tried:
        tried = result.tried
        prediction = f"{tried.label} ({percent(tried.probability)}) in {tried.milliseconds} ms"
        rows.append(("sample", f"an image of '{tried.expected}': {prediction}"))
    return Group("", summary(*rows), "", lines("next:", f"  {program()} run.py status", f"  {program()} run.py down"))


def deployed_models(result: "DeployedModels") -> "RenderableType":
    """Show each model of a server with its version and address."""
    from rich.console import Group

    shown = table("deployment", "version", "outcome", "address")
    for one in result.deployments:
        shown.add_row(f"{one.namespace}/{one.name}", one.version, one.outcome, f"{one.url}/")
    return Group("", shown, "", lines("next:", f"  {program()} run.py status", f"  {program()} run.py down"))


def manifest(result: dict[str, Any]) -> str:
    """Write the manifest as YAML."""
    import yaml

    return yaml.safe_dump(result, sort_keys=False, width=130).rstrip()


def status(result: "ServingStatus") -> "RenderableType":
    """Show each deployment with its predictors and replicas, and the addresses of metrics."""
    from rich.console import Group

    if not result.deployments:
        return "nothing is deployed; python run.py deploy serves the champion"
    deployments = [part for state in result.deployments for part in _deployment(state)]
    return Group(*deployments, lines("metrics", *(f"  {address}" for address in result.metrics)))


def _deployment(state: "ServedDeployment") -> "list[RenderableType]":
    about = f"  ({state.description})" if state.description else ""
    predictors = table("predictor", "version", "traffic", "replicas", "ready", "restarts", numbers=("traffic", "restarts"))
    for predictor in state.predictors:
        share = "shadow" if predictor.shadow else f"{predictor.traffic} %"
        ready = f"{predictor.ready} of {predictor.expected} ready"
        predictors.add_row(predictor.name, predictor.version, share, ready, "", "")
        for replica in predictor.replicas:
            condition = status_text("ready" if replica.ready else "not ready")
            predictors.add_row("", "", "", replica.address, condition, str(replica.restarts))
    notes = list(state.notes)
    if state.rollout:
        now = "is under way" if state.rollout_is_running else "was interrupted; deploy and rollback undo it"
        notes.insert(0, f"a rollout from {state.rollout.from_predictor} to {state.rollout.to_predictor} {now}")
    return [lines(f"{state.namespace}/{state.name}  {state.state}  {state.url}/{about}"), predictors, *notes]


def rollback(result: "RollbackResult") -> str:
    """Say which version serves again."""
    return f"version {result.to_version} serves again in place of {result.from_version}, after {result.seconds:.1f} s"


def down(result: "StoppedDeployments") -> str:
    """Say what was stopped, and how to start it again."""
    again = "; python run.py deploy --resume starts it again" if result.kept and result.stopped else ""
    return f"stopped {', '.join(result.stopped) or 'nothing: nothing was deployed'}{again}"


def evaluation(result: "EndpointEvaluation") -> "Group":
    """Show accuracy, latency and errors of an endpoint, and some wrong predictions."""
    from rich.console import Group

    recall = ", ".join(f"{name} {percent(share)}" for name, share in result.recall.items())
    rows = [
        ("accuracy", f"{percent(result.accuracy)} of {result.count} images ({interval(*result.interval)}); {recall}"),
        ("latency", f"p50 {result.p50_ms:.1f} ms, p95 {result.p95_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"),
        ("errors", f"{result.failed} failed, {result.refused} refused"),
        ("versions", ", ".join(f"{version} ({count})" for version, count in result.versions.items())),
    ]
    return Group(summary(*rows), *([lines(*(f"  {wrong}" for wrong in result.wrong[:NUM_SHOWN]))] if result.wrong else []))
