"""The figures of a report, drawn from logged tables; the logged drawing stands in where the data was not logged."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from training.fit import SHARED_EVENTS
from training.report.blocks import Figure, Text
from training.report.drawing import Axis, Bar, Line, Mark, bars, forest, nice_ticks, plot
from training.report.logged import OURS, Logged, Row, table_rows
from training.report.wording import Style, Wording
from training.table import PUBLISHED

if TYPE_CHECKING:
    import pandas as pd

SHOWN_PREDICTORS = 20
RELIABLE_EVENTS = (
    200  # patients of either outcome that a flexible curve asks for: van_calster_2019_calibration
)
_COMPARED = (OURS, "logistic", "last_grade", "prior")
LABEL_COLUMNS, BAR_COLUMNS = 38, 48  # of a label beside a forest plot and beside bars


def too_few(logged: Logged, wording: Wording) -> Text | None:
    """Why no curve is drawn: a base rate ranks nobody, and the shape of a curve through few events is chance.

    Few are those on which no trees are grown either (SHARED_EVENTS).
    """
    if logged.model.booster_text is None:
        return Text(text=wording.text("figure.no_ranking", events=logged.events), weight="note")
    events = min(logged.events, logged.patients - logged.events)
    table = logged.table("metrics")
    if table is not None:
        mine = _rest(table)
        counts = mine.loc[mine["model"] == OURS, ["n", "events"]].astype("int64")
        events = min([events, *(min(e, n - e) for n, e in counts.itertuples(index=False))])
    if events >= SHARED_EVENTS:
        return None
    return Text(text=wording.text("figure.too_few", events=events, least=SHARED_EVENTS), weight="note")


def calibration(logged: Logged, wording: Wording) -> Figure | None:
    """Observed against predicted risk: groups of equal size with intervals, and the smooth curve."""
    groups, smooth = logged.table("calibration_groups"), logged.table("calibration_smooth")
    if groups is None:
        return _as_logged(logged, "calibration", wording)
    x, y, low, high = (_numbers(groups, c) for c in ("predicted", "observed", "low", "high"))
    lines = []
    if smooth is not None:
        lines.append(
            Line(wording.text("figure.smooth"), _numbers(smooth, "x"), _numbers(smooth, "y"), strong=True)
        )
    top = min(1.0, 1.05 * max([*high, *x, *(v for line in lines for v in line.y)]))
    lines.append(Line(wording.text("figure.perfect"), (0.0, top), (0.0, top), look=6))
    marks = [Mark(*point) for point in zip(x, y, low, high, strict=True)]
    told = [wording.text("figure.calibration.text"), wording.text("figure.below")]
    if min(logged.events, logged.patients - logged.events) < RELIABLE_EVENTS:
        told.append(wording.text("figure.calibration.few", events=logged.events, reliable=RELIABLE_EVENTS))
    return Figure(
        caption=wording.text("figure.calibration"),
        text=wording.text("number.sentence_separator").join(told),
        svg=plot(
            _share_axis(0.0, top, wording.text("figure.predicted"), wording),
            _share_axis(0.0, top, wording.text("figure.observed"), wording),
            lines,
            title=wording.text("figure.calibration"),
            text=wording.text("figure.calibration.text"),
            marks=marks,
            marks_name=wording.text("figure.groups"),
        ),
    )


def curves(logged: Logged, stem: str, wording: Wording) -> Figure | None:
    """`roc` or `precision_recall` of this model and of what it has to beat."""
    table = logged.table(stem)
    if table is None:
        return _as_logged(logged, stem, wording)
    lines = [
        Line(wording.word("model", name), _numbers(rows, "x"), _numbers(rows, "y"), k, strong=name == OURS)
        for k, (name, rows) in enumerate(_by_model(table, (*_COMPARED, *_best_score(logged))))
    ]
    if stem == "roc":
        lines.append(Line(wording.text("figure.chance"), (0.0, 1.0), (0.0, 1.0), look=6))
    title, text = wording.text(f"figure.{stem}"), wording.text(f"figure.{stem}.text")
    return Figure(
        caption=title,
        text=text,
        svg=plot(
            _share_axis(0.0, 1.0, wording.text(f"figure.{stem}.x"), wording),
            _share_axis(0.0, 1.0, wording.text(f"figure.{stem}.y"), wording),
            lines,
            title=title,
            text=text,
        ),
    )


def decision_curve(logged: Logged, wording: Wording) -> Figure | None:
    """Net benefit at the thresholds: this model, what it has to beat, alerting for everybody and for nobody."""
    table = logged.table("decision_curve")
    if table is None:
        return _as_logged(logged, "decision_curve", wording)
    rest = _rest(table)
    if rest.empty:
        return None
    names = (OURS, "logistic", *_best_score(logged), "last_grade", "treat_all", "treat_none")
    lines = [
        Line(
            wording.word("model", name),
            _numbers(rows, "threshold"),
            _numbers(rows, "net_benefit"),
            k,
            strong=name == OURS,
        )
        for k, (name, rows) in enumerate(_by_model(rest, names))
    ]
    top = max((max(line.y) for line in lines), default=0.0)
    if top <= 0:
        return None
    low, high, right = -0.3 * top, 1.1 * top, max(max(line.x) for line in lines)
    title = wording.text("figure.decision_curve")
    text = wording.text("number.sentence_separator").join(
        wording.text(f"figure.{key}") for key in ("decision_curve.text", "below")
    )
    ticks = nice_ticks(low, high)
    style: Style = "ratio" if all(round(t, 2) == t for t in ticks) else "plain"
    y = Axis(
        low,
        high,
        wording.text("figure.net_benefit"),
        nice_ticks(low, high),
        lambda v: wording.number(v, style),
    )
    return Figure(
        caption=title,
        text=text,
        svg=plot(
            _share_axis(0.0, right, wording.text("figure.threshold"), wording),
            y,
            [_within(line, low) for line in lines],
            title=title,
            text=text,
        ),
    )


def auroc_by_landmark(logged: Logged, wording: Wording) -> Figure | None:
    """AUROC at each landmark and horizon that has an interval, as logged; none of a base rate."""
    table = logged.table("metrics")
    if table is None or logged.model.booster_text is None:
        return None
    mine = table[
        (table["model"] == OURS)
        & (table["metric"] == "auroc")
        & (table["low"] != "")
        & (table["landmark_hours"] != "")
    ]
    rows = [
        Bar(
            wording.text(
                "place",
                landmark=wording.hours(float(r["landmark_hours"])),
                horizon=wording.horizon(r["horizon"]),
            ),
            float(r["value"]),
            _number(r["low"]),
            _number(r["high"]),
            _auroc_note(r, wording),
        )
        for r in table_rows(mine)
    ]
    return _auroc_forest(rows, "figure.landmarks", wording)


def auroc_by_group(rows: list[Bar], wording: Wording) -> Figure | None:
    """AUROC with intervals of the groups that are large enough."""
    return _auroc_forest(rows, "figure.groups_auroc", wording)


def importance(logged: Logged, wording: Wording) -> Figure | None:
    """Mean absolute SHAP values of the predictors that move the risk most."""
    table = logged.table("predictors")
    if table is None:
        return _as_logged(logged, "shap_beeswarm", wording)
    known = table[(table["mean_abs_shap"] != "")]
    values = sorted(((float(r["mean_abs_shap"]), r) for r in table_rows(known)), key=lambda pair: -pair[0])
    top = [(value, row) for value, row in values[:SHOWN_PREDICTORS] if value > 0]
    if not top:
        return None
    title, text = wording.text("figure.importance"), wording.text("figure.importance.text")
    most = top[0][0]
    axis = Axis(
        0.0,
        most * 1.02,
        wording.text("figure.log_odds"),
        nice_ticks(0.0, most),
        lambda v: wording.number(v, "ratio"),
    )
    drawn = [
        Bar(
            _short(feature_name(row["feature"], wording), BAR_COLUMNS),
            value,
            note=direction(row, wording),
        )
        for value, row in top
    ]
    return Figure(caption=title, text=text, svg=bars(drawn, axis, title=title, text=text))


def feature_name(feature: str, wording: Wording) -> str:
    """A predictor in words; landmark and horizon are not among the declared features."""
    return (
        wording.word("time", feature) if wording.has(f"time.{feature}") else wording.name("feature", feature)
    )


def direction(row: Row, wording: Wording) -> str:
    """What a higher value does to the estimate, from the logged rank correlation."""
    given = _number(row["direction"])
    if given is None:
        return ""
    word = "mixed" if abs(given) < 0.3 else "raises" if given > 0 else "lowers"
    return wording.text(f"direction.{word}")


def _auroc_forest(rows: list[Bar], key: str, wording: Wording) -> Figure | None:
    if not rows:
        return None
    lowest = min([0.5, *(v for row in rows for v in (row.value, row.low) if v is not None)])
    low = floor(lowest * 10) / 10  # begins at a tick
    title, text = wording.text(key), wording.text(f"{key}.text")
    axis = Axis(
        low, 1.0, wording.text("metric.auroc"), nice_ticks(low, 1.0), lambda v: wording.number(v, "ratio")
    )
    shown = [Bar(_short(r.label, LABEL_COLUMNS), r.value, r.low, r.high, r.note) for r in rows]
    return Figure(caption=title, text=text, svg=forest(shown, axis, title=title, text=text, reference=0.5))


def _auroc_note(row: Row, wording: Wording) -> str:
    return wording.text("figure.counts", n=row["n"], events=row["events"])


def auroc_bar(label: str, row: Row, wording: Wording) -> Bar:
    """A row of a table of metrics as a line of a forest plot."""
    return Bar(
        label, float(row["value"]), _number(row["low"]), _number(row["high"]), _auroc_note(row, wording)
    )


def _as_logged(logged: Logged, stem: str, wording: Wording) -> Figure | None:
    """The drawing that the run logged, in English as it is."""
    image = logged.image(stem)
    if not image:
        return None
    key = "figure.importance" if stem == "shap_beeswarm" else f"figure.{stem}"
    return Figure(
        caption=wording.text("figure.as_logged", title=wording.text(key)),
        text=wording.text("figure.shap_beeswarm.text")
        if stem == "shap_beeswarm"
        else wording.text(f"{key}.text"),
        image=image,
    )


def _best_score(logged: Logged) -> tuple[str, ...]:
    """The published score with the highest pooled AUROC of the rest of the window."""
    table = logged.table("metrics")
    if table is None:
        return ()
    mine = _rest(table)
    mine = mine[(mine["metric"] == "auroc") & mine["model"].isin(PUBLISHED) & (mine["value"] != "")]
    rows = sorted(table_rows(mine), key=lambda r: -float(r["value"]))
    return (rows[0]["model"],) if rows else ()


def _rest(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the rest of the window over all landmarks."""
    return table[(table["horizon"] == "rest") & (table["landmark_hours"] == "")]


