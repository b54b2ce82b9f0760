"""Our store of champions and their ledger: SQLite or PostgreSQL by address, the same statements on both.

A decision is one transaction: the champion changes only where it is still the one that was judged
(compare-and-set), and the ledger's entry is written with it. So a process killed at any moment leaves the old
champion with the old ledger or the new champion with the new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from crsrisk.errors import ModelError, PromotionConflictError
from training.champion_ledger import START, Action, Champion, Entry, broken, canonical, stamp

CONTRACT = "1"  # of the tables; a program refuses a newer one
BUSY_SECONDS = 30  # how long SQLite waits for another process
Result = TypeVar("Result")
ATTEMPTS = 50  # of a transaction that lost a race for a sequence number
_METADATA = MetaData()
CHAMPIONS = Table(
    "champions",
    _METADATA,
    Column("name", String(200), primary_key=True),
    Column("version", String(50), nullable=False),
    Column("digest", String(100), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
)
LEDGER = Table(
    "champion_ledger",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("time", String(40), nullable=False),
    Column("who", String(200), nullable=False),
    Column("action", String(20), nullable=False),
    Column("name", String(200), nullable=False),
    Column("version", String(50), nullable=False),
    Column("digest", String(100), nullable=False),
    Column("feature_digest", String(100), nullable=False),
    Column("previous", String(50), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
FACTS = Table(
    "champion_facts",
    _METADATA,
    Column("name", String(50), primary_key=True),
    Column("value", Text, nullable=False),
)
# An entry is never changed or removed, not even by another program.
APPEND_ONLY: Mapping[str, tuple[str, ...]] = {
    "sqlite": tuple(
        f"CREATE TRIGGER champion_ledger_no_{act} BEFORE {act} ON champion_ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for act in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE FUNCTION champion_ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER champion_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON champion_ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION champion_ledger_append_only()",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be written: an entry without the parts that the store adds."""

    who: str
    action: Action
    name: str
    version: str
    digest: str
    feature_digest: str
    reason: str
    evidence: Mapping[str, Any]


class ChampionStore:
    """Champions, their ledger and the key of the pseudonyms at one database address.

    Args:
        url: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.

    Raises:
        ModelError: the address is none, or the database can't be reached or was written by a newer release.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        with _answering():
            self._prepare()

    def champion(self, name: str) -> Champion | None:
        """Who answers for a registered name; None when nobody does."""
        return self.champions().get(name)

    def champions(self) -> dict[str, Champion]:
        """Every champion by registered name."""
        with _answering(), self._engine.connect() as connection:
            return {row.name: Champion(**row._mapping) for row in connection.execute(select(CHAMPIONS))}

    def entries(self, name: str | None = None) -> list[Entry]:
        """The ledger, oldest first; of one registered name, or all."""
        asked = select(LEDGER).order_by(LEDGER.c.sequence)
        if name is not None:
            asked = asked.where(LEDGER.c.name == name)
        with _answering(), self._engine.connect() as connection:
            return [Entry(**row._mapping) for row in connection.execute(asked)]

    def problems(self) -> list[str]:
        """What is wrong with chain or champions, in sentences; both are read as of one moment."""
        with _answering(), self._snapshot() as connection:
            entries = [
                Entry(**row._mapping)
                for row in connection.execute(select(LEDGER).order_by(LEDGER.c.sequence))
            ]
            found = {row.name: Champion(**row._mapping) for row in connection.execute(select(CHAMPIONS))}
        return broken(entries, found)

    def pseudonym_key(self) -> bytes:
        """Secret with which ids of patients and courses become pseudonyms; it never leaves this store."""
        with _answering(), self._engine.connect() as connection:
            return bytes.fromhex(_fact(connection, "pseudonym_key"))

    def note(self, decision: Decision) -> Entry:
        """Write a decision that changes no champion.

        Raises:
            ModelError: the store can't be written.
        """
        return self._transaction(lambda connection: _written(connection, decision, None, changing=False))

    def change(self, decision: Decision, expected: Champion | None) -> Entry:
        """Make the decision's version the champion, where the champion is still the expected one.

        Raises:
            PromotionConflictError: it is another one by now; nothing was written.
            ModelError: the store can't be written.
        """
        return self._transaction(lambda connection: _written(connection, decision, expected, changing=True))

    def adopt(self, decisions: Sequence[Decision]) -> list[Entry]:
        """Take over the champions of a registry from before the ledger, all or none.

        Raises:
            PromotionConflictError: the ledger has entries already; nothing was written.
            ModelError: the store can't be written.
        """

        def adopted(connection: Connection) -> list[Entry]:
            if connection.execute(select(LEDGER.c.sequence).limit(1)).one_or_none() is not None:
                raise PromotionConflictError("the ledger has entries already; nothing was adopted")
            return [_written(connection, decision, None, changing=True) for decision in decisions]

        return self._transaction(adopted)

    def _transaction(self, write: Callable[[Connection], Result]) -> Result:
        """What `write` does, all or nothing; again when another process came first."""
        with _answering():
            for _ in range(ATTEMPTS):
                try:
                    with self._writing() as connection:
                        return write(connection)
                except IntegrityError:  # another process took the number or the first place: look again
                    continue
        raise ModelError("the store of champions is too busy to be written; try again")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other writer of SQLite can enter."""
        with self._engine.execution_options(immediate=True).begin() as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """A transaction in which every statement sees the same moment, as any of SQLite does by itself."""
        engine = self._engine
        if engine.dialect.name != "sqlite":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.begin() as connection:
            yield connection

    def _prepare(self) -> None:
        """Tables, triggers and key, all in one transaction, where they are not there yet."""
        for attempt in range(ATTEMPTS):
            try:
                with self._writing() as connection:
                    if not inspect(connection).has_table(FACTS.name):
                        _create(connection)
                    contract = _fact(connection, "contract")
                break
            except (IntegrityError, OperationalError, ProgrammingError) as error:
                if not _came_second(error) or attempt == ATTEMPTS - 1:
                    raise
        if int(contract) > int(CONTRACT):
            raise ModelError(
                f"the store of champions has contract {contract}; this program reads up to {CONTRACT}; update crsrisk"
            )


