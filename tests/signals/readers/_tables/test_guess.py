"""What tables, arrays and Empatica folders are recognised by, and that guesses read them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reader import same
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers import csv, empatica, npy, parquet

WIDE = "patient,time,HR [bpm],SpO2,sex\n" + "".join(
    f"p{p},{60 * t},{70 + t},97,F\n" for p in range(2) for t in range(4)
)
RNG = np.random.default_rng(0)


def guessed(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return csv.Config.guess(path)


def asked(path):
    """Why a guess stops, and the settings that would go on; None = there are none."""
    with pytest.raises(DataError) as problem:
        csv.Config.guess(path)
    line = problem.value.remedy
    return str(problem.value), line and json.loads(line.removeprefix("reader="))


def bare(items):
    return sorted((replace(item, notes={}) for item in items), key=lambda item: item.id)


def test_a_wide_table_is_read_by_what_is_guessed(tmp_path):
    found = guessed(tmp_path, WIDE)
    assert (found.layout, found.subject, found.time) == ("wide", "patient", "time")
    assert found.units == {"HR [bpm]": "bpm", "SpO2": "1"}
    assert found.attributes == ("sex",)
    items = list(found.read(()))
    assert [(item.subject, item.attributes) for item in items] == [
        ("p0", {"sex": "F"}),
        ("p1", {"sex": "F"}),
    ]
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


def test_a_sensors_limits_are_limits_and_words_among_numbers_are_missing(tmp_path):
    words = {3: "Low", 5: ">400", 7: "calibrating"}
    rows = "".join(f"a,{300 * t},{words.get(t, 90 + t)}\n" for t in range(30))
    found = guessed(tmp_path, "id,time,glucose\n" + rows)
    assert (found.censored, found.missing_values) == ("limit", ("calibrating",))
    (item,) = found.read(())
    assert len(item.value) == 28
    assert item.value.max() == 400
    assert {count for note, count in item.notes.items() if "sensor's range" in note} == {1}


def test_days_and_months_are_told_apart_by_the_shorter_span(tmp_path):
    rows = "".join(f"a,0{day}/02/2020 10:00,{day}\n" for day in range(1, 6))
    found = guessed(tmp_path, "id,when,HR\n" + rows)
    assert (found.time, found.time_format) == ("when", "%d/%m/%Y %H:%M")
    (item,) = found.read(())
    assert item.time_s[-1] == 4 * 86400


@given(
    people=st.integers(2, 4),
    order=st.sampled_from(["blocks", "mixed", "newest first"]),
    form=st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    layout=st.sampled_from(["wide", "long"]),
    files=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_rows_mean_the_same_however_they_are_laid_out(
    tmp_path_factory, people, order, form, delimiter, layout, files
):
    root = tmp_path_factory.mktemp("layouts")
    stamps = pd.date_range("2021-03-20 08:00", periods=60, freq="7h")
    rows = [
        (f"p{p}", stamp, 60 + (7 * p + n) % 19)
        for p in range(people)
        for n, stamp in enumerate(stamps)
    ]
    if order == "mixed":
        rows = sorted(rows, key=lambda row: row[1])
    if order == "newest first":
        rows = rows[::-1]
    names = ["id", "time", "HR"] if layout == "wide" else ["id", "time", "variable", "value"]
    text = {}
    for subject, stamp, value in rows:
        cells = [subject, stamp.strftime(form), *(["HR"] if layout == "long" else []), str(value)]
        place = subject if files else "all"
        text.setdefault(place, delimiter.join(names) + "\n")
        text[place] += delimiter.join(cells) + "\n"
    for place, own in text.items():
        (root / f"{place}.csv").write_text(own)
    items = sorted(csv.Config.guess(root).read(()), key=lambda item: item.subject)
    assert [item.subject for item in items] == [f"p{p}" for p in range(people)]
    for number, item in enumerate(items):
        assert item.start == np.datetime64("2021-03-20T08:00:00")
        assert item.time_s.tolist() == [7 * 3600 * n for n in range(60)]
        assert item.value.tolist() == [60 + (7 * number + n) % 19 for n in range(60)]


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False), st.sampled_from(["stamp", "elapsed", "clock"]))
def test_a_shuffled_table_reads_the_same_or_is_asked_about(tmp_path_factory, random, kind):
    root = tmp_path_factory.mktemp("shuffled")
    rows = []
    for n in range(120):
        stamp = {
            "stamp": f"2021-03-20 {8 + n // 12:02d}:{n % 12 * 5:02d}:00",
            "elapsed": f"{300 * n}",
            "clock": f"{8 + n // 12:02d}:{n % 12 * 5:02d}:00",
        }[kind]
        rows.append(f"{'ab'[n % 2]},{stamp},{60 + n % 17}\n")
    head = "id,time,HR\n"
    (root / "sorted.csv").write_text(head + "".join(rows))
    (root / "shuffled.csv").write_text(head + "".join(random.sample(rows, len(rows))))
    first = bare(csv.Config.guess(root / "sorted.csv").read(()))
    try:
        second = bare(csv.Config.guess(root / "shuffled.csv").read(()))
    except DataError:
        assert kind == "clock"  # which day is a row of?
        return
    assert all(same(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must be text"),
        ("time,note\n0,a\n60,b\n", "columns of numbers beside the times"),
        ("1396100000\n1.0\n70\n71\n", "column of times"),  # an Empatica file
        ("time,HR\n0,70\n60,71,72\n", "equally many cells"),
        ('time,HR\n0,"70\n60,71\n', "equally many cells"),
        ("time,HR" + ",0" * 100_000, "column of"),  # a line, longer than what is looked at
        ("\0\0\0\n\0\n\0", "must be text"),
        ("HR,SpO2\n70,97\n71,98\n", "column of times"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(tmp_path, text, reason):
    (tmp_path / "table.csv").write_text(text)
    message, settings = asked(tmp_path / "table.csv")
    assert reason in message
    assert "table.csv" in message
    assert settings is None


def test_no_file_of_the_format_is_no_guess(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"")
    assert csv.Config.guess(tmp_path) is None
    assert parquet.Config.guess(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "doubt", "expected"),
    [
        (
            "HR,SpO2\n" + "".join(f"{70 + n * n % 7},{97 + n % 3}\n" for n in range(60)),
            "no column is a time",
            {"time": None, "rate_hz": 1},
        ),
        (
            "time,HR\n" + "".join(f"{n // 4 * 60},{60 + 10 * (n % 4)}\n" for n in range(160)),
            "subjects or channels that no column names",
            {"duplicates": "packets"},
        ),
        (
            "time,HR\n" + "".join(f"02/03/2020 10:{n:02d},{60 + n % 9}\n" for n in range(40)),
            "no row decides",
            {"time": "time"},
        ),
        (
            "time,id,glucose\n"
            + "".join(
                f"{300 * n},{p},{(110 + n % 50) / (18 if p == 2 else 1):.1f}\n"
                for p in range(4)
                for n in range(60)
            ),
            "two units in one column",
            {"units_by_subject": {"2": {"glucose": "mmol/L"}}},
        ),
        (
            "time,HR\n" + "".join(f"{n % 40},{60 + n % 7}\n" for n in range(80)),
            "runs backwards",
            {"backward": "session"},
        ),
    ],
)  # fmt: skip
def test_what_could_be_otherwise_is_asked_with_settings_that_read_it(
    tmp_path, text, doubt, expected
):
    path = tmp_path / "table.csv"
    path.write_text(text)
    message, settings = asked(path)
    assert doubt in message
    assert expected.items() <= settings.items()
    assert list(csv.Config(root=str(path), **settings).read(()))


def test_files_of_a_folder_are_read_alike_or_refused(tmp_path):
    rows = lambda name: f"time,{name}\n" + "".join(f"{60 * n},{70 + n % 5}\n" for n in range(30))  # noqa: E731
    (tmp_path / "a.csv").write_text(rows("HR"))
    assert csv.Config.guess(tmp_path).root == str(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(rows("HR"))
    assert [item.subject for item in csv.Config.guess(tmp_path).read(())] == ["a", "b"]
    (tmp_path / "b.csv").write_text(rows("SpO2"))
    message, settings = asked(tmp_path)
    assert "of one person" in message
    one = list(csv.Config(root=str(tmp_path), **settings).read(()))
    assert [item.channels for item in one] == [("HR", "SpO2")]
    each = list(csv.Config(root=str(tmp_path), **settings | {"join": False}).read(()))
    assert [item.subject for item in each] == ["a", "b"]
    (tmp_path / "b.csv").write_text(rows("SpO2").replace(",", ";"))
    assert "delimiter" in asked(tmp_path)[0]


def test_files_that_are_called_by_their_channels_are_joined(tmp_path):
    for name in ("HR", "SpO2"):
        text = f"time,{name}\n" + "".join(f"{60 * n},{70 + n % 5}\n" for n in range(30))
        (tmp_path / f"{name.lower()}.csv").write_text(text)
    (item,) = csv.Config.guess(tmp_path).read(())
    assert item.channels == ("HR", "SpO2")


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
    with pytest.raises(DataError, match=r"t\.parquet must be a Parquet file"):
        parquet.Config.guess(tmp_path)


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
