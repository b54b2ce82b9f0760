"""The therapy catalogue, registration and the family rule."""

import math

import pytest

from crsrisk.errors import UnknownTherapyError
from crsrisk.therapies import (
    StepDose,
    family_by_rule,
    group_by_rule,
    is_engager,
    therapies,
    therapy,
    therapy_from_table,
    window_hours,
)

CD22 = {
    "name": "CD22 CAR-T",
    "class": "cart",
    "targets": ["CD22"],
    "setting": "heme",
    "indication": "r/r B-ALL",
    "costimulation": "4-1BB",
    "expected_onset_hours": 192,
    "source": "Lichtenstein 2021",
}


def test_a_catalogued_therapy_knows_its_family_group_and_onset():
    axi = therapy("axi-cel_LBCL3L")
    assert (axi.family, axi.group, axi.class_, axi.costimulation) == (
        "cd19_cart",
        "G2_CART_CD19_CD28_NHL",
        "cart",
        "CD28",
    )
    assert (axi.expected_onset_hours, axi.in_catalogue, axi.product) == (48.0, True, "axi-cel")


def test_step_doses_are_hours_from_the_first_dose():
    assert therapy("tec_MM").doses == (
        StepDose(hours=0.0, amount=0.06, unit="mg/kg"),
        StepDose(hours=72.0, amount=0.3, unit="mg/kg"),
        StepDose(hours=144.0, amount=1.5, unit="mg/kg"),
        StepDose(hours=312.0, amount=1.5, unit="mg/kg"),
    )
    assert [dose.hours for dose in therapy("epco_LBCL").doses] == [0.0, 168.0, 336.0, 504.0]
    assert [(dose.hours, dose.amount, dose.unit) for dose in therapy("blina_RRALL").doses] == [
        (0.0, 9.0, "ug/d"),
        (168.0, 28.0, "ug/d"),
    ]


def test_glofitamab_counts_from_its_own_first_dose_not_from_obinutuzumab():
    assert [(dose.hours, dose.amount) for dose in therapy("glofit_DLBCL").doses] == [
        (0, 2.5),
        (168, 10),
        (336, 30),
    ]


@pytest.mark.parametrize("key", ["lete-cel_SS", "arlo-cel_MM", "etentamig_MM", "cevo_MM", "gocat_DLL3"])
def test_what_nobody_read_is_empty(key):
    found = therapy(key)
    assert (found.expected_onset_hours, found.doses, found.indication, found.costimulation) == (
        None,
        (),
        None,
        None,
    )
    assert found.family is not None


def test_a_window_is_14_days_for_cells_and_7_for_each_dose_of_an_engager():
    assert window_hours(therapy("tisa-cel_ALL")) == 336.0
    assert window_hours(therapy("afami-cel_SS")) == 336.0
    assert window_hours(therapy("tarla_SCLC2L")) == 168.0
    assert is_engager(therapy("teben_UM"))
    assert not is_engager(therapy("satri-cel_GC"))


def test_an_unknown_therapy_says_what_to_register():
    with pytest.raises(
        UnknownTherapyError, match=r"'new-cel' is neither .* register it in therapies.toml .* source"
    ):
        therapy("new-cel")


def test_a_cohorts_own_therapy_is_found_first():
    own = therapy_from_table("cd22_cart", CD22)
    assert therapy("cd22_cart", {"cd22_cart": own}) is own


def test_a_registered_therapy_gets_its_family_by_rule():
    own = therapy_from_table("cd22_cart", CD22)
    assert (own.family, own.group, own.in_catalogue) == ("cd19_cart", None, False)
    assert (own.expected_onset_hours, own.targets) == (192.0, ("CD22",))


