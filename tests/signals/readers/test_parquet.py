from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reader import ReaderContract, same
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers import csv
from tsfm_adapt.signals.readers.parquet import Config

WIDE = {"layout": "wide", "subject": "id", "units": {"HR": "bpm"}}


class TestParquetContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        frame = pd.DataFrame(
            {
                "id": ["b", "a", "a", "b"],
                "time": pd.to_datetime(["2020-01-01 00:01", "2020-01-01 00:00"] * 2),
                "HR": [71.0, 80.0, np.nan, 70.0],
                "SpO2": pd.array([97, None, 95, 96], dtype="Int64"),
            }
        )
        frame.to_parquet(tmp_path / "x.parquet")
        return Config(
            root=str(tmp_path), layout="wide", subject="id", units={"HR": "bpm", "SpO2": "%"}
        )


def write(path, **columns):
    pd.DataFrame(columns).to_parquet(path)
    return str(path)


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.datetimes(pd.Timestamp(1900, 1, 1), pd.Timestamp(2200, 1, 1)),
            st.none() | st.floats(-1e6, 1e6),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(deadline=None, max_examples=30)
def test_a_table_reads_the_same_from_parquet_and_csv(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("both")
    subject, time, value = zip(*rows, strict=True)
    frame = pd.DataFrame(
        {"id": subject, "time": pd.to_datetime(list(time)), "HR": np.array(value, dtype=float)}
    )
    frame.to_parquet(folder / "x.parquet")
    frame.to_csv(folder / "x.csv", index=False)
    typed = list(Config(root=str(folder / "x.parquet"), **WIDE).read(()))
    text = list(csv.Config(root=str(folder / "x.csv"), **WIDE).read(()))
    assert all(same(one, other) for one, other in zip(typed, text, strict=True))


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_beyond_nanoseconds_are_read(tmp_path, unit):
    time = np.array(["2896-10-10T00:31:25", "2896-10-10T00:32:25"], dtype=f"datetime64[{unit}]")
    root = write(tmp_path / "x.parquet", id=[1, 1], time=time, HR=[70, 71])
    (events,) = Config(root=root, **WIDE).read(())
    assert events.start == np.datetime64("2896-10-10T00:31:25", "s")
    assert events.time_s.tolist() == [0, 60]
    assert events.subject == "1"


def test_times_with_a_zone_become_utc(tmp_path):
    time = pd.to_datetime(["2020-07-01 02:00"]).tz_localize("Europe/Paris")
    (events,) = Config(
        root=write(tmp_path / "x.parquet", id=["a"], time=time, HR=[1]), **WIDE
    ).read(())
    assert events.start == np.datetime64("2020-07-01T00:00:00", "s")


def test_categories_and_whole_numbers_with_gaps_are_read(tmp_path):
    root = write(
        tmp_path / "x.parquet",
        id=pd.Categorical(["a", "a"]),
        time=[0, 1],
        HR=pd.array([None, 71], dtype="Int64"),
    )
    (events,) = Config(root=root, **WIDE).read(())
    assert (events.subject, events.value.tolist(), events.time_s.tolist()) == ("a", [71], [1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "time": pd.to_datetime([None]), "HR": [1]}, "row 0, column 'time'"),
        ({"id": [None], "time": [0], "HR": [1]}, "row 0, column 'id'"),
        ({"id": ["a"], "time": [0], "HR": ["x"]}, "row 0, column 'HR': .*found 'x'"),
        ({"id": ["a"], "time": [0.0], "HR": [np.inf]}, "row 0, column 'HR': .*finite"),
        ({"id": ["a"], "time": [0]}, "no column 'HR'"),
        ({"id": [], "time": [], "HR": []}, "has a header only"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        list(Config(root=write(tmp_path / "x.parquet", **columns), **WIDE).read(()))


def test_a_zone_is_kept_and_a_time_without_a_unit_is_noted_once_a_file(tmp_path, monkeypatch):
    time = pd.to_datetime(["2020-07-01 02:00"]).tz_localize("Europe/Paris")
    root = write(tmp_path / "x.parquet", id=["a"], time=time, HR=[1])
    (events,) = Config(root=root, **WIDE).read(())
    assert events.zone == "Europe/Paris"
    for name, size in (("_LARGE_ROWS", 5), ("_BATCH_ROWS", 10), ("_PART_ROWS", 20)):
        monkeypatch.setattr(f"tsfm_adapt.signals.readers.parquet.{name}", size)
    ids = np.repeat([f"p{n:02d}" for n in range(10)], 12)
    values = np.arange(120) % 7
    root = write(tmp_path / "x.parquet", id=ids, time=np.tile(np.arange(12), 10), HR=values)
    config = Config(root=root, **WIDE)
    assert len(list(config.tables(tmp_path / "x.parquet"))) > 2
    items = list(config.read(()))
    assert [item.subject for item in items] == [f"p{n:02d}" for n in range(10)]
    assert [item.value.tolist() for item in items] == values.reshape(10, 12).tolist()
    noted = [note for item in items for note in item.notes]
    assert noted == ["file(s) whose column 'time' states no unit, read as seconds"]


def test_durations_and_days_keep_their_types(tmp_path):
    apart = pd.to_timedelta([0, 1500], unit="ms")
    root = write(tmp_path / "x.parquet", id=["a", "a"], time=apart, HR=[1, 2])
    (events,) = Config(root=root, **WIDE).read(())
    assert events.time_s.tolist() == [0, 1.5]
    days = [date(2020, 1, 1), date(2020, 1, 2)]
    root = write(tmp_path / "x.parquet", id=["a", "a"], time=days, HR=[1, 2])
    (events,) = Config(root=root, **WIDE).read(())
    assert events.time_s.tolist() == [0, 86400]


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "x.parquet"
    write(path, id=["a"] * 50, time=range(50), HR=range(50))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.parquet must be a Parquet file"):
        list(Config(root=str(path), **WIDE).read(()))
