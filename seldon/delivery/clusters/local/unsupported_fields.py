"""What of a manifest one machine can honour. Nothing is ignored in silence: it is refused, or named."""

from pathlib import Path

from seldon.delivery.clusters.cluster_protocol import NotBegunError
from seldon.delivery.manifest import Manifest, PredictorSpec


def refuse_impossible(manifest: Manifest) -> None:
    """Raises: NotBegunError for what would serve something else than the manifest says."""
    for predictor in manifest.spec.predictors:
        reason = _impossible(predictor)
        if reason:
            raise NotBegunError(f"predictor '{predictor.name}' of '{manifest.key}': {reason}")
    if manifest.spec.protocol not in (None, "seldon"):
        raise NotBegunError(
            f"wanted Seldon's protocol, found '{manifest.spec.protocol}', which the cluster 'local' does not speak"
        )


def named_here(manifest: Manifest) -> list[str]:
    """What the manifest asks for and this cluster does otherwise, a sentence each."""
    notes = [f"not honoured on one machine: {path}" for path in manifest.others()]
    for predictor in manifest.spec.predictors:
        container = predictor.container
        if container is None:
            continue
        if container.resources:
            notes.append(f"not honoured on one machine: resources of '{predictor.name}'")
        if container.liveness_probe:
            notes.append(f"livenessProbe of '{predictor.name}': a process that ended is started again, one that hangs is not")
        if container.image:
            notes.append(f"image of '{predictor.name}': the code of this folder serves instead")
    return notes


def _impossible(predictor: PredictorSpec) -> str | None:  # noqa: PLR0911
    graph = predictor.graph
    if graph.children or graph.type != "MODEL":
        return "wanted a graph of one model, found more; the cluster 'local' runs no Seldon engine"
    if graph.implementation not in (None, "", "UNKNOWN_IMPLEMENTATION"):
        return f"wanted our own microservice, found the implementation '{graph.implementation}'"
    if (predictor.model_extra or {}).get("explainer"):
        return "wanted no explainer, found one; POST /explain of the service answers instead"
    if len(predictor.component_specs) > 1 or any(len(spec.spec.containers) > 1 for spec in predictor.component_specs):
        return "wanted one container, found several"
    uri = graph.model_uri or ""
    if not uri.startswith("file://") or not Path(uri.removeprefix("file://")).is_dir():
        return f"wanted modelUri to name a folder on this machine (file:///...), found '{uri}'"
    unset = [variable.name for variable in (predictor.container.env if predictor.container else ()) if variable.value_from]
    if unset:
        return f"wanted values in env, found valueFrom for {', '.join(unset)}; the cluster 'local' has no secrets, set them in its environment"
    return None
