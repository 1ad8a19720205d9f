"""Which column of an unknown table is the time."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import combined
from tsfm_adapt.signals.readers._tables.time_columns import chosen_time

ROWS = 30
STAMPS = [f"2020-01-02 08:{n:02d}:00" for n in range(ROWS)]
CLOCKS = [f"{8 + n // 6:02d}:{10 * (n % 6):02d}" for n in range(ROWS)]
SECONDS = [str(n) for n in range(ROWS)]
SIGNAL = [str(60 + n * n % 7) for n in range(ROWS)]


def chosen(*tables):
    made = [
        Table(Path(f"{number}.csv"), {name: np.array(own) for name, own in columns.items()}, 2)
        for number, columns in enumerate(tables)
    ]
    rows = combined(made)
    return chosen_time(
        rows, {vocabulary.plain(name): name for name in reversed([*rows.table.columns])}
    )


@pytest.mark.parametrize(
    ("columns", "settings"),
    [
        ({"time": SECONDS, "HR": SIGNAL}, {"time": "time"}),
        ({"Time (min)": SECONDS, "HR": SIGNAL}, {"time": "Time (min)", "time_format": "minutes"}),
        ({"when": STAMPS, "HR": SIGNAL}, {"time": "when"}),
        ({"t": SECONDS, "charttime": STAMPS}, {"time": "charttime"}),  # stamps before numbers
        ({"recorded": STAMPS, "timestamp": STAMPS}, {"time": "timestamp"}),  # names before others
        ({"timestamp_unix": [str(1600000000000 + 1000 * n) for n in range(ROWS)],
          "timestamp_iso": STAMPS}, {"time": "timestamp_iso"}),
        (
            {"ts": [str(1600000000 + n) for n in range(ROWS)]},
            {"time": "ts", "time_format": "unix"},
        ),
        ({"birth date": ["1950-01-02"] * ROWS, "time": SECONDS}, {"time": "time"}),
        ({"date": ["2020-01-02"] * ROWS, "time": CLOCKS}, {"time": "time", "date": "date"}),
        ({"Day": ["1"] * 15 + ["2"] * 15, "time": CLOCKS}, {"time": "time", "date": "Day"}),
        ({"Date": ["31.01.2020"] * ROWS, "Time": CLOCKS},
         {"time": "Time", "date": "Date", "time_format": "%d.%m.%Y %H:%M"}),
        ({"time": CLOCKS, "HR": SIGNAL}, {"time": "time", "time_format": "clock"}),
        ({"offset_min": SECONDS, "HR": SIGNAL}, {"time": "offset_min", "time_format": "minutes"}),
        ({"q": np.array(STAMPS, "datetime64[us]"), "time": SECONDS}, {"time": "q"}),
    ],
)  # fmt: skip
def test_the_time_is_found_by_type_name_and_values(columns, settings):
    found = chosen(columns)
    assert dict(found.settings) == settings
    assert found.columns == tuple(v for k, v in settings.items() if k in ("time", "date"))
    assert len(found.value) == ROWS
    assert not found.doubts


@pytest.mark.parametrize(
    "columns",
    [
        {"HR": SIGNAL, "SpO2": SIGNAL},
        {"HR": SECONDS, "SpO2": SIGNAL},  # a heart rate that rises, not hours
        {"time": ["", *SECONDS[1:]], "HR": SIGNAL},
        {"time": ["later"] * ROWS, "HR": SIGNAL},
        {"code": ["12345678"] * ROWS, "HR": SIGNAL},
    ],
)
def test_a_table_may_have_none(columns):
    assert chosen(columns) is None


def test_a_time_is_in_every_file():
    assert chosen({"time": SECONDS, "HR": SIGNAL}, {"t": SECONDS, "HR": SIGNAL}) is None
    both = chosen({"time": SECONDS, "HR": SIGNAL}, {"time": SECONDS, "x": SIGNAL})
    assert both.settings == {"time": "time"}
    assert len(both.value) == 2 * ROWS


def test_doubts_are_kept_and_seconds_are_comparable():
    found = chosen({"when": [f"02/03/2020 10:{n:02d}" for n in range(ROWS)], "HR": SIGNAL})
    (doubt,) = found.doubts
    assert "time_format" in doubt
    stamps = chosen({"when": STAMPS, "HR": SIGNAL})
    assert np.diff(stamps.value).tolist() == [60] * (ROWS - 1)
