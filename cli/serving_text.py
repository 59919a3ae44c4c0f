"""How the commands of serving show their results to a user."""

from typing import TYPE_CHECKING, Any

from cli.output import interval, percent, program, row

if TYPE_CHECKING:
    from operations.deployment import DeploymentResult
    from operations.evaluation import EndpointEvaluation
    from operations.serving import DeploymentState, RollbackResult, ServingStatus, StoppedDeployments
    from operations.training import SubmittedRun

NUM_SHOWN = 10


def deployment(result: "DeploymentResult | SubmittedRun") -> str:
    """The outcome of a deployment, its addresses, and the next commands."""
    from operations.training import SubmittedRun

    if isinstance(result, SubmittedRun):
        return f"the rollout was submitted to the stack '{result.stack}'; its dashboard shows the rest"
    lines = [
        "",
        row("deployment", f"{result.namespace}/{result.name}: version {result.version} {result.outcome}")
        + (f" ({result.reason})" if result.reason else ""),
        *(row("", line) for line in result.smoke + result.verdicts),
        row("page", f"{result.url}/"),
        row("API", f"{result.url}/api/v1.0/predictions, {result.url}/predict"),
        row("API docs", f"{result.url}/docs"),
        row("metrics", f"{result.url}/metrics"),
        row("seconds", f"{result.seconds:.1f}"),
    ]
    if result.tried:
        tried = result.tried
        lines.append(
            row(
                "sample",
                f"an image of '{tried.expected}': {tried.label} ({percent(tried.probability)}) in {tried.milliseconds} ms",
            )
        )
    return "\n".join([*lines, "", "next:", f"  {program()} run.py status", f"  {program()} run.py down"])


def manifest(result: dict[str, Any]) -> str:
    """The manifest as YAML."""
    import yaml

    return yaml.safe_dump(result, sort_keys=False, width=130).rstrip()


def status(result: "ServingStatus") -> str:
    """Each deployment with its predictors and replicas, and the addresses of metrics."""
    if not result.deployments:
        return "nothing is deployed; python run.py deploy serves the champion"
    lines = [line for one in result.deployments for line in _deployment_lines(one)]
    return "\n".join([*lines, "metrics", *(f"  {address}" for address in result.metrics)])


def _deployment_lines(one: "DeploymentState") -> list[str]:
    lines = [
        f"{one.namespace}/{one.name}  {one.state}  {one.url}/" + (f"  ({one.description})" if one.description else "")
    ]  # fmt: skip
    for predictor in one.predictors:
        share = "shadow" if predictor.shadow else f"{predictor.traffic} %"
        ready = f"{predictor.ready} of {predictor.expected} replicas ready"
        lines.append(f"  {predictor.name:<8} version {predictor.version:<4} {share:>7}  {ready}")
        lines += [
            f"    {replica.address}  {'ready' if replica.ready else 'not ready'}, {replica.restarts} restarts"
            for replica in predictor.replicas
        ]
    if one.rollout:
        lines.append(
            f"  a rollout from {one.rollout['from']} to {one.rollout['to']} is under way, or was interrupted; "
            "deploy and rollback undo an interrupted one"
        )
    return lines + [f"  {note}" for note in one.notes]


def rollback(result: "RollbackResult") -> str:
    return f"version {result.to_version} serves again in place of {result.from_version}, after {result.seconds:.1f} s"


def down(result: "StoppedDeployments") -> str:
    again = "; python run.py deploy --resume starts it again" if result.kept and result.stopped else ""
    return f"stopped {', '.join(result.stopped) or 'nothing: nothing was deployed'}{again}"


def evaluation(result: "EndpointEvaluation") -> str:
    """Accuracy, latency and errors of an endpoint, and some wrong predictions."""
    recall = ", ".join(f"{name} {percent(share)}" for name, share in result.recall.items())
    versions = ", ".join(f"{version} ({count})" for version, count in result.versions.items())
    return "\n".join(
        [
            row("accuracy", f"{percent(result.accuracy)} of {result.count} images ({interval(*result.interval)}); {recall}"),
            row("latency", f"p50 {result.p50_ms:.1f} ms, p95 {result.p95_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"),
            row("errors", f"{result.failed} failed, {result.refused} refused"),
            row("versions", versions),
            *(f"  {line}" for line in result.wrong[:NUM_SHOWN]),
        ]
    )
