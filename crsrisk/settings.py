"""Effective settings and where each came from: defaults, then `crsrisk.toml`, then `CRSRISK_*` variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from crsrisk.errors import CrsRiskError

PREFIX = "CRSRISK_"
FILE = "crsrisk.toml"
DEFAULTS: Mapping[str, str] = {
    "data_dir": "crsrisk_data",
    "tracking_uri": "",  # empty: SQLite under data_dir
    "store_url": "",  # empty: SQLite under data_dir
    "user": "",  # empty: the account that runs the program
    "host": "127.0.0.1",
    "port": "8000",
    "language": "en",
}
MEANINGS: Mapping[str, str] = {
    "data_dir": "folder for the local MLflow database, its artefacts and the demo",
    "tracking_uri": "MLflow tracking and registry address; empty means SQLite under data_dir",
    "store_url": "SQLAlchemy address of the store of champions; empty means SQLite under data_dir",
    "user": "who promotes and rolls back, as the ledger records it; empty means the account of the system",
    "host": "address the service listens on",
    "port": "port the service listens on",
    "language": "language of the pages when a request names none: en or ja",
}
Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Settings:
    """What the verbs run with; `origin` tells for each name where its value came from."""

    data_dir: Path
    tracking_uri: str
    store_url: str
    user: str
    host: str
    port: int
    language: Language
    origin: Mapping[str, str]


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Settings of this run.

    Args:
        environ: environment variables, the process's own by default.
        folder: where `crsrisk.toml` is looked for, the working directory by default.

    Raises:
        CrsRiskError: an unknown name, a file that is no TOML, a port that is no number, an unknown language.

    >>> load_settings({"CRSRISK_PORT": "9000"}, Path("/nonexistent")).port
    9000
    """
    environ = os.environ if environ is None else environ
    values = dict(DEFAULTS)
    origin = dict.fromkeys(DEFAULTS, "default")
    path = (folder or Path.cwd()) / FILE
    for name, value in _read_file(path).items():
        _known(name, FILE)
        values[name], origin[name] = str(value), FILE
    for variable, value in environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            _known(name, variable)
            values[name], origin[name] = value, variable
    if not values["port"].isdigit() or not 0 < int(values["port"]) < 65536:
        raise CrsRiskError(f"port from {origin['port']} is {values['port']!r}; give a number from 1 to 65535")
    if values["language"] not in LANGUAGES:
        raise CrsRiskError(
            f"language from {origin['language']} is {values['language']!r}; accepted: {list(LANGUAGES)}"
        )
    data_dir = Path(values["data_dir"])
    return Settings(
        data_dir=data_dir,
        tracking_uri=values["tracking_uri"] or f"sqlite:///{(data_dir / 'mlflow.db').resolve()}",
        store_url=values["store_url"] or f"sqlite:///{(data_dir / 'store.db').resolve()}",
        user=values["user"],
        host=values["host"],
        port=int(values["port"]),
        language=values["language"],
        origin=origin,
    )


def _read_file(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CrsRiskError(f"{path.name} can't be read as TOML ({error}); mend or remove it") from None


def _known(name: str, where: str) -> None:
    if name not in DEFAULTS:
        accepted = [PREFIX + n.upper() for n in DEFAULTS]
        raise CrsRiskError(
            f"{where}: no setting {name!r}; accepted: {sorted(DEFAULTS)} or variables {accepted}"
        )
