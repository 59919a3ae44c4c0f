"""The tables of records, windows and decisions. Times are Unix seconds."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
ACCEPTED, REJECTED = "accepted", "rejected"  # reviews of labels

predictions = Table(
    "predictions",
    metadata,
    Column("request_id", String(40), primary_key=True, comment="minted by the server for each prediction"),
    Column("time", Double, nullable=False),
    Column("caller_id", String(64)),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(40), nullable=False),
    Column("predictor", String(80), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", String(20)),
    Column("label", String(200), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("probabilities", JSON, nullable=False),
    Column("latency_ms", Double, nullable=False),
    Column("source", String(80), nullable=False),
    Column("statistics", JSON),
    Column("embedding", LargeBinary, comment="float16"),
    Column("novelty", Double),
    Column("in_distribution", Boolean),
    Index("predictions_by_time", "model_name", "time"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", String(64), primary_key=True),
    Column("time", Double, nullable=False),
    Column("request_id", String(40), nullable=False, index=True),
    Column("ground_truth", String(200), nullable=False),
    Column("source", String(80), nullable=False),
    Column("review", String(10), comment="what a user decided: accepted or rejected; null for most"),
)

positions = Table(
    "positions",
    metadata,
    Column("file", String(500), primary_key=True),
    Column("end", BigInteger, nullable=False, comment="bytes of the file that are in this database"),
)

windows = Table(
    "windows",
    metadata,
    Column("window_id", String(80), primary_key=True),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(40), nullable=False),
    Column("start", Double, nullable=False),
    Column("end", Double, nullable=False),
    Column("metrics", JSON, nullable=False),
    Index("windows_by_time", "model_name", "end"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", String(40), primary_key=True),
    Column("time", Double, nullable=False),
    Column("model_name", String(200), nullable=False),
    Column("action", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("outcome", Text, comment="null while the decision is being carried out"),
    Index("decisions_by_time", "model_name", "time"),
)
