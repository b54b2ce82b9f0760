"""A throw-away PostgreSQL server on a local socket, started by an unprivileged user as PostgreSQL wants it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = ("/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt")
USER = "postgres"
SETTINGS = "-c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c listen_addresses=''"


def _programs() -> Path:
    """The folder of initdb and pg_ctl of the newest installed version."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    found = [file.parent for place in PLACES for file in Path(place).glob("*/bin/initdb")]
    if not found:
        pytest.fail(
            "no PostgreSQL: initdb is not installed; run `sh tools/install_postgres.sh`", pytrace=False
        )
    return max(found, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of an empty database; an error, not a skip, where no PostgreSQL is installed."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="crsrisk-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, USER)
        as_user = ["runuser", "-u", USER, "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(folder / "data"), *arguments]
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/", timeout=120)

    try:
        run("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"{SETTINGS} -k {folder}", "start")
        try:
            yield f"postgresql+psycopg://{USER}@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)
