"""A label for every feature in English and Japanese, put together from the parts of its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Literal

from crsrisk.analytes import analyte, analytes
from features.declare import Feature

Language = Literal["en", "ja"]

SHORT: Mapping[str, tuple[str, str]] = {  # where a ward uses a shorter name than the catalogue
    "crp": ("CRP", "CRP"),
    "il2": ("IL-2", "IL-2"),
    "il6": ("IL-6", "IL-6"),
    "il8": ("IL-8", "IL-8"),
    "il10": ("IL-10", "IL-10"),
    "il15": ("IL-15", "IL-15"),
    "il18": ("IL-18", "IL-18"),
    "ifn_gamma": ("IFN-γ", "IFN-γ"),
    "mcp1": ("MCP-1", "MCP-1"),
    "tnf_alpha": ("TNF-α", "TNF-α"),
    "mip1a": ("MIP-1α", "MIP-1α"),
    "gm_csf": ("GM-CSF", "GM-CSF"),
    "sil2ra_u": ("soluble IL-2 receptor", "可溶性IL-2レセプター"),
    "ldh": ("LDH", "LDH"),
    "ast": ("AST", "AST"),
    "inr": ("PT-INR", "PT-INR"),
    "aptt": ("APTT", "APTT"),
    "anc": ("neutrophils", "好中球数"),
    "alc": ("lymphocytes", "リンパ球数"),
    "wbc": ("leukocytes", "白血球数"),
    "platelets": ("platelets", "血小板数"),
    "monocytes": ("monocytes", "単球数"),
    "ang2": ("angiopoietin-2", "アンジオポエチン2"),
    "crs_onset": ("CRS", "CRS"),
    "sbp": ("systolic pressure", "収縮期血圧"),
    "map": ("mean arterial pressure", "平均血圧"),
    "spo2": ("SpO2", "SpO2"),
    "fio2": ("FiO2", "FiO2"),
    "heart_rate": ("heart rate", "心拍数"),
    "resp_rate": ("respiratory rate", "呼吸数"),
    "ice_score": ("ICE score", "ICEスコア"),
    "acetaminophen_dose": ("acetaminophen", "アセトアミノフェン"),
    "nsaid_dose": ("NSAID", "NSAID"),
    "nt_probnp": ("NT-proBNP", "NT-proBNP"),
    "d_dimer": ("D-dimer", "Dダイマー"),
    "tumor_spd": ("tumour burden (SPD)", "腫瘍量（SPD）"),
    "tumor_mtv": ("metabolic tumour volume", "腫瘍代謝体積（MTV）"),
    "ecog": ("ECOG performance status", "ECOGパフォーマンスステータス"),
    "cell_dose_total": ("CAR-T cells given", "CAR-T細胞総数"),
    "cell_dose_kg": ("CAR-T cells per kg", "体重あたりCAR-T細胞数"),
    "shock_index": ("shock index", "ショック指数"),
}
ONCE = frozenset(
    {
        "age", "sex_female", "ecog", "prior_lines", "extramedullary", "tumor_spd", "tumor_mtv", "cell_dose_total",
        "cell_dose_kg", "bm_blasts_pct", "bm_plasma_cell_pct",
    }
)  # fmt: skip
OWN: Mapping[str, tuple[str, str]] = {
    "grade_last_so_far": ("CRS grade now", "現在のCRSグレード"),
    "grade_max_since_dose": ("Worst CRS grade since the latest dose", "直近の投与以降の最高CRSグレード"),
    "grade_max_before_dose": ("Worst CRS grade after earlier doses", "以前の投与後の最高CRSグレード"),
    "crs_hours_since_onset_since_dose": ("Hours since onset of CRS", "CRS発症からの時間"),
    "dose_number": ("Number of the latest dose", "投与回数"),
    "dose_hours_since_index": ("Hours from the first to the latest dose", "初回投与から直近の投与までの時間"),
    "dose_fraction": ("Latest dose as a share of the full dose", "全量に対する直近の投与量の割合"),
    "therapy_engager": ("Bispecific antibody", "二重特異性抗体"),
    "therapy_engineered_t": ("Engineered T cells other than CAR-T", "CAR-T以外の遺伝子改変T細胞"),
    "therapy_cd28": ("CD28 costimulation", "CD28共刺激ドメイン"),
    "hscore_points_so_far": ("HScore", "HScore"),
    "tocilizumab_dose_count_baseline": ("Tocilizumab before treatment", "投与前のトシリズマブ"),
    "dexamethasone_dose_count_baseline": ("Dexamethasone before treatment", "投与前のデキサメタゾン"),
}
SCORES: Mapping[str, str] = {"easix": "EASIX", "s_easix": "s-EASIX", "m_easix": "m-EASIX"}
WINDOW: Mapping[str, tuple[str, str]] = {
    "baseline": ("before treatment", "投与前"),
    "since_index": ("since infusion", "投与後"),
    "last_24h": ("in the last 24 h", "直近24時間"),
    "since_dose": ("since the latest dose", "直近の投与以降"),
    "so_far": ("so far", "これまで"),
    "before_dose": ("before the latest dose", "直近の投与前"),
}
PATTERN: Mapping[str, tuple[str, str]] = {
    "last": ("Latest {a} {w}", "{w}の最新の{a}"),
    "first": ("First {a} {w}", "{w}の最初の{a}"),
    "max": ("Highest {a} {w}", "{w}の最高{a}"),
    "min": ("Lowest {a} {w}", "{w}の最低{a}"),
    "mean": ("Mean {a} {w}", "{w}の平均{a}"),
    "slope": ("Trend of {a} {w}", "{w}の{a}の推移（1日あたり）"),
    "change": ("Change of {a} from baseline", "{a}の投与前からの変化"),
    "log2_ratio": ("Doublings of {a} from baseline", "{a}の投与前からの倍加（log2比）"),
    "hours_above": ("Hours with {a} at {t} or above {w}", "{w}の{a} {t}以上の時間"),
    "hours_since_last": ("Hours since the latest {a}", "最新の{a}からの時間"),
    "count": ("Number of {a} records {w}", "{w}の{a}の記録数"),
}
BARE = {
    ("last", "baseline"): ("{A} before treatment", "投与前の{a}"),
    ("last", "so_far"): ("Latest {a}", "最新の{a}"),
}
UNIT_SIGN = {"Cel": "°C"}


def feature_label(feature: Feature, language: Language) -> str:
    """What a clinician reads for a feature: 'Highest CRP since infusion', '投与後の最高CRP'."""
    side = 0 if language == "en" else 1
    if feature.name in OWN:
        return OWN[feature.name][side]
    if feature.analyte in SCORES:
        when = BARE["last", feature.window][side]
        name = f"{SCORES[feature.analyte]} (log2)"
        return when.format(A=name, a=name)
    name = _name(feature.analyte, language)
    if feature.analyte in ONCE:
        return _capital(name)
    pattern = BARE.get((feature.statistic, feature.window), PATTERN[feature.statistic])[side]
    limit = "" if isnan(feature.threshold) else f"{feature.threshold:g} {_unit(feature.analyte)}"
    return _capital(pattern.format(A=name, a=name, w=WINDOW[feature.window][side], t=limit))


def _name(key: str, language: Language) -> str:
    side = 0 if language == "en" else 1
    if key in SHORT:
        return SHORT[key][side]
    if key not in analytes():
        return key
    known = analyte(key)
    return known.name_ja if side else known.name_en[0].lower() + known.name_en[1:]


def _unit(key: str) -> str:
    unit = analyte(key).unit
    return UNIT_SIGN.get(unit, unit)


def _capital(text: str) -> str:
    """The text with a capital first letter, unless the name is written small (s-EASIX)."""
    return text[0].upper() + text[1:]
