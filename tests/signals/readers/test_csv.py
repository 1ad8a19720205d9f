import gzip
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.reader import ReaderContract, same
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.csv import Config

WIDE = """id,time,HR,SpO2,sex,death,note
b,2020-01-01 00:01:30,71,97,F,0,ok
a,2020-01-01 00:00:00,80,,M,1,
a,2020-01-01 00:02:00,82,95,M,1,moved
b,2020-01-01 00:00:30,70,-1,F,0,
"""
LONG = """patient,minute,name,reading,unit
b,00:05,HR,70,bpm
a,00:01,HR,80,bpm
a,00:01,HR,81,bpm
a,00:00,Temp,36.6,degC
b,00:02,HR,NA,bpm
b,01:30,Temp,37.1,degC
"""
UNITS = {"HR": "bpm", "SpO2": "%"}
OF_WIDE = {"layout": "wide", "subject": "id", "units": UNITS, "missing_values": (-1,)}
OF_LONG = {
    "layout": "long",
    "subject": "patient",
    "time": "minute",
    "channel": "name",
    "value": "reading",
    "unit": "unit",
}


def read(path, text, channels=(), **fields):
    path.write_text(text)
    return list(Config(root=str(path), **fields).read(channels))


class TestWideContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        (tmp_path / "wide.csv").write_text(WIDE)
        return Config(root=str(tmp_path / "wide.csv"), **OF_WIDE)


class TestLongContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        (tmp_path / "long.csv").write_text(LONG)
        return Config(root=str(tmp_path / "long.csv"), **OF_LONG)


class TestRegularContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        for name in ("p1", "p2"):
            (tmp_path / f"{name}.csv").write_text("time,HR,SpO2\n0,70,\n60,71,98\n120,-1,97\n")
        return Config(
            root=str(tmp_path), layout="wide", units=UNITS, missing_values=("-1",), rate_hz="1/60"
        )


def test_a_wide_table_gives_an_event_for_each_cell_that_is_not_missing(tmp_path):
    a, b = read(tmp_path / "wide.csv", WIDE, **OF_WIDE, attributes=("sex",), labels=("death",))
    assert (a.id, a.subject, a.start) == ("a", "a", np.datetime64("2020-01-01T00:00:00", "s"))
    assert a.time_s.tolist() == [0, 120, 120]
    assert a.value.tolist() == [80, 82, 95]
    assert a.channel.tolist() == [0, 0, 1]
    assert (a.attributes, a.labels) == ({"sex": "M"}, {"death": 1})
    assert b.start == np.datetime64("2020-01-01T00:00:30", "s")
    assert b.time_s.tolist() == [0, 60, 60]
    assert b.value.tolist() == [70, 71, 97]


def test_a_long_table_keeps_readings_of_one_time_in_the_order_of_the_file(tmp_path):
    a, b = read(tmp_path / "long.csv", LONG, **OF_LONG)
    assert a.channels == b.channels == ("HR", "Temp")
    assert a.units == ("bpm", "degC")
    assert a.time_s.tolist() == [0, 60, 60]
    assert a.value.tolist() == [36.6, 80, 81]
    assert b.time_s.tolist() == [300, 5400]
    assert b.start is None


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 99)),
        min_size=1,
        max_size=10,  # so that none repeats a time so often that it is refused
    ),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=50)
def test_the_order_of_rows_matters_only_within_one_time(tmp_path_factory, rows, seed):
    path = tmp_path_factory.mktemp("order") / "x.csv"
    fields = {"layout": "wide", "subject": "id", "units": {"HR": "bpm"}}

    def text(order):
        return "id,time,HR\n" + "".join(f"{i},{t},{v}\n" for i, t, v in order)

    once = read(path, text(rows), **fields)
    assert [item.id for item in once] == sorted({i for i, _, _ in rows})
    for item in once:
        own = [(t, v) for i, t, v in rows if i == item.id]
        assert list(zip(item.time_s, item.value, strict=True)) == sorted(own, key=lambda r: r[0])
    for order in (sorted(rows, key=lambda row: row[1]), sorted(rows, key=lambda row: row[:2])):
        again = [replace(item, notes={}) for item in read(path, text(order), **fields)]
        bare = [replace(item, notes={}) for item in once]  # what was sorted is noted
        assert all(same(x, y) for x, y in zip(bare, again, strict=True))


