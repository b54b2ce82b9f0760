"""What a MEDS data set says of itself: its files, the zone of its times, and the parents of its codes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.site_map import SiteMap

WRITTEN_BY_US = "crsrisk"
METADATA = "MEDS metadata"
LARGEST_METADATA = 1 << 28
"""Bytes; a larger file of metadata is no table of codes."""
ACCEPTED = "a MEDS 0.4 data set: a folder with data/*.parquet, one file, or a folder of them"
BAD_JSON = (
    "BAD_JSON: not readable; accepted: an object as in the MEDS schema of dataset.json; read without it"
)
BAD_CODES = "BAD_RECORD: not readable; accepted: Parquet with code and parent_codes; read without the parents of codes"


@dataclass(frozen=True)
class DatasetFile:
    """One file of rows; name: relative to the data set."""

    name: str
    path: Path


@dataclass(frozen=True)
class Dataset:
    """A MEDS data set.

    zone: of times without one; None when neither the data set nor the site says it.
    own: whether crsrisk wrote it; its column `patient_id` names the patients then.
    parents: codes of other vocabularies that stand for a code, by code.
    """

    name: str
    files: Sequence[DatasetFile]
    zone: ZoneInfo | None
    own: bool
    parents: Mapping[str, Sequence[str]]

    def needed_zone(self) -> ZoneInfo:
        """The zone of times without one.

        Raises:
            CrsRiskError: nobody said it.
        """
        if self.zone is None:
            raise CrsRiskError(
                f"{self.name}: MEDS times carry no zone; accepted: a site map (--map) that states it, with a line "
                'such as time_zone = "Asia/Tokyo" (or "UTC")'
            )
        return self.zone


def open_dataset(source: Path, site: SiteMap, account: Account) -> Dataset:
    """The data set in a folder or file.

    Raises:
        CrsRiskError: there is none, or it states another zone than the site map.
    """
    root, files = _files(source)
    stated = _json(root / "metadata" / "dataset.json", account)
    own = stated.get("etl_name") == WRITTEN_BY_US
    return Dataset(
        name=source.name,
        files=files,
        zone=_zone(stated.get("time_zone"), site, source.name),
        own=own,
        parents=_parents(root / "metadata" / "codes.parquet", account),
    )


def _files(source: Path) -> tuple[Path, Sequence[DatasetFile]]:
    if source.is_file():
        return source.parent, (DatasetFile(source.name, source),)
    inside = source / "data" if (source / "data").is_dir() else source
    found = [
        DatasetFile(file.relative_to(source).as_posix(), file)
        for file in sorted(inside.rglob("*.parquet"))
        if file.is_file() and "metadata" not in file.relative_to(inside).parts
    ]
    if not found:
        came = "no Parquet file in it" if source.is_dir() else "no such folder"
        raise CrsRiskError(f"{source.name}: {came}; accepted: {ACCEPTED}")
    return source, tuple(found)


def _json(file: Path, account: Account) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    account.read(METADATA)
    try:
        if file.stat().st_size > LARGEST_METADATA:
            raise ValueError
        content = json.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        account.quarantine(METADATA, "metadata/dataset.json", BAD_JSON)
        return {}
    account.not_needed(METADATA)
    return content


def _zone(stated: object, site: SiteMap, name: str) -> ZoneInfo | None:
    """The zone that the data set states for its times (a key that crsrisk writes), or that of the site map."""
    if not isinstance(stated, str):
        return site.time_zone
    try:
        zone = ZoneInfo(stated)
    except (ValueError, OSError, KeyError):
        return site.time_zone
    if site.time_zone is not None and site.time_zone.key != zone.key:
        raise CrsRiskError(
            f"{name}: metadata/dataset.json states time_zone {zone.key}, the site map {site.time_zone.key}; "
            "accepted: one; remove time_zone from the site map if the data set is right"
        )
    return zone


def _parents(file: Path, account: Account) -> Mapping[str, Sequence[str]]:
    if not file.is_file():
        return {}
    account.read(METADATA)
    try:
        if file.stat().st_size > LARGEST_METADATA:
            raise pa.ArrowInvalid
        with pq.ParquetFile(file) as parquet:
            if not {"code", "parent_codes"} <= set(parquet.schema_arrow.names):
                account.not_needed(METADATA)
                return {}
            table = parquet.read(["code", "parent_codes"])
    except (pa.ArrowException, OSError):
        account.quarantine(METADATA, "metadata/codes.parquet", BAD_CODES)
        return {}
    account.not_needed(METADATA)
    rows = zip(table["code"].to_pylist(), table["parent_codes"].to_pylist(), strict=True)
    return {
        code: tuple(parent for parent in parents if isinstance(parent, str))
        for code, parents in rows
        if isinstance(code, str) and isinstance(parents, list) and parents
    }
