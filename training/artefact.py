"""A risk model on disk: text and JSON files under a manifest with the SHA-256 of each; nothing is executed.

manifest.json       contract, files {name: sha256}, digest of the whole
model.json          everything but the trees
booster.txt         LightGBM text (absent when the model is the offset alone)
bootstrap/NN.txt    LightGBM text of the refits behind the interval
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crsrisk.errors import ModelError
from training.applicability import Applicability, Known
from training.model import Calibration, IntervalSpec, RiskModel
from training.offset import Within, offset_from_json, offset_to_json
from training.pooling import Levels, TherapyShift

CONTRACT = 1
MANIFEST, MODEL, BOOSTER = "manifest.json", "model.json", "booster.txt"


def save_model(model: RiskModel, folder: str | Path) -> dict[str, Any]:
    """Write a model into an empty or absent folder; returns the manifest.

    Raises:
        ModelError: the folder holds files already.
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} is not empty; name a new folder")
    texts = {MODEL: _model_json(model)}
    if model.booster_text is not None:
        texts[BOOSTER] = model.booster_text
    texts |= {f"bootstrap/{k:02d}.txt": text for k, text in enumerate(model.bootstrap_texts)}
    hashes = {}
    for name, text in texts.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = text.encode("utf-8")
        path.write_bytes(encoded)
        hashes[name] = hashlib.sha256(encoded).hexdigest()
    manifest = {"contract": CONTRACT, "files": dict(sorted(hashes.items())), "digest": _digest(hashes)}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def load_model(folder: str | Path, *, feature_digest: str | None = None) -> RiskModel:
    """Read a model and check every file against the manifest.

    Args:
        folder: where `save_model` wrote.
        feature_digest: digest that this program's features must have; None: that of `features.registry`.

    Raises:
        ModelError: a file is absent, added or altered, the contract is newer, or the features differ.
    """
    source = Path(folder)
    manifest = read_manifest(source)
    texts = {name: _checked(source, name, digest) for name, digest in manifest["files"].items()}
    if MODEL not in texts:
        raise ModelError(f"{MANIFEST} names no {MODEL}; the model is incomplete, load another version")
    model = _model(json.loads(texts[MODEL]), texts)
    expected = feature_digest if feature_digest is not None else _registry_digest()
    if model.feature_digest != expected:
        raise ModelError(
            f"the model was made for feature set {model.feature_digest[:23]}, this program computes "
            f"{expected[:23]}; retrain the model or serve it with the release that made it"
        )
    return model


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a model folder, with contract and digest checked."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        contract, files, digest = manifest["contract"], manifest["files"], manifest["digest"]
    except FileNotFoundError:
        raise ModelError(f"no {MANIFEST} in {path.parent.name!r}; name the folder of a saved model") from None
    except (ValueError, KeyError, TypeError) as wrong:
        raise ModelError(f"{MANIFEST} can't be read ({type(wrong).__name__}); load another version") from None
    if not isinstance(contract, int) or contract < 1 or contract > CONTRACT:
        raise ModelError(
            f"{MANIFEST} has contract {contract!r}; this program reads 1 to {CONTRACT}; update crsrisk"
        )
    if not isinstance(files, dict) or digest != _digest(files):
        raise ModelError(f"the digest of {MANIFEST} does not match its files; the manifest was altered")
    return dict(manifest)


def _checked(source: Path, name: str, digest: str) -> str:
    path = source / name
    if not path.resolve().is_relative_to(source.resolve()):
        raise ModelError(f"{MANIFEST} names {name!r}, which lies outside the model's folder")
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelError(
            f"{name} is named by {MANIFEST} but can't be read; the model is incomplete"
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{name} does not have the SHA-256 of {MANIFEST}; the file was altered")
    return content.decode("utf-8")


def _digest(hashes: Mapping[str, str]) -> str:
    canonical = json.dumps(dict(sorted(hashes.items())), separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def _model_json(model: RiskModel) -> str:
    stored = {
        "contract": CONTRACT,
        "family": model.family,
        "strategy": model.strategy,
        "features": list(model.feature_names),
        "feature_digest": model.feature_digest,
        "offset": offset_to_json(model.offset),
        "calibration": {
            "intercept": model.calibration.intercept,
            "slope": model.calibration.slope,
            "within": asdict(model.calibration.within),
            "events": model.calibration.events,
        },
        "interval": {"level": model.interval.level, "levels": asdict(model.interval.levels)},
        "landmarks": list(model.landmarks),
        "horizons": list(model.horizons),
        "n_patients": model.n_patients,
        "n_events": model.n_events,
        "therapies_seen": dict(model.therapies_seen),
        "parameters": dict(model.parameters),
        "libraries": dict(model.libraries),
        "seed": model.seed,
        "simulated": model.simulated,
        "notes": list(model.notes),
        "policy": dict(model.policy),
        "applicability": {
            "known": [list(known) for known in model.applicability.known],
            "ranges": {name: list(found) for name, found in model.applicability.ranges.items()},
        },
    }
    return json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _calibration(stored: Mapping[str, Any]) -> Calibration:
    return Calibration(**{**stored, "within": Within(**stored["within"])})


def _model(stored: Mapping[str, Any], texts: Mapping[str, str]) -> RiskModel:
    refits = sorted(name for name in texts if name.startswith("bootstrap/"))
    try:
        return RiskModel(
            family=stored["family"],
            strategy=stored["strategy"],
            feature_names=tuple(stored["features"]),
            feature_digest=stored["feature_digest"],
            offset=offset_from_json(stored["offset"]),
            calibration=_calibration(stored["calibration"]),
            interval=_interval(stored["interval"]),
            booster_text=texts.get(BOOSTER),
            bootstrap_texts=tuple(texts[name] for name in refits),
            landmarks=tuple(stored["landmarks"]),
            horizons=tuple(stored["horizons"]),
            n_patients=stored["n_patients"],
            n_events=stored["n_events"],
            therapies_seen=stored["therapies_seen"],
            parameters=stored["parameters"],
            libraries=stored["libraries"],
            seed=stored["seed"],
            simulated=stored["simulated"],
            notes=tuple(stored["notes"]),
            policy={str(name): float(value) for name, value in stored["policy"].items()},
            applicability=_applicability(stored["applicability"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise ModelError(
            f"{MODEL} lacks or misnames a field ({wrong}): it is damaged or was made by an earlier crsrisk; "
            "load another version or train again"
        ) from None


def _interval(stored: Mapping[str, Any]) -> IntervalSpec:
    levels = stored["levels"]
    shifts = {key: TherapyShift(**shift) for key, shift in levels["shifts"].items()}
    return IntervalSpec(level=stored["level"], levels=Levels(**{**levels, "shifts": shifts}))


def _applicability(stored: Mapping[str, Any]) -> Applicability:
    return Applicability(
        tuple(Known(*numbers) for numbers in stored["known"]),
        {str(name): (float(low), float(high)) for name, (low, high) in stored["ranges"].items()},
    )


def _registry_digest() -> str:
    from features.registry import feature_set_digest

    return feature_set_digest()
