"""Columns and stored metrics under the names of 0.2.0: ground_truth, metrics, feature_groups, out_of_distribution."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
COLUMNS = (("feedback", "true_label", "ground_truth"), ("windows", "figures", "metrics"), ("decisions", "figures", "metrics"))
KEYS = {
    "levels": "feature_groups",
    "unfamiliar_share": "out_of_distribution_share",
    "unfamiliar_alarm": "out_of_distribution_alarm",
    "accuracy_wanted": "accuracy_threshold",
    "imitation": "drift_augmentation",
}
KEY_COLUMNS = {"windows": "window_id", "decisions": "decision_id"}


def upgrade() -> None:
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_keys(KEYS)


def downgrade() -> None:
    _rename_keys({new: old for old, new in KEYS.items()})
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")


def _rename_keys(names: dict[str, str]) -> None:
    connection = op.get_bind()
    for name, key in KEY_COLUMNS.items():
        table = sa.table(name, sa.column(key), sa.column("metrics", sa.JSON))
        for row_id, metrics in connection.execute(sa.select(table.c[key], table.c.metrics)).all():
            values = json.loads(metrics) if isinstance(metrics, str) else metrics
            renamed = {names.get(name, name): value for name, value in values.items()}
            if renamed != values:
                connection.execute(table.update().where(table.c[key] == row_id).values(metrics=renamed))
