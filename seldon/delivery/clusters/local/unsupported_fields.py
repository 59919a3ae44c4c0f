"""What of a manifest one machine can honour. Nothing is ignored in silence: it is refused, or named."""

from seldon.delivery.clusters.cluster_protocol import NotBegunError
from seldon.delivery.inference_graph import impossible_graph, impossible_uri
from seldon.delivery.manifest import Manifest, PredictorSpec


def refuse_impossible(manifest: Manifest) -> None:
    """Raises: NotBegunError for a field without which something else would be served than the manifest says."""
    for predictor in manifest.spec.predictors:
        reason = _impossible(predictor)
        if reason:
            raise NotBegunError(f"predictor '{predictor.name}' of '{manifest.key}': {reason}")
    if manifest.spec.protocol not in (None, "seldon"):
        raise NotBegunError(
            f"expected Seldon's protocol, got '{manifest.spec.protocol}', which the cluster 'local' does not support"
        )


def named_here(manifest: Manifest) -> list[str]:
    """Return what the manifest asks for and this cluster does differently, a sentence each."""
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
    if reason := impossible_graph(graph):
        return reason
    if graph.implementation not in (None, "", "UNKNOWN_IMPLEMENTATION"):
        return f"expected our own microservice, got the implementation '{graph.implementation}'"
    if (predictor.model_extra or {}).get("explainer"):
        return "expected no explainer, got one; use POST /explain of the service instead"
    units = 1 + len(graph.children)
    if len(predictor.component_specs) > 1 or any(len(spec.spec.containers) > units for spec in predictor.component_specs):
        return "expected one container for each unit, got more"
    if not graph.children and (reason := impossible_uri(graph.model_uri)):
        return reason
    unset = [variable.name for variable in (predictor.container.env if predictor.container else ()) if variable.value_from]
    if unset:
        return f"expected values in env, got valueFrom for {', '.join(unset)}; the cluster 'local' has no secrets, set them in its environment"
    return None
