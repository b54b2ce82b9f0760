"""What `crsrisk doctor` looks at: versions, shadowed packages, settings and the registry."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import crsrisk
from crsrisk.settings import Settings

PACKAGES = ("crsrisk", "features", "training", "serving")
LIBRARIES = ("numpy", "pandas", "lightgbm", "scikit-learn", "shap", "mlflow", "fastapi", "pydantic")


def findings(settings: Settings) -> list[dict[str, Any]]:
    """One dict per finding: what was looked at, what was found, and whether it is in order."""
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        _finding("Python", python, ok=sys.version_info >= (3, 11)),
        *[_library(name) for name in LIBRARIES],
        *[_package(name) for name in PACKAGES],
        *[_finding(f"setting {n}", f"{getattr(settings, n)} (from {o})") for n, o in settings.origin.items()],
        _writable(settings.data_dir),
    ]


def _finding(what: str, found: str, *, ok: bool = True) -> dict[str, Any]:
    return {"what": what, "found": found, "ok": ok}


def _library(name: str) -> dict[str, Any]:
    try:
        return _finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _finding(name, "not installed; run: make install", ok=False)


def _package(name: str) -> dict[str, Any]:
    """Whether the import package is ours: another distribution may bring one of the same name."""
    module = importlib.import_module(name)
    home = Path(crsrisk.__file__).resolve().parent.parent
    here = Path(str(module.__file__)).resolve().parent.parent
    version = getattr(module, "__version__", "none")
    if here != home or version != crsrisk.__version__:
        return _finding(
            f"package {name}",
            f"version {version}, not from the place of crsrisk {crsrisk.__version__}: another copy shadows ours; "
            "start crsrisk with PYTHONSAFEPATH=1 or remove the other package",
            ok=False,
        )
    return _finding(f"package {name}", f"version {version}")


def _writable(folder: Path) -> dict[str, Any]:
    nearest = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    try:
        probe = nearest / ".crsrisk-doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return _finding("data folder", f"can't be written ({error.strerror}); set CRSRISK_DATA_DIR", ok=False)
    return _finding("data folder", f"{folder} can be written")
