"""The page of a search: the winner beside the training without a search, and every trial."""

from imageloop import html_pages
from imageloop.tuning.search_result import SearchResult


def search_report(result: SearchResult) -> str:
    """An HTML page; the charts are pages of their own."""
    best, default = result.best, result.default
    lead = (
        f"Trial '{result.winner}' won {result.completed} of {len(result.trials)} trials: {best.accuracy:.1%} of the validation images, loss "
        f"{best.loss:.4f}; without a search {default.accuracy:.1%}, {default.loss:.4f}. The winner looks better on these images than it is, "
        "since it was chosen by them; the test images decide."
    )
    model = result.settings.model_dump(mode="json")["model"]
    settings = html_pages.table(["setting", "value"], [(name, str(value)) for name, value in model.items()])
    names = list(dict.fromkeys(name for trial in result.trials for name in trial.values))
    rows = [
        (
            f"{trial.kind} {trial.number}",
            trial.state,
            *(
                (trial.result.loss, trial.result.accuracy, trial.result.milliseconds, trial.result.seconds)
                if trial.result
                else ("",) * 4
            ),
            *(_value(trial.values.get(name)) for name in names),
        )
        for trial in sorted(result.trials, key=lambda one: one.result.loss if one.result else float("inf"))
    ]
    header = ["trial", "state", "loss", "accuracy", "ms an image", "seconds", *(name.replace("_", " ") for name in names)]
    return html_pages.page(
        f"Search: {result.study}",
        lead,
        html_pages.section("The winner's model", settings),
        html_pages.section("Trials, the best first", html_pages.table(header, rows)),
    )


def _value(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
