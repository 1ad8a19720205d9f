"""Settings of tables with a column a channel, a subject or a sample."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import combined
from tsfm_adapt.signals.readers._tables.roles import Roles
from tsfm_adapt.signals.readers._tables.wide_guess import layout_without_times, wide

ROWS = 40
RNG = np.random.default_rng(0)


def table(name="t.csv", units=None, **columns):
    cells = {key: np.array(own).astype(np.str_) for key, own in columns.items()}
    return Table(Path(name), cells, 2, units=units or {})


def signal(places=1):
    return np.round(70 + 5 * RNG.standard_normal(ROWS), places)


def plain(own):
    return {vocabulary.plain(name): name for name in own.columns}


def settings_of(own, found, files=("t",)):
    settings = {}
    assert wide(own, found, plain(own), files, settings)
    return settings


def test_channels_have_the_units_that_names_and_the_file_state():
    columns = {"HR (bpm)": signal(), "x": signal(), "y": signal()}
    own = table(units={"x": "mV"}, **columns)
    found = Roles(channels=[*columns], attributes=["age"], labels=["died"], ignored={"n": "text"})
    assert settings_of(own, found) == {
        "layout": "wide",
        "units": {"HR (bpm)": "bpm", "x": "mV", "y": "1"},
        "attributes": ["age"],
        "labels": ["died"],
        "ignored": {"n": "text"},
    }


def test_one_channel_may_have_a_column_of_units():
    own = table(glucose=signal(), unit=["mmol/L"] * ROWS)
    settings = settings_of(own, Roles(channels=["glucose"], ignored={"unit": "text"}))
    assert settings["unit"] == "unit"
    assert "ignored" not in settings


def test_columns_called_by_people_are_people():
    columns = {f"P{n}": signal() for n in range(4)}
    own = table("hr.csv", units=dict.fromkeys(columns, "bpm"), **columns)
    assert settings_of(own, Roles(channels=[*columns]), ("hr",)) == {
        "layout": "subjects",
        "channel": "hr",
        "units": {"hr": "bpm"},
    }
    unknown = settings_of(table("export.csv", **columns), Roles(channels=[*columns]), ("export",))
    assert unknown["units"] == {"value": "1"}
    several = settings_of(table("hr.csv", **columns), Roles(channels=[*columns]), ("hr", "rr"))
    assert (several["join"], several["units"]) == (True, {"hr": "1", "rr": "1"})


def test_a_table_without_channels_is_none():
    assert not wide(table(note=["x"]), Roles(ignored={"note": "text"}), {}, ("t",), {})


def without_times(own):
    settings, doubts = {}, []
    found = layout_without_times(combined([own]), plain(own), settings, doubts)
    return found, settings, doubts


def test_rows_without_times_are_samples_of_a_rate_that_is_asked_for():
    found, settings, doubts = without_times(table(ppg=signal(), ecg=signal(), sample=range(ROWS)))
    assert found
    assert (settings["time"], settings["rate_hz"], settings["units"]) == (
        None,
        1,
        {"ppg": "1", "ecg": "1"},
    )
    assert "counter" in settings["ignored"]["sample"]
    assert "no column is a time" in doubts[0]
    assert not without_times(table(ppg=signal()[:4]))[0]
    assert not without_times(table(note=["x"] * ROWS))[0]


def trials(names):
    return {name: RNG.integers(0, 99, ROWS) for name in names}


def test_a_row_a_trial_has_labels_a_subject_and_facts_beside_its_samples():
    own = table(
        trial_id=range(ROWS),
        subject=np.arange(ROWS) % 5,
        label=np.arange(ROWS) % 2,
        **trials(f"x{n}" for n in range(20)),
    )
    found, settings, doubts = without_times(own)
    assert found
    assert (settings["layout"], settings["rate_hz"]) == ("trials", 1)
    assert (settings["labels"], settings["subject"]) == (["label"], "subject")
    assert settings["attributes"] == ["trial_id"]  # and no sample
    assert "20 samples (x0 to x19)" in doubts[0]


@pytest.mark.parametrize(
    ("form", "step", "rate_hz"), [("{}ms", 4, 250), ("t{} ms", 20, 50), ("{} s", 0.5, 2)]
)
def test_samples_called_by_their_times_state_the_rate(form, step, rate_hz):
    own = table(**trials(form.format(round(n * step, 3)) for n in range(20)))
    found, settings, doubts = without_times(own)
    assert (found, settings["rate_hz"], doubts) == (True, rate_hz, [])
    uneven = table(**trials(form.format(n * n) for n in range(20)))
    assert without_times(uneven)[2]