@pytest.mark.parametrize(
    ("cells", "fields", "time_s", "start"),
    [
        (["2896-10-10 00:31:25", "2896-10-10T00:32:25"], {}, [0, 60], "2896-10-10T00:31:25"),
        (["2020-01-01 00:00:00.500", "2020-01-01 00:00:02"], {}, [0.5, 2], "2020-01-01T00:00:00"),
        (["2020-01-01T01:00:00+01:00", "2020-01-01T00:00:05Z"], {}, [0, 5], "2020-01-01T00:00:00"),
        (["1969-12-31 23:59:58.5", "1970-01-01"], {}, [0.5, 2], "1969-12-31T23:59:58"),
        (["12.5", "13"], {}, [12.5, 13], None),
        (["07:30", "47:59:30"], {}, [27000, 172770], None),
        (["1600000000.25", "1600000001"], {"time_format": "unix"}, [0.25, 1], 1600000000),
        (["3/2/14 8:42", "3/2/14 8:43"], {"time_format": "%d/%m/%y %H:%M"}, [0, 60], 1391416920),
        (["20200101", "20200102"], {"time_format": "iso"}, [0, 86400], "2020-01-01"),
    ],
)  # fmt: skip
def test_times_are_read_in_every_form(tmp_path, cells, fields, time_s, start):
    text = "time,HR\n" + "".join(f"{cell},1\n" for cell in cells)
    (events,) = read(tmp_path / "x.csv", text, layout="wide", units={"HR": "bpm"}, **fields)
    assert events.time_s.tolist() == time_s
    assert events.start == (None if start is None else np.datetime64(start, "s"))


def test_an_id_is_made_of_file_subject_and_record(tmp_path):
    text = "id,stay,time,HR\n7,x,0,1\n7,y,0,2\n"
    for folder in (tmp_path, tmp_path / "deep", tmp_path / ".ipynb_checkpoints"):
        folder.mkdir(exist_ok=True)
        (folder / "f.csv").write_text(text)
    one = {"layout": "wide", "units": {"HR": "bpm"}}

    def ids(root, **fields):
        items = Config(root=str(root), **one, **fields).read(())
        return [(item.id, item.subject) for item in items]

    assert ids(tmp_path / "f.csv") == [("f", "f")]
    assert ids(tmp_path) == [("deep/f", "deep/f"), ("f", "f")]
    assert ids(tmp_path / "f.csv", subject="id") == [("7", "7")]
    both = {"subject": "id", "record": "stay"}
    assert ids(tmp_path / "f.csv", **both) == [("7/x", "7"), ("7/y", "7")]
    assert ids(tmp_path, **both)[2:] == [("f/7/x", "7"), ("f/7/y", "7")]


def test_one_row_a_sample_becomes_a_recording_at_the_stated_rate(tmp_path):
    text = "time,HR,SpO2\n2020-01-01 00:01:01,71,\n2020-01-01,70,98\n2020-01-01 00:02:00,,97\n"
    fields = {"layout": "wide", "units": UNITS, "rate_hz": 1 / 60}
    (recording,) = read(tmp_path / "x.csv", text, **fields)
    nan = np.nan
    np.testing.assert_array_equal(recording.values, [[70, 71, nan], [98, nan, 97]])
    assert (recording.rate_hz, recording.start) == (1 / 60, np.datetime64("2020-01-01", "s"))
    with pytest.raises(
        DataError, match=r"row 4, column 'time': .*expected sample 2 .* 120 s after"
    ):
        read(tmp_path / "x.csv", "time,HR\n0,70\n60,71\n180,72\n", **fields)
    with pytest.raises(DataError, match=r"row 3, .* 0 s after the row before"):
        read(tmp_path / "x.csv", "time,HR\n0,70\n0,71\n60,72\n", **fields)


