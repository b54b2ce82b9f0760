"""One figure of a benchmark as a JSON line, and the exit code that a missed target gives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


class Figures:
    """Collects and prints the figures of one benchmark."""

    def __init__(self, benchmark: str) -> None:
        self.benchmark = benchmark
        self.missed = 0

    def add(self, figure: str, value: Any, target: str, *, ok: bool, against: str = "") -> None:
        """Print one figure; `target` is in words, `against` names the alternative of the same run."""
        self.missed += not ok
        line = {
            "benchmark": self.benchmark,
            "figure": figure,
            "value": value,
            "target": target,
            "ok": bool(ok),
            "against": against,
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def finish(self) -> int:
        """State the load average; 1 when a figure missed its target, else 0."""
        load = " ".join(f"{x:.2f}" for x in os.getloadavg())
        print(json.dumps({"benchmark": self.benchmark, "load_average": load}), flush=True)
        return 1 if self.missed else 0


def run(main: Callable[[], int]) -> None:
    """Run a benchmark's main and leave with its exit code."""
    sys.exit(main())
