"""Which version of each statement counts, whatever the order in which they arrived.

Records with an identity are versions of one statement: the newest counts, a withdrawn one removes all. Records without
one count once however often they were delivered. What arrives first never matters.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.readers.account import Account
from crsrisk.readers.record import Record
from crsrisk.times import NOT_A_TIME

CONFLICT = (
    "CONFLICT: versions of one record that differ and do not say which is newer; accepted: versions with a time or "
    "number of revision"
)
CHANGED_UNKNOWN_WHEN = (
    "CHANGED_UNKNOWN_WHEN: a correction that does not say when it was made, so that nobody can tell from when on it "
    "was known; accepted: a time of the revision or of the report"
)
PART = r"^((?:Observation|Patient)/[^#]+)#"
"""Identities of parts of a FHIR resource: the resource, `#` and the code of a component or the name of a fact."""
MEANT = ("codes", "start_us", "end_us", "value", "unit", "comparator", "rate", "rate_unit")
"""What a statement says; a version that changes none of it is the same statement again."""
CONTENT = tuple(name for name in Record._fields if name not in ("position", "revised_us", "revision"))
_RANK = {"preliminary": 0, "final": 1, "withdrawn": 2}


def settle(records: pd.DataFrame, account: Account) -> pd.DataFrame:
    """The records that count, in an order that depends on their content alone.

    A version that changed what was said is known from its revision on: the value before it is gone, and the new one
    must not be used earlier; when neither a revision nor a report tells when, it is set aside. A version that says the
    same again is known from the first report on. Of versions without a revision the later status counts (withdrawn,
    final, preliminary), and a withdrawal without one counts in any case; of equal status and other content none does.

    Args:
        records: columns of `Record`, all records of the patients in it.
        account: takes the fates `duplicate`, `superseded`, `withdrawn` and what is set aside.
    """
    named = (records["identity"] != "").to_numpy()
    content, meant = _hash(records, CONTENT), _hash(records, MEANT)
    statement = np.where(named, _hash(records, ("patient_id", "identity")), content)
    rank: NDArray[np.int64] = np.asarray(records["status"].map(_RANK), dtype=np.int64)
    revised, revision = _version(records, named, rank)
    order = np.lexsort((content, rank, revision, revised, named, statement))
    keys = [values[order] for values in (statement, named, revised, revision, rank, content)]
    same = [_same_as_before(key) for key in keys]
    again = same[0] & same[1] & same[2] & same[3] & same[5]
    account.fate("duplicate", int(again.sum()))
    order, keys = order[~again], [key[~again] for key in keys]
    last = np.ones(order.size, dtype=np.bool_)
    last[:-1] = ~(_same_as_before(keys[0]) & _same_as_before(keys[1]))[1:]
    winner_of: NDArray[np.int64] = np.cumsum(last) - last  # place of the winner of each record's statement
    winners = np.flatnonzero(last)
    tied = np.logical_and.reduce([key == key[winners][winner_of] for key in keys[:5]])
    other = meant[order] != meant[order][winners][winner_of]
    conflicting = (np.bincount(winner_of[tied & other], minlength=winners.size) > 0)[winner_of] & tied
    changed = np.bincount(winner_of[other], minlength=winners.size) > 0
    known = _known(records, order, winner_of, winners, changed)
    untold = last & changed[winner_of] & (known == NOT_A_TIME)[winner_of] & (keys[4] != _RANK["withdrawn"])
    untold &= ~conflicting
    _set_aside(records.take(order[conflicting]), CONFLICT, account)
    _set_aside(records.take(order[untold]), CHANGED_UNKNOWN_WHEN, account)
    withdrawn = last & (keys[4] == _RANK["withdrawn"]) & ~conflicting
    kept = last & ~conflicting & ~withdrawn & ~untold
    account.fate("withdrawn", int(withdrawn.sum()))
    account.fate("superseded", int((~last & ~conflicting).sum()))
    settled = records.take(order[kept]).assign(known_us=known[winner_of[kept]])
    return _of_whole_records(settled, records.take(order[withdrawn]), account).reset_index(drop=True)


def _version(
    records: pd.DataFrame, named: NDArray[np.bool_], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Time and number of the revision of each record; a withdrawal without either is the last word."""
    revised = np.where(named, records["revised_us"].to_numpy(dtype=np.int64), 0)
    revision = np.where(named, records["revision"].to_numpy(dtype=np.int64), 0)
    last_word = named & (rank == _RANK["withdrawn"]) & (revised == NOT_A_TIME) & (revision == 0)
    return np.where(last_word, np.iinfo(np.int64).max, revised), revision


def _known(
    records: pd.DataFrame,
    order: NDArray[np.int64],
    winner_of: NDArray[np.int64],
    winners: NDArray[np.int64],
    changed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """When each statement was known: since its first report, or, after a change, since the latest revision.

    NOT_A_TIME when nothing tells it.
    """
    told = records["known_us"].to_numpy()[order]
    first = np.full(winners.size, np.iinfo(np.int64).max)
    np.minimum.at(first, winner_of[told != NOT_A_TIME], told[told != NOT_A_TIME])
    first = np.where(first == np.iinfo(np.int64).max, NOT_A_TIME, first)
    revised = records["revised_us"].to_numpy()[order][winners]
    after: NDArray[np.int64] = np.where(changed, np.maximum(told[winners], revised), first)
    return after


def _set_aside(records: pd.DataFrame, reason: str, account: Account) -> None:
    for position, patient in zip(records["position"].tolist(), records["patient_id"].tolist(), strict=True):
        account.quarantine_record(position, patient, reason)


def _of_whole_records(kept: pd.DataFrame, withdrawn: pd.DataFrame, account: Account) -> pd.DataFrame:
    """Parts (`Observation/1#8480-6`) that the newest version of their whole record still has.

    A whole record that was withdrawn takes its parts with it; a part that a newer version of the record left out is
    superseded.
    """
    whole = kept["identity"].str.extract(PART, expand=False)
    parts = kept[whole.notna()]
    whole = whole.dropna()
    if parts.empty:
        return kept
    gone = withdrawn[["patient_id", "identity"]].drop_duplicates()
    named = pd.MultiIndex.from_arrays([parts["patient_id"], whole])
    taken_back = named.isin(pd.MultiIndex.from_frame(gone))
    version = pd.Series(list(zip(parts["revised_us"], parts["revision"], strict=True)), index=parts.index)
    newest = version.groupby([parts["patient_id"], whole]).transform("max")
    left_out = (version != newest).to_numpy() & ~taken_back
    account.fate("withdrawn", int(taken_back.sum()))
    account.fate("superseded", int(left_out.sum()))
    return kept.drop(index=parts.index[taken_back | left_out])


def _hash(records: pd.DataFrame, columns: tuple[str, ...]) -> NDArray[np.uint64]:
    return pd.util.hash_pandas_object(records[list(columns)], index=False).to_numpy().astype(np.uint64)


def _same_as_before(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    same = np.zeros(values.size, dtype=np.bool_)
    same[1:] = values[1:] == values[:-1]
    return same
