"""Which column of an unknown table is which."""

import pytest

from tsfm_adapt.signals.readers._columns import settings_of

SECONDS = ["0", "60"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            {"Time (s)": SECONDS, "HR (bpm)": ["70", "71"], "Patient ID": ["a", "a"]},
            {
                "time": "Time (s)",
                "time_format": "seconds",
                "subject": "Patient ID",
                "layout": "wide",
                "units": {"HR (bpm)": "bpm"},
            },
        ),
        (
            {"t": SECONDS, "variable": ["HR", "T"], "value": ["70", "36"], "uom": ["bpm", "degC"]},
            {
                "time": "t",
                "time_format": "seconds",
                "layout": "long",
                "channel": "variable",
                "value": "value",
                "unit": "uom",
            },
        ),
        (
            {"t": SECONDS, "variable": ["HR [bpm]", "x"], "value": ["70", "36"]},
            {
                "time": "t",
                "time_format": "seconds",
                "layout": "long",
                "channel": "variable",
                "value": "value",
                "units": {"HR [bpm]": "bpm", "x": "1"},
            },
        ),
        (
            {"when": ["2020-01-01", "2020-01-02"], "stay_id": ["1", "1"], "x": ["1", "2"]},
            {"time": "when", "layout": "wide", "units": {"x": "1"}},
        ),
    ],
)
def test_a_table_is_told_by_its_names_and_first_rows(cells, expected):
    assert settings_of(cells) == expected


@pytest.mark.parametrize(
    "cells",
    [
        {"x": SECONDS, "y": ["1", "2"]},  # nothing is called a time
        {"time": ["0", ""], "HR": ["70", "71"]},  # a row without a time
        {"time": ["5e11", "6e11"], "HR": ["70", "71"]},  # milliseconds
        {"time": SECONDS, "note": ["good", "bad"]},  # no numbers
        {"time": SECONDS, "patient": ["a", ""], "HR": ["70", "71"]},  # whose row is it
        {"time": SECONDS, "age": ["70", "71"]},  # constant over a record
    ],
)
def test_what_cannot_be_told_is_not_guessed(cells):
    assert settings_of(cells) is None


@pytest.mark.parametrize(
    ("times", "how"),
    [
        (["0", "0.5"], "seconds"),
        (["1600000000", "1600000060"], "unix"),
        (["7:30", "25:00:10"], None),
        (["2020-01-01 00:00", "2020-01-01 00:05"], None),
        (["01/02/2020 8:00", "02/02/2020 8:00"], "%d/%m/%Y %H:%M"),  # a day apart, not a month
        (["01/31/2020 8:00", "02/01/2020 8:00"], "%m/%d/%Y %H:%M"),
    ],
)
def test_the_form_of_the_times_is_the_one_that_fits_all_and_spans_least(times, how):
    assert settings_of({"time": times, "HR": ["70", "71"]}).get("time_format") == how


def test_times_that_the_file_states_need_no_name():
    cells = {"q": ["a", "b"], "HR": ["70", "71"]}
    assert settings_of(cells) is None
    assert settings_of(cells, ("q",))["time"] == "q"


def test_words_among_numbers_are_missing_values():
    cells = {"time": [str(n) for n in range(6)], "gl": ["5", "Low", "6", "", "High", "7"]}
    assert settings_of(cells) is None  # a third of what is filled
    cells["gl"] = ["5", "Low", "6", "", "NA", "7"]
    cells = {"time": [str(n) for n in range(12)], "gl": cells["gl"] + ["5"] * 6}
    assert settings_of(cells)["missing_values"] == ("Low",)
