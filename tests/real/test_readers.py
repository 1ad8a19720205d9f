"""Real recordings as their files state them; each test names the trap that it is about."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.labels import AroundSpans, LabelledWindows
from tsfm_adapt.signals.readers import challenge2012, csv, empatica, npy, ts, wfdb
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, split
from tsfm_adapt.signals.windows import WindowSpec

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the development recordings are not beside this checkout"
)


def wfdb_records(folder, channels=(), **fields):
    pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    return list(wfdb.Config(root=str(DATA / folder), **fields).read(channels))


def test_zeros_and_invalid_codes_of_one_record_both_stay_as_they_are():
    first, second = wfdb_records("mimic2_numerics", subject_pattern="^(s[0-9]+)-")
    assert (first.subject, second.subject) == ("s00001", "s25047")
    assert first.rate_hz == second.rate_hz == 1 / 60
    assert first.start == np.datetime64("2896-10-10T00:31:25", "s")
    assert (first.samples, second.samples) == (1936, 72)
    assert first.attributes == {"age": 60.0, "sex": "F"}
    assert second.attributes == {}
    assert dict(zip(first.channels, first.units, strict=True))["RESP"] == "pm"
    zeros = dict(zip(first.channels, (first.values == 0).mean(1), strict=True))
    missing = dict(zip(first.channels, np.isnan(first.values).mean(1), strict=True))
    for name, share in {"HR": 0.024, "RESP": 0.023, "PULSE": 0.1875, "SpO2": 0.1875}.items():
        assert zeros[name] == pytest.approx(share, abs=5e-4)
        assert missing[name] == 0
    for name in ("NBPSys", "NBPDias", "NBPMean"):
        assert missing[name] == pytest.approx(0.92, abs=5e-3)
        assert zeros[name] == 0
    for name in ("ABPSys", "ABPDias", "ABPMean"):  # no arterial line
        assert zeros[name] == pytest.approx(0.996, abs=5e-4)


@pytest.mark.parametrize(
    "folder",
    ["mimic2_numerics", "mimicdb_03700181", "challenge2015_alarm", "mitdb_100", "ptbdb_s0010"],
)
def test_every_sample_equals_that_of_the_wfdb_package(folder):
    package = pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    for recording in wfdb_records(folder):
        path = DATA / folder / recording.id.split("/")[0]
        record = package.rdrecord(str(path), smooth_frames=False)
        for name, unit, values in zip(
            recording.channels, recording.units, recording.values, strict=True
        ):
            index = record.sig_name.index(name)
            assert record.units[index] == unit
            assert recording.rate_hz == pytest.approx(record.fs * record.samps_per_frame[index])
            np.testing.assert_array_equal(values, record.e_p_signal[index])


def test_signals_of_a_mat_file_are_those_that_scipy_loads():
    io = pytest.importorskip("scipy.io", reason="scipy is not installed")
    stored = io.loadmat(DATA / "challenge2015_alarm" / "a103l.mat")["val"]
    lines = (DATA / "challenge2015_alarm" / "a103l.hea").read_text().splitlines()[1:4]
    first, _ = wfdb_records("challenge2015_alarm")
    assert (first.id, first.channels) == ("a103l", ("II", "V", "PLETH"))
    assert first.values.shape == stored.shape == (3, 82500)
    for values, digital, line in zip(first.values, stored.astype(float), lines, strict=True):
        gain, zero = line.split()[2].split("/")[0], line.split()[4]
        np.testing.assert_allclose(values, (digital - float(zero)) / float(gain))


def test_several_samples_a_frame_are_kept_as_a_recording_of_their_rate():
    slow, fast = wfdb_records("mimicdb_03700181")
    assert (slow.channels, slow.rate_hz, slow.samples) == (("ABP", "RESP"), 125.0, 75000)
    assert (fast.channels, fast.rate_hz, fast.samples) == (("MCL1",), 500.0, 300000)
    assert [r.id for r in wfdb_records("mimicdb_03700181", ("ABP",))] == ["03700181"]


def test_pressure_and_electrocardiogram_of_two_rates_share_one_clock():
    parts = wfdb_records("mimicdb_03700181", ("ABP", "MCL1"))
    channels = (ChannelPlan("ABP", "mmHg", "ABP"), ChannelPlan("MCL1", "mV", "MCL1"))
    (recording,) = clean(parts, CleaningPlan(channels, rate_hz=125.0))
    assert (recording.id, recording.samples) == ("03700181", 75000)
    np.testing.assert_array_equal(recording.values[0], parts[0].values[0])
    four = np.median(parts[1].values[0].reshape(-1, 4), axis=1)
    np.testing.assert_array_equal(recording.values[1], four)


def test_a_truncated_real_record_is_refused(tmp_path):
    pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    for name in ("s00001-2896-10-10-00-31n.hea", "3975656n.dat"):
        shutil.copyfile(DATA / "mimic2_numerics" / name, tmp_path / name)
    signal = tmp_path / "3975656n.dat"
    signal.write_bytes(signal.read_bytes()[:30000])
    with pytest.raises(DataError, match=r"3975656n\.dat has 30000 bytes.* need 38720"):
        list(wfdb.Config(root=str(tmp_path)).read(()))


def test_annotated_beats_are_where_the_heart_contracts():
    (recording,) = wfdb_records("mitdb_100", annotations="atr")
    labels = [span.label for span in recording.spans]
    counts = {name: labels.count(name) for name in sorted(set(labels))}
    assert counts == {"+": 1, "A": 33, "N": 2239, "V": 1}
    beats = AroundSpans({"N": 0, "A": 1, "V": 2}, ("normal", "atrial", "ventricular"), before=72)
    windows = LabelledWindows([recording], WindowSpec(180, 0), beats)
    assert len(windows) == 2273 - 1  # the last beat has no room behind it
    assert windows.classes_of.sum(0).tolist() == [2238, 33, 1]
    lead = windows.gather(range(500)).values[:, recording.channels.index("MLII")]
    peak = np.abs(lead - np.median(lead, axis=1, keepdims=True)).argmax(axis=1)
    assert np.mean(np.abs(peak - 72) <= 5) > 0.98


def test_movement_trials_have_their_classes_and_parts():
    config = npy.Config(
        root=str(DATA / "uea_handmovementdirection"),
        channels=tuple(f"MEG{i}" for i in range(10)),
        unit="1",
        rate_hz=400,
    )
    parts = split(RecordingSet(tuple(config.read(()))), SplitPlan("predefined", val=0.2))
    assert {part: len(kept) for part, kept in parts.items()} == {
        "train": 128,
        "val": 32,
        "test": 74,
    }
    assert {r.values.shape for r in parts["test"]} == {(10, 400)}
    labels = [r.labels["label"] for part in ("train", "val") for r in parts[part]]
    assert [labels.count(n) for n in range(4)] == [40] * 4
    assert np.mean([r.labels["label"] == 0 for r in parts["test"]]) == pytest.approx(
        0.189, abs=1e-3
    )


def test_beats_of_the_archive_have_their_classes_and_split_into_halves():
    config = ts.Config(root=str(DATA / "ucr_ecg5000"), unit="1", rate_hz=125)
    beats = tuple(config.read(()))
    labels = [r.labels["label"] for r in beats]
    assert [labels.count(n) for n in range(1, 6)] == [292, 177, 10, 19, 2]
    assert {r.values.shape for r in beats} == {(1, 140)}
    assert labels == sorted(labels)  # so that halves in the file's order would share no class
    halves = split(RecordingSet(beats), SplitPlan(train=0.5, val=0.0, test=0.5, seed=0))
    assert (len(halves["train"]), len(halves["test"])) == (250, 250)
    assert {r.labels["label"] for r in halves["train"]} >= {1, 2, 3, 4}


def test_gaps_of_months_in_glucose_stay_in_the_times_of_events():
    config = csv.Config(
        root=str(DATA / "cgm_hall2018" / "hall2018_cgm.csv"),
        layout="wide",
        subject="id",
        units={"gl": "mg/dL"},
        attributes=("diagnosis",),
    )
    subjects = {events.subject: events for events in config.read(("gl",))}
    protocol = json.loads((DATA / "protocols.json").read_text())["glucose"]
    assert list(subjects) == protocol["fit_subjects"] + protocol["test_subjects"]
    assert sum(len(events.value) for events in subjects.values()) == 34890
    assert min(events.value.min() for events in subjects.values()) == 41
    assert max(events.value.max() for events in subjects.values()) == 303
    longest_d = {name: np.diff(e.time_s).max() / 86400 for name, e in subjects.items()}
    assert longest_d["1636-69-001"] == pytest.approx(417, abs=1)
    assert longest_d["1636-70-1010"] == pytest.approx(82, abs=1)
    first = subjects["1636-69-001"]
    assert first.start == np.datetime64("2014-02-03T08:42:12", "s")
    assert first.attributes == {"diagnosis": "diabetic"}
    assert (first.channels, first.units) == (("gl",), ("mg/dL",))


@pytest.fixture(scope="module")
def patients():
    begin = time.perf_counter()
    found = list(challenge2012.Config(root=str(DATA / "challenge2012_icu48h")).read(()))
    assert time.perf_counter() - begin < 10
    return found


def readings(patients, name):
    index = patients[0].channels.index(name)
    return [events.value[events.channel == index] for events in patients]


def test_the_thousand_patients_come_sorted_with_their_outcomes(patients):
    protocol = json.loads((DATA / "protocols.json").read_text())["icu_hourly"]
    ids = [events.id for events in patients]
    assert ids == sorted(ids)
    assert len(ids) == 1000
    assert [ids[0], ids[699]] == protocol["fit_records"]
    assert [ids[700], ids[999]] == protocol["test_records"]
    assert sum(events.labels["in_hospital_death"] for events in patients) == 136
    assert all(events.duration_s == 48 * 3600 for events in patients)


def test_unknown_statics_are_absent(patients):
    assert sum("height_cm" not in events.attributes for events in patients) == 475
    assert sum("weight_kg" not in events.attributes for events in patients) == 86
    assert all(value != -1 for events in patients for value in events.attributes.values())
    assert all((events.value != -1).all() for events in patients)
    assert patients[0].attributes == {"age": 54, "sex": "F", "icu_type": 4}


def test_absent_rows_are_absent_events_and_zeros_stay(patients):
    counts = {
        name: sum(map(len, readings(patients, name))) for name in ("HR", "SysABP", "NISysABP")
    }
    assert counts == {"HR": 57027, "SysABP": 35979, "NISysABP": 24457}
    zeros = {name: sum(int((v == 0).sum()) for v in readings(patients, name)) for name in counts}
    assert zeros == {"HR": 4, "SysABP": 197, "NISysABP": 41}
    without = np.mean([len(values) == 0 for values in readings(patients, "RespRate")])
    assert without == pytest.approx(0.72, abs=0.01)
    assert min(values.min(initial=99) for values in readings(patients, "Temp")) == -17.8


def test_several_readings_share_an_hour(patients):
    index = patients[0].channels.index("HR")
    hours = [np.floor(e.time_s[e.channel == index] / 3600) for e in patients]
    assert sum(len(h) - len(np.unique(h)) for h in hours) > 10000


def sittings(**fields):
    return list(empatica.Config(root=str(DATA / "wearable_exam_stress"), **fields).read(()))


def test_heart_rate_starts_later_than_the_other_signals():
    whole = sittings(worn_only=False)
    assert len(whole) == 15
    assert sorted({events.subject for events in whole}) == ["S1", "S2", "S3", "S4", "S5"]
    first_s = {
        name: [float(e.time_s[e.channel == e.channels.index(name)][0]) for e in whole]
        for name in ("HR", "EDA", "TEMP")
    }
    assert first_s["EDA"] == first_s["TEMP"] == [0.0] * 15
    assert sorted(first_s["HR"]) == [0.0, 2.0, 7.0] + [10.0] * 12
    minutes = [events.duration_s / 60 for events in whole]
    assert (min(minutes), max(minutes)) == pytest.approx((170.75, 430.37), abs=0.01)
    assert sum(len(events.spans) for events in whole) == 12


def test_time_off_the_wrist_is_left_out():
    for worn, whole in zip(sittings(), sittings(worn_only=False), strict=True):
        assert worn.id == whole.id
        assert 102 < worn.duration_s / 60 < 199
        assert 0.22 < 1 - worn.duration_s / whole.duration_s < 0.551
        median = {
            name: np.median(worn.value[worn.channel == index])
            for index, name in enumerate(worn.channels)
        }
        assert 26 < median["TEMP"] < 36
        assert median["EDA"] > 0.05
        assert whole.start < worn.start


def test_sittings_share_a_clock_of_minutes_after_cleaning():
    names = ("HR", "EDA", "TEMP")
    units = ("bpm", "uS", "degC")
    plan = CleaningPlan(tuple(map(ChannelPlan, names, units, names)), rate_hz=1 / 60)
    cleaned = clean(sittings(), plan)
    assert len(cleaned) == 15
    assert len(cleaned.subjects) == 5
    for recording in cleaned:
        assert 102 < recording.samples < 200
        assert np.isfinite(recording.values[1:]).all()
        assert np.isfinite(recording.values[0]).mean() > 0.99
