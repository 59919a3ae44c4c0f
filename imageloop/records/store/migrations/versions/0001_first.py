"""Predictions, feedback, how far each file was read, windows and decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_records()
    _create_monitoring()


def _create_records() -> None:
    op.create_table(
        "predictions",
        sa.Column("request_id", sa.String(40), primary_key=True, comment="minted by the server for each answer"),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("caller_id", sa.String(64)),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(40), nullable=False),
        sa.Column("predictor", sa.String(80), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("format", sa.String(20)),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("probabilities", sa.JSON, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("source", sa.String(80), nullable=False),
        sa.Column("statistics", sa.JSON),
        sa.Column("embedding", sa.LargeBinary, comment="float16"),
        sa.Column("novelty", sa.Double),
        sa.Column("in_distribution", sa.Boolean),
    )
    op.create_index("predictions_by_time", "predictions", ["model_name", "time"])
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.String(64), primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("request_id", sa.String(40), nullable=False),
        sa.Column("true_label", sa.String(200), nullable=False),
        sa.Column("source", sa.String(80), nullable=False),
    )
    op.create_index("ix_feedback_request_id", "feedback", ["request_id"])
    op.create_table(
        "positions",
        sa.Column("file", sa.String(500), primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False, comment="bytes of the file that are in this database"),
    )


def _create_monitoring() -> None:
    op.create_table(
        "windows",
        sa.Column("window_id", sa.String(80), primary_key=True),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(40), nullable=False),
        sa.Column("start", sa.Double, nullable=False),
        sa.Column("end", sa.Double, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
    )
    op.create_index("windows_by_time", "windows", ["model_name", "end"])
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(40), primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.Column("outcome", sa.Text, comment="what came of it; null while it is being carried out"),
    )
    op.create_index("decisions_by_time", "decisions", ["model_name", "time"])


def downgrade() -> None:
    for table in ("decisions", "windows", "positions", "feedback", "predictions"):
        op.drop_table(table)
