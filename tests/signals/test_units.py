import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.units import canonical, convert, other_units, plain_micro

SPELLINGS = ["pm", "bpm", "breaths/min", "1/min", "%", "mmHg", "kPa", "°C", "C", "degF", "mg/dL"]
SPELLINGS += ["mmol/L", "mV", "uV", "µV", "V", "s", "ms", "uS", "NU", "L/min", "mL"]


@pytest.mark.parametrize(
    ("unit_from", "unit_to", "value", "expected"),
    [
        ("degF", "degC", 98.6, 37.0),
        ("°F", "C", -40.0, -40.0),
        ("degC", "degF", 100.0, 212.0),
        ("kPa", "mmHg", 13.332, 99.998),
        ("mmHg", "kPa", 120.0, 15.9987),
        ("V", "uV", 1.5e-3, 1500.0),
        ("\u00b5V", "mV", 1500.0, 1.5),  # micro sign
        ("\u03bcV", "mV", 1500.0, 1.5),  # Greek mu
        ("ms", "s", 830.0, 0.83),
    ],
)
def test_conversions_give_the_textbook_numbers(unit_from, unit_to, value, expected):
    scale, offset = convert(unit_from, unit_to)
    assert value * scale + offset == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("other", ["bpm", "breaths/min", "1/min", "beats/min"])
def test_per_minute_of_wfdb_is_any_rate_per_minute(other):
    assert convert("pm", other) == convert(other, "pm") == (1.0, 0.0)


def test_spellings_share_one_name():
    assert {canonical(u) for u in ("pm", "bpm", " breaths/min ", "1/min")} == {"1/min"}
    assert {canonical(u) for u in ("degC", "°C", "C")} == {"degC"}
    assert {canonical(u) for u in ("\u00b5S", "\u03bcS", "uS")} == {"uS"}
    assert {canonical(u) for u in ("NU", "dimensionless")} == {"NU"}
    assert canonical("furlong") is None


@pytest.mark.parametrize("text", ["µ", "μ"])
@pytest.mark.parametrize("unit", ["V", "S", "mol/furlong"])
def test_the_micro_sign_is_u_however_it_was_written_and_decoded(text, unit):
    broken = text.encode().decode("latin-1")  # UTF-8 that was taken for Latin-1
    for sign in (text, broken):
        assert plain_micro(f"{sign}{unit}") == f"u{unit}"
        assert canonical(f" {sign}{unit}") == canonical(f"u{unit}")
        assert convert(f"{sign}{unit}", f"u{unit}") == (1.0, 0.0)
    assert canonical(f"{broken}V") == canonical("microvolts") == "uV"
    assert plain_micro("mV") == "mV"


def test_raw_counts_convert_to_nothing_else():
    assert canonical("ADU") == "adu"
    with pytest.raises(DataError, match="'adu' is a unit of uncalibrated counts"):
        convert("adu", "mV")


def test_units_that_differ_in_case_only_are_kept_apart():
    assert canonical("uS") != canonical("us")
    with pytest.raises(DataError):
        convert("S", "s")


def test_identical_units_are_accepted_even_where_unknown():
    assert convert("furlong", "furlong") == (1.0, 0.0)
    assert convert("", "") == (1.0, 0.0)


def test_glucose_converts_and_another_substance_is_refused():
    scale, offset = convert("mmol/L", "mg/dL", quantity="glucose")
    assert (5.5 * scale, offset) == (pytest.approx(99.086, abs=1e-3), 0.0)
    back, _ = convert("mg/dl", "mmol/l", quantity="glucose")
    assert scale * back == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(DataError, match="known substance"):
        convert("mmol/L", "mg/dL")


@pytest.mark.parametrize(
    ("unit_from", "unit_to", "words"),
    [
        ("mmHg", "bpm", "unit of pressure, 'bpm' of rate"),
        ("furlong", "mV", "unit 'furlong' is unknown.*Known: 1/min, %, mmHg"),
        ("mvolt", "V", "Did you mean 'volt'"),
        ("", "mV", "not stated.*from_unit"),
        ("NU", "%", "do not convert"),
    ],
)
def test_a_pair_without_a_safe_conversion_is_refused_with_the_reason(unit_from, unit_to, words):
    with pytest.raises(DataError, match=words):
        convert(unit_from, unit_to)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS), st.floats(-500, 500))
def test_every_conversion_can_be_undone(unit_from, unit_to, value):
    try:
        scale, offset = convert(unit_from, unit_to, quantity="glucose")
    except DataError:
        with pytest.raises(DataError):
            convert(unit_to, unit_from, quantity="glucose")
        return
    back_scale, back_offset = convert(unit_to, unit_from, quantity="glucose")
    there = value * scale + offset
    assert there * back_scale + back_offset == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_other_units_convert_as_units_do():
    by_name = {other.name: other for other in other_units("mg/dL")}
    assert by_name["mmol/L"].scale == pytest.approx(18.0156)
    (fahrenheit,) = other_units("°C")
    assert 98.6 * fahrenheit.scale + fahrenheit.offset == pytest.approx(37.0)
    assert {other.name: round(other.scale, 6) for other in other_units("mmHg")} == {
        "kPa": 7.500616,
        "Pa": 0.007501,
    }
    assert other_units("bpm") == ()
    assert [other.scale for other in other_units("steps")] == [1e3, 1e-3, 1e6, 1e-6]
