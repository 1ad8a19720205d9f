"""What names of columns say."""

import pytest

from tsfm_adapt.signals.readers._tables import vocabulary


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
    assert vocabulary.plain(name) == plain
    assert vocabulary.words(name) == words


@pytest.mark.parametrize(
    "name",
    ["subject", "Patient ID", "pt_no", "study_id", "ICUSTAY_ID", "stay_id", "unique_id", "mrn"],
)
def test_identifiers_are_known(name):
    assert vocabulary.is_identifier(name)


@pytest.mark.parametrize("name", ["HR", "device_id", "itemid", "packet_id", "SpO2", "temperature"])
def test_other_names_are_no_identifiers_of_people(name):
    assert not vocabulary.names_people(name)
    if name != "itemid":
        assert not vocabulary.is_identifier(name)


@pytest.mark.parametrize(
    ("kind", "names", "others"),
    [
        (vocabulary.names_people, ["patient", "mouse_7", "pt"], ["id", "staying", "HR"]),
        (vocabulary.is_quality, ["hr_quality", "lead_off", "SQI"], ["HR", "value"]),
        (vocabulary.is_device, ["battery_pct", "packet"], ["HR", "pack"]),
        (vocabulary.is_counting, ["row", "Sample Index", "epoch"], ["HR", "arrow"]),
        (vocabulary.is_state, ["sleep_stage", "posture", "sex"], ["HR", "patient"]),
        (vocabulary.is_kind, ["Record Type", "Aufzeichnungstyp"], ["heart", "HR", "start"]),
        (vocabulary.is_label, ["SepsisLabel", "sleep_stage", "outcome"], ["HR", "labels_made_by"]),
        (vocabulary.is_static, ["Age", "height (cm)"], ["heart_rate"]),
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
    assert vocabulary.unit_in(name) == unit


def test_the_first_known_name_wins():
    names = {"hr": "HR", "time": "Time", "ts": "ts"}
    assert vocabulary.first_of(names, vocabulary.TIMES) == "Time"
    assert vocabulary.first_of(names, vocabulary.UNITS) is None