def test_columns_of_notes_are_not_read(tmp_path):
    (events,) = read(
        tmp_path / "x.csv", "time,HR,note\n0,70,asleep\n", layout="wide", units={"HR": "bpm"}
    )
    assert events.channels == ("HR",)
    text = "time,channel,value\n0,HR,70\n0,note,asleep\n"
    (events,) = read(tmp_path / "x.csv", text, ("HR",), layout="long", units={"HR": "bpm"})
    assert events.value.tolist() == [70]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, r"x\.csv is empty"),
        ("time,HR\n", {}, r"x\.csv has a header only"),
        ("time,HR\n0,70\n1,7o\n", {}, r"row 3, column 'HR': expected a number.*'7o'"),
        ("time,HR\n0,70\n1,inf\n", {}, r"row 3, column 'HR': expected a finite number"),
        ("time,HR\n0,70\n,71\n", {}, r"row 3, column 'time': expected a time, found ''"),
        ("time,HR\n08:00,70\n8h,71\n", {}, r"row 3, column 'time': expected HH:MM"),
        ("time,HR\n2020-01-01,70\n2020-02-31,71\n", {}, r"row 3, .*found '2020-02-31'"),
        ("time,HR\n0,70\n1,71,9\n", {}, r"row 3, has 3 \('1,71,9'\)"),
        ("time,HR\n0,70\n1\n", {}, r"row 3, has 1 \('1'\)"),
        ('time,HR\n0,"70\n', {}, r"must be a CSV file in utf-8-sig: unexpected end of data"),
        ("Time,HR\n0,70\n", {}, r"reader\.time: .*no column 'time'. Did you mean 'Time'"),
        ("time,HR\n0,70\n", {"subject": "id"}, r"reader\.subject: .*no column 'id'"),
        ("time,HR\n0,70\n", {"attributes": ("age",)}, r"reader\.attributes: .*no column 'age'"),
        ("time,pulse\n0,70\n", {}, r"reader\.units: .*no column 'HR'.*Columns: time, pulse"),
        ("id,time,HR\n,0,70\n", {"subject": "id"}, r"row 2, column 'id': expected a name"),
        ("time,HR,age\n0,1,60\n1,1,61\n", {"attributes": ("age",)}, r"row 3, .*expected '60'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_by_file_row_and_column(tmp_path, text, fields, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "x.csv", text, layout="wide", units={"HR": "bpm"}, **fields)
    assert "x.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("time,channel,value\n0,HR,70\n0,RR,9\n", {"units": {"HR": "bpm"}}, "'RR' of .* has none"),
        ("time,channel,value,u\n0,HR,7,bpm\n1,HR,7,mV\n", {"unit": "u"}, "row 3, .*unit of 'HR'"),
        ("time,channel,value,u\n0,HR,70,\n", {"unit": "u"}, "row 2, column 'u'"),
        ("time,channel,value\n0,,70\n", {"units": {"HR": "bpm"}}, "row 2, .*expected a channel"),
        ("time,value\n0,70\n", {"units": {"HR": "bpm"}}, "reader.channel: .*no column 'channel'"),
    ],
)  # fmt: skip
def test_a_long_table_must_state_channel_and_unit(tmp_path, text, fields, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.csv", text, layout="long", **fields)


def test_a_channel_without_a_stated_unit_is_not_read(tmp_path):
    with pytest.raises(DataError, match=r"'RR' of .* has none.*Stated: HR"):
        read(
            tmp_path / "x.csv", "time,HR,RR\n0,1,2\n", ("RR",), layout="wide", units={"HR": "bpm"}
        )


def test_encoding_and_delimiter_are_settings(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("time;Größe\n0;1\n".encode("latin-1"))
    fields = {"root": str(path), "layout": "wide", "units": {"Größe": "1"}, "delimiter": ";"}
    with pytest.raises(DataError, match=r"x\.csv must be a CSV file in utf-8-sig: .*decode"):
        list(Config(**fields).read(()))
    (events,) = Config(**fields, encoding="latin-1").read(())
    assert events.channels == ("Größe",)
    path.write_bytes(b"\xef\xbb\xbftime,HR\r\n0,1\r\n\r\n")
    (events,) = Config(root=str(path), layout="wide", units={"HR": "bpm"}).read(())
    assert events.value.tolist() == [1]


def test_a_compressed_file_reads_as_the_plain_one(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "plain" / "a.csv").write_text(WIDE)
    (tmp_path / "packed" / "a.csv.gz").write_bytes(gzip.compress(WIDE.encode()))
    plain = list(Config(root=str(tmp_path / "plain"), **OF_WIDE).read(()))
    packed = Config(root=str(tmp_path / "packed"), pattern="*.gz", **OF_WIDE).read(())
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))
    (tmp_path / "packed" / "a.csv.gz").write_bytes(gzip.compress(b"time,HR\n0,7\n\n1,x\n"))
    with pytest.raises(DataError, match=r"a\.csv\.gz, row 4, column 'HR'"):
        list(
            Config(
                root=str(tmp_path / "packed"), pattern="*.gz", layout="wide", units={"HR": "bpm"}
            ).read(())
        )


