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
PART = r"^((?:Observation|Patient)/[^#]+)#"
"""Identities of parts of a FHIR resource: the resource, `#` and the code of a component or the name of a fact."""
MEANT = ("codes", "start_us", "end_us", "value", "unit", "comparator", "rate", "rate_unit")
"""What a statement says; a version that changes none of it is the same statement again."""
CONTENT = tuple(name for name in Record._fields if name not in ("position", "revised_us", "revision"))
_RANK = {"preliminary": 0, "final": 1, "withdrawn": 2}


def settle(records: pd.DataFrame, account: Account) -> pd.DataFrame:
    """The records that count, in an order that depends on their content alone.

    A version that changed what was said is known from its revision on: the value before it is gone, and the new one
    must not be used earlier. Of versions without a revision the later status counts (withdrawn, final,
    preliminary); of equal status and other content none does.

    Args:
        records: columns of `Record`, all records of the patients in it.
        account: takes the fates `duplicate`, `superseded`, `withdrawn` and the quarantined conflicts.
    """
    identity = records["identity"].to_numpy(dtype=object)
    content = _hash(records, CONTENT)
    statement = np.where(identity == "", content, _hash(records, ("patient_id", "identity")))
    named = identity != ""
    revised = np.where(named, records["revised_us"].to_numpy(), 0)
    revision = np.where(named, records["revision"].to_numpy(), 0)
    rank = records["status"].map(_RANK).to_numpy(dtype=np.int64)
    order = np.lexsort((content, rank, revision, revised, named, statement))
    keys = [values[order] for values in (statement, named, revised, revision, rank, content)]
    same = [_same_as_before(key) for key in keys]
    statement_again = same[0] & same[1]
    again = statement_again & same[2] & same[3] & same[5]
    account.fate("duplicate", int(again.sum()))
    order, keys = order[~again], [key[~again] for key in keys]
    last = np.ones(order.size, dtype=np.bool_)
    last[:-1] = ~(_same_as_before(keys[0]) & _same_as_before(keys[1]))[1:]
    winner_of: NDArray[np.int64] = np.cumsum(last) - last  # place of the winner of each record's statement
    winners = np.flatnonzero(last)
    tied = np.logical_and.reduce([key == key[winners][winner_of] for key in keys[:5]])
    conflicting = (np.bincount(winner_of[tied], minlength=winners.size) > 1)[winner_of] & tied
    contradict = records.take(order[conflicting])
    for position, patient in zip(
        contradict["position"].tolist(), contradict["patient_id"].tolist(), strict=True
    ):
        account.quarantine_record(position, patient, CONFLICT)
    withdrawn = last & (rank[order] == _RANK["withdrawn"]) & ~conflicting
    account.fate("withdrawn", int(withdrawn.sum()))
    account.fate("superseded", int((~last & ~conflicting).sum()))
    kept = records.take(order[last & ~conflicting & ~withdrawn])
    changed = _changed(_hash(records, MEANT)[order], winner_of, winners)
    kept = _known_from_revision(kept, changed[(~conflicting & ~withdrawn)[last]])
    return _of_whole_records(kept, records.take(order[withdrawn]), account).reset_index(drop=True)


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


def _changed(
    meant: NDArray[np.uint64], winner_of: NDArray[np.int64], winners: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Per statement whether an older version said something else."""
    other = meant != meant[winners][winner_of]
    return np.bincount(winner_of[other], minlength=winners.size) > 0


def _known_from_revision(kept: pd.DataFrame, changed: NDArray[np.bool_]) -> pd.DataFrame:
    revised = np.where(changed, kept["revised_us"].to_numpy(), NOT_A_TIME)
    return kept.assign(known_us=np.maximum(kept["known_us"].to_numpy(), revised))


def _hash(records: pd.DataFrame, columns: tuple[str, ...]) -> NDArray[np.uint64]:
    return pd.util.hash_pandas_object(records[list(columns)], index=False).to_numpy().astype(np.uint64)


def _same_as_before(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    same = np.zeros(values.size, dtype=np.bool_)
    same[1:] = values[1:] == values[:-1]
    return same
