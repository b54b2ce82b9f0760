"""Every fact is complete, unique and sourced."""

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from crsrisk.analytes import KINDS, analytes
from crsrisk.data_files import listed, number, rows
from crsrisk.labels import LANGUAGES, labels
from crsrisk.priors import LEVELS, OUTCOMES
from crsrisk.therapies import CLASSES, FAMILIES, SETTINGS, groups, therapies
from crsrisk.units import DIMENSIONLESS, factor, normalise_unit

ROOT = Path(__file__).parents[2]
TABLES = (
    "analytes", "units", "therapies", "doses", "groups", "incidence", "priors", "omop_units", "omop_concepts",
    "coding_systems", "header_words", "fhir_resources",
)  # fmt: skip
SYSTEMS = {"ASTCT", "Lee2014", "Penn", "CTCAE", "unknown"}


def bibliography() -> list[str]:
    text = (ROOT / "docs" / "sources.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.MULTILINE)


def sources_of(table: str) -> set[str]:
    columns = ("source", "sources", "limits_source", "codes_source")
    return {key for row in rows(f"{table}.csv") for column in columns for key in listed(row.get(column, ""))}


def test_every_source_key_stands_once_and_is_lower_case_snake():
    keys = bibliography()
    assert len(keys) == len(set(keys))
    assert [key for key in keys if not re.fullmatch(r"[a-z0-9_]+", key)] == []


@pytest.mark.parametrize("table", TABLES)
def test_every_source_resolves_in_the_bibliography(table):
    assert sources_of(table) - set(bibliography()) == set()


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_source(table):
    column = "sources" if table == "priors" else "source"
    assert [row for row in rows(f"{table}.csv") if not row[column].strip()] == []


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("analytes", ("key",)),
        ("therapies", ("key",)),
        ("doses", ("therapy", "dose")),
        ("groups", ("group",)),
        ("incidence", ("cohort",)),
        ("priors", ("level", "key", "outcome")),
        ("coding_systems", ("format", "name")),
        ("fhir_resources", ("type",)),
    ],
)
def test_every_row_is_unique(table, key):
    found = [tuple(row[column] for column in key) for row in rows(f"{table}.csv")]
    assert len(found) == len(set(found))


def test_every_spelling_of_a_unit_stands_once_per_analyte():
    found = [(row["analyte"], normalise_unit(row["spelling"])) for row in rows("units.csv")]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("table", TABLES)
def test_nothing_marked_as_not_verified_is_in_the_tables(table):
    text = (files("crsrisk.data") / f"{table}.csv").read_text(encoding="utf-8")
    assert re.findall(r"UNVERIFIED|ASSUM|remembered|from memory", text) == []


@pytest.mark.parametrize("table", TABLES)
def test_cells_have_no_space_around_them(table):
    assert [row for row in rows(f"{table}.csv") if any(cell != cell.strip() for cell in row.values())] == []


@pytest.mark.parametrize("key", sorted(analytes()))
def test_an_analyte_is_complete(key):
    found = analytes()[key]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
    assert found.name_en
    assert found.name_ja
    assert found.kind in KINDS
    assert factor(key, found.unit) == (1.0, 0.0)
    if key == "sex":  # text: male, female, other, unknown
        return
    assert found.hard_low <= found.plausible_low < found.plausible_high <= found.hard_high


def test_every_unit_belongs_to_an_analyte_and_has_a_positive_scale():
    for row in rows("units.csv"):
        assert row["analyte"] in analytes()
        assert number(row["scale"]) > 0


def test_limits_and_codes_name_where_they_come_from():
    for row in rows("analytes.csv"):
        assert bool(row["hard_low"]) == bool(row["limits_source"]), row["key"]
        coded = bool(row["loinc"] or row["jlac10"] or row["omop"])
        assert coded == bool(row["codes_source"]), row["key"]


def loinc_check_digit(body: str) -> int:
    doubled = "".join(
        str(int(digit) * 2) if place % 2 == 0 else digit for place, digit in enumerate(reversed(body))
    )
    return -sum(int(digit) for digit in doubled) % 10


@pytest.mark.parametrize("code", sorted(code for found in analytes().values() for code in found.loinc))
def test_a_loinc_code_has_its_check_digit(code):
    body, digit = code.split("-")
    assert loinc_check_digit(body) == int(digit)


def test_no_code_stands_for_two_analytes():
    for name in ("loinc", "jlac10", "omop"):
        codes = [code for found in analytes().values() for code in getattr(found, name)]
        assert len(codes) == len(set(codes)), name


def test_a_jlac10_entry_is_a_prefix_or_a_prefix_with_result_id():
    codes = [code for found in analytes().values() for code in found.jlac10]
    assert [code for code in codes if not re.fullmatch(r"[0-9][A-Z][0-9]{3}(/[0-9]{2})?", code)] == []
    prefixes = {code for code in codes if "/" not in code}
    assert {code[:5] for code in codes if "/" in code} & prefixes == set()


