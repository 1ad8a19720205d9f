import pytest

from tsfm_adapt.signals.plausible import vital


@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        ("HR", "heart rate"),
        ("Heart Rate (bpm)", "heart rate"),
        ("PULSE", "heart rate"),
        ("NBPSys", "systolic pressure"),
        ("SysABP", "systolic pressure"),
        ("NIDiasABP", "diastolic pressure"),
        ("ABPMean", "mean pressure"),
        ("MAP", "mean pressure"),
        ("RespRate", "breathing rate"),
        ("SpO2", "oxygen saturation"),
        ("Temp rectal", "temperature"),
        ("gl", "glucose"),
    ],
)
def test_usual_names_of_vital_signs_are_known(name, quantity):
    assert vital(name).quantity == quantity


@pytest.mark.parametrize("name", ["II", "V5", "PLETH", "mean", "K", "EEG Fpz-Cz", "", "(bpm)"])
def test_other_names_are_not(name):
    assert vital(name) is None


def test_limits_follow_the_unit_and_other_quantities_have_none():
    assert vital("Temp").limits_in("degC") == (15, 45)
    assert vital("Temp").limits_in("degF") == (59, 113)
    assert vital("glucose").limits_in("mmol/L") == pytest.approx((0.555, 83.3))
    assert vital("RESP").limits_in("mV") is None  # a waveform
    assert vital("HR").limits_in("no such unit") is None


def test_no_signal_lies_outside_where_a_monitor_writes_zero_for_it():
    for name in ("HR", "RESP", "SpO2", "SBP", "DBP", "MAP", "Temp", "glucose"):
        assert vital(name).limits[0] > 0


def test_a_unit_is_told_by_the_median_or_not_at_all():
    assert vital("glucose").unit_of(106) == "mg/dL"
    assert vital("glucose").unit_of(5.9) == "mmol/L"
    assert vital("glucose").unit_of(36) is None  # between both
    assert vital("temp").unit_of(98.2) == "degF"
    assert vital("HR").unit_of(0.8) is None  # a period?
    assert vital("HR").unit_of(float("nan")) is None