def _written(
    connection: Connection, decision: Decision, expected: Champion | None, *, changing: bool
) -> Entry:
    last = connection.execute(select(LEDGER).order_by(LEDGER.c.sequence.desc()).limit(1)).one_or_none()
    now = connection.execute(select(CHAMPIONS).where(CHAMPIONS.c.name == decision.name)).one_or_none()
    entry = _entry(decision, last, "" if now is None else str(now.version))
    if changing:
        _compare_and_set(connection, entry, expected, there=now is not None)
    connection.execute(insert(LEDGER).values(asdict(entry)))
    return entry


def _entry(decision: Decision, last: Row[Any] | None, previous: str) -> Entry:
    now = stamp(datetime.now(UTC))
    return Entry(
        sequence=1 if last is None else last.sequence + 1,
        time=now if last is None else max(now, last.time),  # a clock set back must not reorder the ledger
        who=decision.who,
        action=decision.action,
        name=decision.name,
        version=decision.version,
        digest=decision.digest,
        feature_digest=decision.feature_digest,
        previous=previous,
        reason=decision.reason,
        evidence=canonical(decision.evidence),
        prev_hash=START if last is None else last.hash,
    ).sealed()


def _compare_and_set(connection: Connection, entry: Entry, expected: Champion | None, *, there: bool) -> None:
    new = {"version": entry.version, "digest": entry.digest, "sequence": entry.sequence}
    if expected is None and not there:
        connection.execute(insert(CHAMPIONS).values(name=entry.name, revision=1, **new))
        return
    changed = 0
    if expected is not None:
        asked = (
            update(CHAMPIONS)
            .where(CHAMPIONS.c.name == entry.name, CHAMPIONS.c.revision == expected.revision)
            .values(revision=expected.revision + 1, **new)
        )
        changed = connection.execute(asked).rowcount
    if changed != 1:
        was = "no champion" if expected is None else f"version {expected.version}"
        raise PromotionConflictError(
            f"{entry.name}: version {entry.version} was compared with {was}, but another decision came between "
            f"and version {entry.previous or 'none'} is champion now; nothing was changed; look at it and try again"
        )


def _create(connection: Connection) -> None:
    _METADATA.create_all(connection, checkfirst=False)
    for statement in APPEND_ONLY[connection.dialect.name]:
        connection.execute(text(statement))
    facts = {"contract": CONTRACT, "pseudonym_key": secrets.token_hex(32)}
    connection.execute(insert(FACTS), [{"name": name, "value": value} for name, value in facts.items()])


def _fact(connection: Connection, name: str) -> str:
    return str(connection.execute(select(FACTS.c.value).where(FACTS.c.name == name)).scalar_one())


def _came_second(error: SQLAlchemyError) -> bool:
    """Whether another process was making the same tables at the same time."""
    said = str(getattr(error, "orig", error))
    return any(word in said for word in ("already exists", "locked", "pg_type_typname", "pg_class_relname"))


@contextmanager
def _answering() -> Iterator[None]:
    """The database's errors as ours, without its address, which may hold a password."""
    try:
        yield
    except SQLAlchemyError as error:
        raise ModelError(
            f"the store of champions can't be used ({type(error).__name__}); check the setting store_url, that its "
            "server or file can be reached and that it may be written"
        ) from error


def _engine(url: str) -> Engine:
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(address)
    try:
        return create_engine(address, poolclass=NullPool)
    except ImportError as error:
        raise ModelError(f"the store needs the driver {error.name!r}; install crsrisk[postgres]") from error


def _address(url: str) -> URL:
    accepted = "accepted: sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    try:
        address = make_url(url)
    except SQLAlchemyError:
        raise ModelError(f"the setting store_url is no database address; {accepted}") from None
    if address.get_backend_name() not in APPEND_ONLY or not address.database:
        raise ModelError(f"the setting store_url names {address.get_backend_name()!r}; {accepted}")
    return address


def _sqlite(address: URL) -> Engine:
    """An engine whose transactions begin when it says so; SQLite's driver would begin them late.

    The file is readable by its owner alone, since it holds the key of the pseudonyms.
    """
    path = Path(str(address.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise ModelError(
            f"the store of champions can't be written ({error.strerror}); check the setting store_url"
        ) from None
    engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # what was told to be done survives a power cut

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
