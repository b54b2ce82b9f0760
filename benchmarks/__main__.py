"""Run one benchmark by name, or all of them: `python -m benchmarks [NAME]`."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

NAMES = sorted(
    m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "figure")
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, all when none is named; 1 when a figure misses its target."""
    unknown = [n for n in names if n not in NAMES]
    if unknown:
        print(f"no benchmark {unknown}; there are {NAMES}", file=sys.stderr)
        return 2
    codes = [importlib.import_module(f"benchmarks.{n}").main() for n in names or NAMES]
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
