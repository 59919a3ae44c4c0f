"""Windows and decisions of the monitor in the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from imageloop.records.store.records_connection import RecordsConnection
from imageloop.records.store.row_digest import digest
from imageloop.records.store.tables import decisions, windows


@dataclass(frozen=True)
class Decision:
    """One decision of the monitor; `outcome` is None while it is being carried out. Units: `time` in Unix seconds."""

    decision_id: str
    time: float
    action: str
    reason: str
    metrics: dict[str, Any]
    outcome: str | None = None


class MonitoringHistory(RecordsConnection):
    """Stores what the monitor measured and decided."""

    def keep_window(self, model_name: str, version: str, start: float, end: float, metrics: dict[str, Any]) -> None:
        """Store the metrics of a window; one that is stored already stays as it is."""
        window_id = digest(f"{model_name}-{version}-{end:.6f}")
        row = {"window_id": window_id, "model_name": model_name, "model_version": version, "start": start, "end": end}
        with self._transaction("keep a window") as connection:
            self._insert(connection, windows, [row | {"metrics": metrics}])

    def windows(self, model_name: str, newest: int, version: str | None = None) -> list[dict[str, Any]]:
        """The metrics of the newest windows, the oldest of them first, with `version`, `start` and `end`."""
        query = select(windows).where(windows.c.model_name == model_name).order_by(windows.c.end.desc()).limit(newest)
        if version is not None:
            query = query.where(windows.c.model_version == version)
        with self._transaction("read windows") as connection:
            rows = connection.execute(query).mappings().all()
        return [
            row["metrics"] | {"version": row["model_version"], "start": row["start"], "end": row["end"]} for row in reversed(rows)
        ]

    def decide(self, model_name: str, decision: Decision) -> None:
        """Store a decision."""
        row = vars(decision) | {"model_name": model_name}
        with self._transaction("keep a decision") as connection:
            self._insert(connection, decisions, [row])

    def conclude(self, decision_id: str, outcome: str) -> None:
        """Store the outcome of a decision."""
        with self._transaction("conclude a decision") as connection:
            connection.execute(update(decisions).where(decisions.c.decision_id == decision_id).values(outcome=outcome))

    def decisions(self, model_name: str, newest: int, action: str | None = None) -> list[Decision]:
        """The newest, of one kind or all, the oldest of them first."""
        query = select(decisions).where(decisions.c.model_name == model_name).order_by(decisions.c.time.desc()).limit(newest)
        if action is not None:
            query = query.where(decisions.c.action == action)
        with self._transaction("read decisions") as connection:
            rows = connection.execute(query).mappings().all()
        names = Decision.__dataclass_fields__
        return [Decision(**{name: row[name] for name in names}) for row in reversed(rows)]