def _by_model(table: pd.DataFrame, names: tuple[str, ...]) -> list[tuple[str, pd.DataFrame]]:
    there = set(table["model"])
    return [(name, table[table["model"] == name]) for name in names if name in there]


def _share_axis(low: float, high: float, label: str, wording: Wording) -> Axis:
    return Axis(low, high, label, nice_ticks(low, high), lambda v: wording.number(v, "threshold"))


def _within(line: Line, low: float) -> Line:
    """The line up to where it leaves the plot at its lower edge."""
    keep = next((k for k, value in enumerate(line.y) if value < low), len(line.y))
    if keep == len(line.y):
        return line
    if keep == 0:
        return Line(line.name, line.x[:1], (low,), line.look, line.strong)
    before, after = line.y[keep - 1], line.y[keep]
    share = (before - low) / (before - after)
    edge = line.x[keep - 1] + share * (line.x[keep] - line.x[keep - 1])
    return Line(line.name, (*line.x[:keep], edge), (*line.y[:keep], low), line.look, line.strong)


def _short(label: str, most: int) -> str:
    """The label in at most so many columns; a wide character takes two.

    >>> _short("axicabtagene ciloleucel", 10), _short("性別：女性", 10)
    ('axicabtag…', '性別：女性')
    """
    columns = [2 if east_asian_width(letter) in "WF" else 1 for letter in label]
    if sum(columns) <= most:
        return label
    kept = next(k for k in range(len(label)) if sum(columns[: k + 1]) > most - 1)
    return label[:kept] + "…"


def _numbers(table: pd.DataFrame, column: str) -> list[float]:
    return [float(cell) for cell in table[column].tolist()]


def _number(cell: str) -> float | None:
    return None if cell == "" else float(cell)
