"""The data dictionary and the labels, made from the declarations: `python -m features.document`.

Writes docs/features.md and crsrisk/data/labels.features.{en,ja}.toml; `--check` writes nothing and exits with 1 when
one of them is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from features.declare import STATISTICS, WINDOWS, Feature
from features.engine import ENGINE_VERSION
from features.registry import FEATURES, predictors
from features.wording import Language, feature_label

ROOT = Path(__file__).resolve().parent.parent
SIGN = {1: "rises", -1: "falls", 0: ""}
HEAD = """# Features

Made by `python -m features.document` from the declarations in `features/`; edit those, not this page.

{total} features, {predictors} of them predictors. *Support* (oxygen, pressors, blood pressure) defines the grade and is
in a model only on request; *treatment* given for CRS follows the outcome and never is. A value enters a row only when
both its time and the time at which it was known are at or before the landmark. Missing is empty, never 0; a count
is 0 when nothing was recorded. A value reported as below or above a limit (`<0.5`) enters at its limit. Engine version
{engine}.

Of events at the same time the one known later is the later one, then the higher value. *Risk* says where a source gives
the sign of the effect, and the model is held to it.

## Windows

{windows}

## Statistics

{statistics}
"""


def data_dictionary() -> str:
    """The text of docs/features.md."""
    parts = [
        HEAD.format(
            total=len(FEATURES),
            predictors=len(predictors()),
            engine=ENGINE_VERSION,
            windows=_table(("window", "hours"), WINDOWS.items()),
            statistics=_table(("statistic", "meaning"), STATISTICS.items()),
        )
    ]
    for theme in dict.fromkeys(feature.theme for feature in FEATURES):
        rows = [_row(feature) for feature in FEATURES if feature.theme == theme]
        columns = ("name", "label", "unit", "role", "risk", "meaning", "source")
        parts.append(f"\n## {theme.replace('_', ' ').capitalize()}\n\n{_table(columns, rows)}\n")
    return "".join(parts)


def label_table(language: Language) -> str:
    """The text of crsrisk/data/labels.features.LANGUAGE.toml."""
    lines = [f'{feature.name} = "{feature_label(feature, language)}"' for feature in FEATURES]
    return (
        "# Made by `python -m features.document` from the declarations in features/.\n[feature]\n"
        + "".join(f"{line}\n" for line in lines)
    )


def documents() -> dict[Path, str]:
    """Every file that is made from the declarations, with its text."""
    data = ROOT / "crsrisk" / "data"
    languages: tuple[Language, ...] = ("en", "ja")
    return {
        ROOT / "docs" / "features.md": data_dictionary(),
        **{data / f"labels.features.{language}.toml": label_table(language) for language in languages},
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check name those that are not current."""
    stale = [
        (path, text)
        for path, text in documents().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path, _ in stale:
            print(
                f"{path.relative_to(ROOT)} is not current; run python -m features.document", file=sys.stderr
            )
        return 1 if stale else 0
    for path, text in stale:
        path.write_text(text, encoding="utf-8")
    return 0


def _row(feature: Feature) -> tuple[str, ...]:
    return (
        f"`{feature.name}`",
        feature_label(feature, "en") + " / " + feature_label(feature, "ja"),
        feature.unit,
        feature.role,
        SIGN[feature.monotone],
        feature.meaning,
        f"`{feature.source}`",
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
