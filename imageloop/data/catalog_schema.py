"""The schema of the catalog, checked at every step boundary: no file is dropped silently."""

import hashlib
from collections.abc import Callable

import pandas as pd
import pandera.pandas as pa

from imageloop.errors import ImageLoopError

SPLITS = ("train", "validation", "test")
HASHED_COLUMNS = ["path", "label", "sha256", "group", "split", "status", "reason"]  # not added_at: same data, same hash

_COLUMNS = {
    "path": pa.Column(str, unique=True),
    "label": pa.Column(str),
    "width": pa.Column(int, pa.Check.ge(0)),
    "height": pa.Column(int, pa.Check.ge(0)),
    "size_bytes": pa.Column(int, pa.Check.ge(0)),
    "format": pa.Column(str),
    "sha256": pa.Column(str, pa.Check.str_matches(r"^([0-9a-f]{64})?$")),
    "perceptual_hash": pa.Column(str, pa.Check.str_matches(r"^([0-9a-f]{16})?$")),
    "group": pa.Column(str),
    "split": pa.Column(str, pa.Check.isin(["", *SPLITS])),
    "status": pa.Column(str, pa.Check.isin(["accepted", "quarantined"])),
    "reason": pa.Column(str),
    "source": pa.Column(str),
    "added_at": pa.Column("datetime64[ns, UTC]"),
}


def _rule(name: str, holds: Callable[[pd.DataFrame], "pd.Series[bool] | bool"]) -> pa.Check:
    return pa.Check(holds, name=name, error=name)


def _is_accepted(table: pd.DataFrame) -> "pd.Series[bool]":
    return table["status"] == "accepted"


_RULES = [
    _rule("a reason where quarantined, none elsewhere", lambda table: _is_accepted(table) == (table["reason"] == "")),
    _rule("no split where quarantined", lambda table: _is_accepted(table) | (table["split"] == "")),
    _rule(
        "hash, group and size where accepted",
        lambda table: ~_is_accepted(table) | ((table["sha256"] != "") & (table["group"] != "") & (table["width"] > 0)),
    ),
]
_SPLIT_RULES = [
    _rule("a split where accepted", lambda table: ~_is_accepted(table) | (table["split"] != "")),
    _rule("no group in two splits", lambda table: bool(accepted(table).groupby("group")["split"].nunique().le(1).all())),
]

CATALOG = pa.DataFrameSchema(_COLUMNS, checks=_RULES, strict=True, ordered=True)
SPLIT_CATALOG = pa.DataFrameSchema(_COLUMNS, checks=_RULES + _SPLIT_RULES, strict=True, ordered=True)


class CatalogError(ImageLoopError):
    """A catalog that breaks its contract."""


def check_catalog(catalog: pd.DataFrame, schema: pa.DataFrameSchema = CATALOG) -> pd.DataFrame:
    """Check a catalog against the schema and return it unchanged.

    Raises: CatalogError that names each broken rule with an example.
    """
    try:
        return schema.validate(catalog, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.drop_duplicates(["column", "check"]).head(5)
        found = "; ".join(f"{row.column or 'table'}: {row.check} (found {row.failure_case!r})" for row in cases.itertuples())
        raise CatalogError(f"the catalog violates its schema: {found}") from errors


def accepted(catalog: pd.DataFrame) -> pd.DataFrame:
    """The rows of accepted images."""
    return catalog[catalog["status"] == "accepted"]


def classes_of(catalog: pd.DataFrame) -> list[str]:
    """The names of the classes, sorted: their order is that of the model's outputs."""
    return sorted(accepted(catalog)["label"].unique())


def content_hash(catalog: pd.DataFrame) -> str:
    """The data version: the same for the same images, labels and splits, whenever and wherever they were read."""
    rows = catalog.sort_values("path")[HASHED_COLUMNS]
    digest = hashlib.sha256()
    for row in rows.itertuples(index=False):
        digest.update("\0".join(row).encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:12]
