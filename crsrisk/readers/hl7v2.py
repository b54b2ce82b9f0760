"""Reads HL7 v2 results (ORU, OUL) and administrations (RAS), from files of messages or an SS-MIX2 storage.

From ADT and PPR messages come facts of patients: sex, birth, stays, diseases. Everything else is not needed.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.hl7v2_content import MessageReader
from crsrisk.readers.hl7v2_fields import settings_of
from crsrisk.readers.hl7v2_files import FILE, SourceFile, raw_messages, source_files
from crsrisk.readers.hl7v2_message import MessageError, parse, site_codec
from crsrisk.readers.hl7v2_patients import Patients
from crsrisk.readers.record import Record, batches
from crsrisk.readers.site_map import SiteMap

MESSAGE, LINE, BATCH = "HL7 message", "HL7 line", "HL7 batch segment"
NO_MESSAGE = "BAD_RECORD: no message in the file; accepted: messages that begin with MSH"
UNREADABLE = "BAD_RECORD: the file can't be read; accepted: readable files"
STRAY = "BAD_RECORD: a line that belongs to no message; accepted: segments after MSH"


def read_hl7v2(source: Path | str, site: SiteMap, account: Account) -> Iterator[pa.RecordBatch]:
    """Record batches of HL7 v2 messages.

    Args:
        source: a file or folder of messages, or an SS-MIX2 storage.
        site: time_zone of times without an offset, encoding where MSH-18 is not true, and [hl7v2]; see Settings.
        account: takes one item per file, message and segment that holds content.

    Raises:
        CrsRiskError: no file, no message in any file, or a site map whose [hl7v2] or encoding is wrong.
    """
    yield from batches(_records(Path(source), site, account))


def _records(source: Path, site: SiteMap, account: Account) -> Iterator[Record]:
    settings, encoding = settings_of(site), site_codec(site.encoding)
    patients = Patients(settings)
    reader = MessageReader(site, settings, patients, account)
    found = 0
    for file in source_files(source, account):
        account.read(FILE)
        before = found
        try:
            for record in _file_records(file, reader, encoding, account):
                found += record is None
                if record is not None:
                    yield record
        except OSError:
            account.quarantine(FILE, file.name, UNREADABLE)
            continue
        if found > before:
            account.carry(FILE)
        else:
            account.quarantine(FILE, file.name, NO_MESSAGE)
        if patients.full:
            yield from patients.facts(account)
    yield from patients.facts(account)
    if not found:
        raise CrsRiskError(
            f"{source.name}: no HL7 v2 message in it; accepted: messages that begin with MSH|^~\\&|"
        )


def _file_records(
    file: SourceFile, reader: MessageReader, encoding: str, account: Account
) -> Iterator[Record | None]:
    """Records of one file; None for each message, whatever became of it."""
    number = 0
    for raw in raw_messages(file.path):
        if raw.batch:
            account.read(BATCH, raw.batch)
            account.not_needed(BATCH, raw.batch)
        for _ in range(raw.stray):
            account.read(LINE)
            account.quarantine(LINE, f"{file.name} before message {number + 1}", STRAY)
        if not raw.lines and not raw.too_long:
            continue
        number += 1
        yield None
        where = f"{file.name} message {number}"
        account.read(MESSAGE)
        try:
            message = parse(raw, encoding)
        except MessageError as error:
            account.quarantine(MESSAGE, where, error.reason)
            continue
        for _ in range(message.strays):
            account.read(LINE)
            account.quarantine(LINE, where, STRAY)
        yield from reader.records(message, where, file.stored)
