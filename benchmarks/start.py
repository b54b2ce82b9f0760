"""Start-up: `crsrisk --help` and `import crsrisk` against bare Python, interleaved in one run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figures, run

HEAVY = ("mlflow", "shap", "lightgbm", "sklearn", "pandas")
ROUNDS = 15


def main() -> int:
    """Print the ratio of `crsrisk --help` to `python -c pass` and what `import crsrisk` loads."""
    figures = Figures("start")
    bare_command = [sys.executable, "-c", "pass"]
    help_command = [str(Path(sys.executable).with_name("crsrisk")), "--help"]
    bare: list[float] = []
    shown: list[float] = []
    for _ in range(ROUNDS):
        bare.append(_seconds(bare_command))
        shown.append(_seconds(help_command))
    ratio = median(shown) / median(bare)
    figures.add("crsrisk --help", round(ratio, 1), "at most 20x", ok=ratio <= 20, against="python -c pass")
    probe = f"import crsrisk, sys; print([m for m in {HEAVY} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout.strip()
    figures.add("heavy modules after import crsrisk", loaded, "none", ok=loaded == "[]")
    return figures.finish()


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    run(main)
