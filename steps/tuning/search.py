"""Search settings on the train and validation splits; the winner is trained by the steps that follow."""

from typing import Annotated

from zenml import get_step_context, log_metadata, step

from imageloop.adapters import mlflow_trials
from imageloop.adapters.ray_engine import open_engine
from imageloop.data.prepared_images import PreparedImages
from imageloop.execution_engine import work_on
from imageloop.training.settings import TrainingSettings
from imageloop.tuning.search_result import SearchResult
from imageloop.tuning.settings import SearchSettings
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from materializers.search_result import SearchResultMaterializer
from steps.cache_keys import ON_CODE


@step(
    cache_policy=ON_CODE,
    experiment_tracker=True,
    output_materializers={"search": SearchResultMaterializer, "tuned": RecordMaterializer},
)
def search(
    prepared: PreparedImages, base: TrainingSettings, settings: SearchSettings, model_name: str
) -> tuple[Annotated[SearchResult, "search"], Annotated[TrainingSettings, "tuned"]]:
    """Each trial is a run of the tracker within that of the training; a search that was interrupted goes on."""
    from imageloop.tuning.study import search as run_search

    mlflow_trials.mark_search()
    with work_on(open_engine):
        found = run_search(prepared, base, settings, model_name, Workspace.current(), mlflow_trials.log_trial)
    facts = {
        "study": found.study,
        "winner": found.winner,
        "trials": len(found.trials),
        "validation_accuracy": found.best.accuracy,
    }
    log_metadata(facts)
    log_metadata(facts, run_id_name_or_prefix=str(get_step_context().pipeline_run.id))
    return found, found.settings