@pytest.mark.parametrize("key", sorted(therapies()))
def test_a_therapy_is_complete(key):
    found = therapies()[key]
    assert found.name
    assert found.class_ in CLASSES
    assert found.setting in SETTINGS
    assert found.family in FAMILIES
    assert found.targets
    group = groups()[found.group]
    assert (group.family, group.setting) == (found.family, found.setting)
    assert found.class_ in group.classes
    assert found.expected_onset_hours is None or 0 < found.expected_onset_hours <= 336
    assert not found.doses or found.class_ == "engager"


def test_the_catalogue_holds_52_products_in_an_indication():
    assert len(therapies()) == 52


def test_a_row_that_nobody_verified_claims_nothing_but_where_it_belongs():
    claims = ("expected_onset_hours", "approved_us", "approved_eu")
    unread = [row for row in rows("therapies.csv") if row["source"] == "crsrisk_catalogue"]
    assert len(unread) == 5
    assert [row["key"] for row in unread if row["facts"] != "unverified" or any(row[c] for c in claims)] == []
    assert {row["facts"] for row in rows("therapies.csv")} == {"verified", "partial", "unverified"}


def test_doses_start_at_zero_and_increase():
    seen: dict[str, list[float]] = {}
    for row in rows("doses.csv"):
        hours = seen.setdefault(row["therapy"], [])
        hours.append(float(row["hours"]))
        assert int(row["dose"]) == len(hours)
        assert float(row["amount"]) > 0
    for therapy, hours in seen.items():
        assert therapy in therapies()
        assert hours[0] == 0.0
        assert hours == sorted(set(hours))


def test_a_cohort_has_counts_that_fit_its_size_and_a_known_system():
    for row in rows("incidence.csv"):
        assert row["group"] in groups()
        assert row["system"] in SYSTEMS
        assert row["severe"] or row["any"]
        for outcome in OUTCOMES:
            assert row[outcome] == "" or 0 <= int(row[outcome]) <= int(row["n"])
        if row["severe"] and row["any"]:
            assert int(row["severe"]) <= int(row["any"])


def test_a_prior_is_complete_and_its_interval_holds_its_rate():
    for row in rows("priors.csv"):
        assert row["level"] in LEVELS
        assert row["outcome"] in OUTCOMES
        assert float(row["low"]) < float(row["rate"]) < float(row["high"])
        assert float(row["logit_sd"]) > 0


def test_every_group_and_class_has_both_base_rates():
    found = {(row["level"], row["key"], row["outcome"]) for row in rows("priors.csv")}
    for outcome in OUTCOMES:
        assert {("group", key, outcome) for key in groups()} <= found
        assert {("class", key, outcome) for key in CLASSES} <= found


def test_both_languages_have_the_same_keys():
    assert set(labels("en")) == set(labels("ja"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_label_but_that_of_a_bare_number_has_text(language):
    bare = {f"{prefix}unit.{unit}" for prefix in ("", "page.") for unit in DIMENSIONLESS}
    separators = {"page.list_separator", "report.number.sentence_separator"}
    assert {key for key, text in labels(language).items() if not text.strip()} <= bare | separators


def test_named_fields_of_a_label_are_the_same_in_both_languages():
    fields = {
        language: {
            key: sorted(set(re.findall(r"\{([a-z_]+)\}", text))) for key, text in labels(language).items()
        }
        for language in LANGUAGES
    }
    assert [key for key in fields["en"] if fields["en"][key] != fields["ja"][key]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_analyte_family_group_therapy_and_unit_has_a_label(language):
    found = labels(language)
    wanted = {f"analyte.{key}" for key in analytes()} | {f"family.{key}" for key in FAMILIES}
    wanted |= {f"group.{key}" for key in groups()} | {f"therapy.{key}" for key in therapies()}
    wanted |= {f"unit.{analyte.unit}" for analyte in analytes().values()}
    wanted |= {f"kind.{kind}" for kind in KINDS} | {f"level.{level}" for level in LEVELS}
    wanted |= {f"class.{key}" for key in CLASSES} | {f"setting.{key}" for key in SETTINGS}
    assert wanted - set(found) == set()


def test_reading_facts_loads_neither_pandas_nor_numpy():
    code = (
        "import sys, crsrisk.analytes, crsrisk.units, crsrisk.therapies, crsrisk.labels, crsrisk.priors\n"
        "crsrisk.units.to_canonical('crp', 1.0, 'mg/dL')\n"
        "crsrisk.priors.prior(crsrisk.therapies.therapy('tec_MM'))\n"
        "crsrisk.labels.labels('ja')\n"
        "print([name for name in ('pandas', 'numpy', 'sklearn', 'lightgbm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
