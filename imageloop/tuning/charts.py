"""The charts of a study, by Optuna's own plots: its history, what matters, and accuracy against time."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from imageloop.promotion.evaluation_charts import png_of

logger = logging.getLogger(__name__)
MIN_FOR_IMPORTANCE = 5  # trials that ended


def study_charts(studies: dict[str, optuna.Study]) -> dict[str, bytes]:
    """PNG files by name; a chart that a study is too small for is left out."""
    import matplotlib as mpl

    mpl.use("Agg")  # Optuna draws by pyplot, which would look for a window
    from optuna.visualization import matplotlib as plots

    charts = {}
    for kind, study in studies.items():
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if ended:
            charts[f"history of {kind}"] = _png(partial(plots.plot_optimization_history, study, target_name="loss"))
        if len(ended) >= MIN_FOR_IMPORTANCE:
            charts[f"importance, {kind}"] = _png(partial(plots.plot_param_importances, study))
    front = _accuracy_and_time(list(studies.values()))
    if len(front.trials) > 1:
        names = ["accuracy on the validation images", "milliseconds an image"]
        charts["accuracy and time"] = _png(partial(plots.plot_pareto_front, front, target_names=names))
    return {name: chart for name, chart in charts.items() if chart}


def _accuracy_and_time(studies: list[optuna.Study]) -> optuna.Study:
    """The trials that ended, in a study of two objectives in memory."""
    front = optuna.create_study(directions=["maximize", "minimize"])
    for study in studies:
        for trial in study.get_trials(states=(TrialState.COMPLETE,)):
            values = [trial.user_attrs["accuracy"], trial.user_attrs["milliseconds"]]
            front.add_trial(create_trial(values=values, params=trial.params, distributions=trial.distributions))
    return front


def _png(draw: Callable[[], Any]) -> bytes:
    """The chart as a file; nothing where Optuna cannot draw it, which is no reason to lose a search."""
    from matplotlib import pyplot

    try:
        figure = draw().figure
        figure.set_layout_engine("constrained")
        return png_of(figure)
    except (ValueError, RuntimeError) as error:
        logger.warning("a chart of the search was left out: %s", error)
        return b""
    finally:
        pyplot.close("all")