@given(
    values=st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=9),
    marks=st.sampled_from([(".", ""), (",", ""), (",", "."), (",", " "), (".", "'")]),
    header=st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_settings_of_a_file_read_it_as_it_was_written(tmp_path_factory, values, marks, header):
    path = tmp_path_factory.mktemp("marks") / "x.csv"
    decimal, thousands = marks
    text = "about\n" * header + "time;HR\ns;bpm\n"
    for number, value in enumerate(values):
        written = f"{value / 100:,.2f}" if thousands else f"{value / 100:.2f}"
        cell = written.translate({ord(","): thousands, ord("."): decimal})
        text += f"{number};{cell}\n"
    fields = {"skip_rows": header, "units_row": True, "footer_rows": 1, "delimiter": ";"}
    (item,) = read(
        path,
        text + "end\n",
        layout="wide",
        units={"HR": "bpm"},
        time_format="seconds",
        decimal=decimal,
        thousands=thousands,
        **fields,
    )
    assert item.value.tolist() == [value / 100 for value in values]
    assert not item.notes


def test_columns_of_one_name_are_numbered_and_said(tmp_path):
    text = "time,ECG,ECG\n0,1,2\n"
    units = {"ECG": "mV", "ECG#2": "mV"}
    (item,) = read(tmp_path / "x.csv", text, layout="wide", units=units, time_format="seconds")
    assert item.value.tolist() == [1, 2]
    assert list(item.notes) == ["columns whose name occurs before, read as ECG#2"]


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds \*\.csv files: .* has none"):
        list(Config(root=str(tmp_path), layout="wide", units=UNITS).read(()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "wide"}, "needs `units`"),
        ({"layout": "wide", "units": {"HR": " "}}, "a unit for every channel"),
        ({"layout": "long"}, "either `unit`"),
        ({"layout": "long", "unit": "u", "units": UNITS}, "either `unit`"),
        ({"layout": "long", "unit": "u", "rate_hz": 1}, "only wide tables"),
        ({"layout": "wide", "units": UNITS, "rate_hz": 0}, "greater than 0"),
        ({"layout": "wide", "units": UNITS, "rate_hz": "1/0"}, "divides by zero"),
        ({"layout": "wide", "units": UNITS, "time_format": "weeks"}, "is one of auto"),
        ({"layout": "wide", "units": UNITS, "thousands": "."}, "are two marks"),
        ({"layout": "wide", "units": UNITS, "header_rows": 3}, "less than or equal to 2"),
        ({"layout": "wide", "units": UNITS, "skip_rows": -1}, "greater than or equal to 0"),
        ({"layout": "wide", "units": UNITS, "encoding": "utf-9"}, "knows no encoding"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_reading(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(root="absent.csv", **fields)
