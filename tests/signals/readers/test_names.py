"""What names of columns say."""

import pytest

from tsfm_adapt.signals.readers import _names


@pytest.mark.parametrize(
    ("name", "plain", "words"),
    [
        ("Time (s)", "time", ("time", "s")),
        ("ICUStay_ID", "icustayid", ("icu", "stay", "id")),
        ("Patient-Nr. [1]", "patientnr", ("patient", "nr", "1")),
        ("HRValue", "hrvalue", ("hr", "value")),
        ("Höhe", "höhe", ("höhe",)),
        ("", "", ()),
    ],
)
def test_names_are_compared_by_their_words(name, plain, words):
    assert _names.plain(name) == plain
    assert _names.words(name) == words


@pytest.mark.parametrize(
    "name",
    ["subject", "Patient ID", "pt_no", "study_id", "ICUSTAY_ID", "stay_id", "unique_id", "mrn"],
)
def test_identifiers_are_known(name):
    assert _names.is_identifier(name)


@pytest.mark.parametrize("name", ["HR", "device_id", "itemid", "packet_id", "SpO2", "temperature"])
def test_other_names_are_no_identifiers_of_people(name):
    assert not _names.names_people(name)
    if name != "itemid":
        assert not _names.is_identifier(name)


@pytest.mark.parametrize(
    ("kind", "names", "others"),
    [
        (_names.names_people, ["patient", "mouse_7", "pt"], ["id", "staying", "HR"]),
        (_names.is_quality, ["hr_quality", "lead_off", "SQI"], ["HR", "value"]),
        (_names.is_device, ["battery_pct", "packet"], ["HR", "pack"]),
        (_names.is_counting, ["row", "Sample Index", "epoch"], ["HR", "arrow"]),
        (_names.is_state, ["sleep_stage", "posture", "sex"], ["HR", "patient"]),
        (_names.is_kind, ["Record Type", "Aufzeichnungstyp"], ["heart", "HR", "start"]),
        (_names.is_label, ["SepsisLabel", "sleep_stage", "outcome"], ["HR", "labels_made_by"]),
        (_names.is_static, ["Age", "height (cm)"], ["heart_rate"]),
    ],
)
def test_roles_are_told_by_words_and_not_by_parts_of_words(kind, names, others):
    assert all(map(kind, names))
    assert not any(map(kind, others))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("HR (bpm)", "bpm"),
        ("Glucose mg/dL", "mg/dL"),
        ("Temp [°C]", "°C"),
        ("pulse_rate_bpm", "bpm"),
        ("temperature_celsius", "degC"),
        ("battery_pct", "%"),
        ("ecg_mv", "mV"),
        ("HR", "1"),
        ("EEG C", "1"),  # an electrode's side, not a temperature
        ("bpm", "1"),  # a name, not a unit
        ("x ()", "1"),
    ],
)
def test_units_stand_in_names(name, unit):
    assert _names.unit_in(name) == unit


def test_the_first_known_name_wins():
    names = {"hr": "HR", "time": "Time", "ts": "ts"}
    assert _names.first_of(names, _names.TIMES) == "Time"
    assert _names.first_of(names, _names.UNITS) is None
