"""What tables, arrays and Empatica folders are recognised by."""

import numpy as np
import pandas as pd
import pytest

from tsfm_adapt.signals.readers import csv, empatica, npy, parquet

WIDE = "patient,time,HR [bpm],SpO2,sex\n" + "".join(
    f"p{p},{60 * t},{70 + t},97,F\n" for p in range(2) for t in range(4)
)


def guessed(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return csv.Config.guess(path)


def test_a_wide_table_is_read_by_what_is_guessed(tmp_path):
    found = guessed(tmp_path, WIDE)
    assert (found.layout, found.subject, found.time) == ("wide", "patient", "time")
    assert found.units == {"HR [bpm]": "bpm", "SpO2": "1"}
    items = list(found.read(()))
    assert [item.subject for item in items] == ["p0", "p1"]
    assert items[0].value[items[0].channel == 0].tolist() == [70, 71, 72, 73]


def test_a_long_table_with_a_column_of_units(tmp_path):
    rows = "".join(
        f"a,2020-01-01 00:0{t}:00,{name},{t + 60},{unit}\n"
        for t in range(5)
        for name, unit in (("HR", "bpm"), ("MAP", "mmHg"))
    )
    found = guessed(tmp_path, "subject_id,charttime,variable,valuenum,valueuom\n" + rows)
    assert (found.layout, found.channel, found.value, found.unit) == (
        "long",
        "variable",
        "valuenum",
        "valueuom",
    )
    (item,) = found.read(())
    assert dict(zip(item.channels, item.units, strict=True)) == {"HR": "bpm", "MAP": "mmHg"}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    found = guessed(tmp_path, WIDE.replace(",", delimiter))
    assert found.delimiter == delimiter
    assert len(list(found.read(()))) == 2


def test_words_among_numbers_are_missing_values(tmp_path):
    rows = "".join(f"a,{300 * t},{'Low' if t == 3 else 90 + t}\n" for t in range(12))
    found = guessed(tmp_path, "id,time,glucose\n" + rows)
    assert found.missing_values == ("Low",)
    (item,) = found.read(())
    assert len(item.value) == 11


def test_days_and_months_are_told_apart_by_the_shorter_span(tmp_path):
    rows = "".join(f"a,0{day}/02/2020 10:00,{day}\n" for day in range(1, 6))
    found = guessed(tmp_path, "id,when,HR\n" + rows)
    assert (found.time, found.time_format) == ("when", "%d/%m/%Y %H:%M")
    (item,) = found.read(())
    assert item.time_s[-1] == 4 * 86400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HR,SpO2\n70,97\n71,98\n",  # no time
        "time,note\n0,a\n60,b\n",  # no numbers
        "1396100000\n1.0\n70\n71\n",  # an Empatica file
        "time,HR\n0,70\n60,71,72\n",  # ragged
        'time,HR\n0,"70\n60,71\n',  # a quote that never ends
        "time_ms,HR\n1600000000000,70\n1600000001000,71\n",
        "id,time,HR\n,0,70\n,60,71\n",  # whose?
        "time,HR" + ",0" * 100_000,  # one line, longer than what is looked at
        "\0\0\0\n\0\n\0",
    ],
)
def test_what_cannot_be_told_is_not_guessed(tmp_path, text):
    assert guessed(tmp_path, text) is None


def test_files_of_a_folder_that_differ_are_not_one_table(tmp_path):
    (tmp_path / "a.csv").write_text("time,HR\n0,70\n60,71\n120,71\n")
    assert csv.Config.guess(tmp_path).root == str(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("time,SpO2\n0,97\n60,98\n120,98\n")
    both = csv.Config.guess(tmp_path)
    assert both.units == {"HR": "1", "SpO2": "1"}
    assert [item.subject for item in both.read(())] == ["a", "b"]
    (tmp_path / "c.csv").write_text("id,when,HR\nx,2020-01-01,70\nx,2020-01-02,71\n")
    assert csv.Config.guess(tmp_path) is None


def test_a_parquet_table_states_its_times(tmp_path):
    frame = pd.DataFrame(
        {
            "patient_id": ["a"] * 4,
            "moment": pd.date_range("2020-01-01", periods=4, freq="min"),
            "HR": [70.0, np.nan, 71, 72],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    found = parquet.Config.guess(tmp_path)
    assert (found.time, found.subject, found.units) == ("moment", "patient_id", {"HR": "1"})
    (item,) = found.read(())
    assert item.time_s.tolist() == [0, 120, 180]
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    assert parquet.Config.guess(tmp_path) is None


def test_arrays_are_recognised_by_shape_and_name(tmp_path):
    for part, trials in (("train", 6), ("test", 4)):
        np.save(tmp_path / f"EEG_{part}.npy", np.ones((trials, 2, 8), np.float32))
        np.save(tmp_path / f"labels_{part}.npy", np.arange(trials) % 2)
        np.save(tmp_path / f"subject_{part}.npy", np.array([f"s{i}" for i in range(trials)]))
    found = npy.Config.guess(tmp_path)
    assert (found.values, found.labels) == ("EEG_{part}.npy", "labels_{part}.npy")
    assert (found.subjects, found.channels) == ("subject_{part}.npy", ("ch0", "ch1"))
    items = list(found.read(()))
    assert len(items) == 10
    assert {item.labels["part"] for item in items} == {"train", "test"}
    assert items[3].subject == "s3"


def test_one_array_has_no_parts(tmp_path):
    np.save(tmp_path / "trials.npy", np.ones((5, 3, 8)))
    for path in (tmp_path, tmp_path / "trials.npy"):
        found = npy.Config.guess(path)
        assert (found.values, found.parts, found.labels) == ("trials.npy", None, None)
        assert len(list(found.read(()))) == 5


def test_other_arrays_are_not_trials(tmp_path):
    np.save(tmp_path / "image.npy", np.ones((5, 3)))
    np.save(tmp_path / "objects.npy", np.array([[[{}]]], dtype=object), allow_pickle=True)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    assert npy.Config.guess(tmp_path) is None


def test_empatica_begins_with_a_time_and_a_rate(tmp_path):
    folder = tmp_path / "S1" / "Final"
    folder.mkdir(parents=True)
    (folder / "EDA.csv").write_text("1396100000\n4.0\n0.1\n")
    assert empatica.Config.guess(tmp_path).root == str(tmp_path)
    assert empatica.Config.guess(folder) is None
    (folder / "EDA.csv").write_text("time,EDA\n0,0.1\n")
    assert empatica.Config.guess(tmp_path) is None