@pytest.mark.parametrize(
    ("class_", "setting", "targets", "family"),
    [
        ("cart", "solid", ["CD19"], "solid_tumor"),
        ("engager", "solid", ["DLL3", "CD3"], "solid_tumor"),
        ("engineered_t", "solid", ["MAGE-A4"], "solid_tumor"),
        ("engager", "heme", ["CD19", "CD3"], "heme_engager"),
        ("engager", "heme", ["anything"], "heme_engager"),
        ("cart", "heme", ["CD19", "CD22"], "cd19_cart"),
        ("cart", "heme", ["cd20"], "cd19_cart"),
        ("engineered_t", "heme", ["CD19"], "cd19_cart"),
        ("cart", "heme", ["GPRC5D"], "bcma_cart"),
        ("cart", "heme", ["BCMA"], "bcma_cart"),
        ("cart", "heme", ["BCMA", "CD19"], None),
        ("cart", "heme", ["CD7"], None),
    ],
)
def test_family_rule(class_, setting, targets, family):
    assert family_by_rule(class_, setting, targets) == family


def test_the_rule_agrees_with_the_catalogue():
    wrong = [
        t.key for t in therapies().values() if family_by_rule(t.class_, t.setting, t.targets) != t.family
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("class_", "setting", "targets", "group"),
    [
        ("engager", "heme", ["CD20", "CD3"], "G6_BSAB_CD20"),
        ("engager", "heme", ["FcRH5"], "G8_BSAB_MM"),
        ("engager", "solid", ["PSMA"], "G9_BSAB_SOLID"),
        ("cart", "solid", ["GD2"], "G5_CELL_SOLID"),
        ("cart", "heme", ["BCMA"], "G4_CART_BCMA"),
        ("cart", "heme", ["CD19"], None),  # three groups fit
        ("engager", "heme", ["CD123"], None),
    ],
)
def test_a_group_follows_only_when_one_fits(class_, setting, targets, group):
    assert group_by_rule(class_, setting, targets) == group


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name must be text"),
        ({"name": " "}, "name must be text"),
        ({"class": "car_t"}, "class 'car_t' is not one of cart, engager, engineered_t"),
        ({"setting": "liquid"}, "setting 'liquid' is not one of heme, solid"),
        ({"targets": "CD22"}, "targets must be a list"),
        ({"targets": []}, "targets must be a list"),
        ({"targets": [22]}, "targets must be a list"),
        ({"expected_onset_hours": "8 days"}, "expected_onset_hours must be a number"),
        ({"expected_onset_hours": -1}, "expected_onset_hours must be a number"),
        ({"expected_onset_hours": True}, "expected_onset_hours must be a number"),
        ({"expected_onset_hours": math.nan}, "expected_onset_hours must be a number"),
        ({"colour": "red"}, "unknown field 'colour'; accepted: name, class, targets, setting, source"),
        ({"group": "G77"}, "group 'G77' is not one of G1_CART_CD19_ALL"),
        ({"doses": 3}, "doses must be a list of tables with hours, amount, unit"),
        ({"doses": [{"hours": 0, "amount": 1}]}, "doses must be a list of tables"),
        ({"doses": [{"hours": "x", "amount": 1, "unit": "mg"}]}, "are numbers, 0 or more"),
        (
            {"doses": [{"hours": 5, "amount": 1, "unit": "mg"}, {"hours": 5, "amount": 2, "unit": "mg"}]},
            "hours of doses must increase",
        ),
    ],
)
def test_a_faulty_registration_is_explained(change, message):
    with pytest.raises(UnknownTherapyError, match=message):
        therapy_from_table("cd22_cart", {**CD22, **change})


@pytest.mark.parametrize("field", ["name", "class", "targets", "setting", "source"])
def test_every_required_field_is_asked_for(field):
    table = {name: value for name, value in CD22.items() if name != field}
    with pytest.raises(UnknownTherapyError, match=rf"\[cd22_cart\]: {field} is missing; give name, class"):
        therapy_from_table("cd22_cart", table)


def test_a_registered_therapy_may_not_shadow_the_catalogue():
    with pytest.raises(UnknownTherapyError, match="already lists this key"):
        therapy_from_table("tec_MM", CD22)


def test_a_registered_engager_keeps_its_doses():
    table = {
        "name": "X", "class": "engager", "targets": ["CD20", "CD3"], "setting": "heme", "source": "trial",
        "doses": [{"hours": 0, "amount": 1, "unit": "mg"}, {"hours": 168, "amount": 2.5, "unit": "mg"}],
    }  # fmt: skip
    own = therapy_from_table("x", table)
    assert [dose.amount for dose in own.doses] == [1.0, 2.5]
    assert own.group == "G6_BSAB_CD20"
