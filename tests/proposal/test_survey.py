"""What is counted in unknown recordings, and how much of them is read for it."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import given_items, recording, walk
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.survey import Bounds, look


def test_counts_are_of_all_recordings_looked_at():
    one = walk(100)
    one[10:30] = np.nan
    one[40:44] = 0
    one[50:80] = 77.0
    survey = look(given_items(recording(one), recording(walk(50, 1), "b")))
    (channel,) = survey.channels
    assert (channel.measured, channel.samples, channel.zeros) == (130, 150, 4)
    assert (channel.recordings, channel.subjects, survey.subjects) == (2, 2, 2)
    assert channel.longest_gap_s == 20
    assert survey.longest_gap_s == 20
    assert channel.longest_flat_s == 29
    assert survey.durations_s == (100, 50)


def test_no_more_is_read_than_the_bounds_allow():
    reader = given_items(*(recording(walk(100, s), f"s{s}") for s in range(30)))
    survey = look(reader, Bounds(recordings=5, listed=12))
    assert (survey.looked, len(survey.listed), survey.more) == (5, 12, True)
    assert len(reader.read_so_far) == 13
    assert survey.channels[0].measured == 500
    of_values = look(reader, Bounds(values=250))
    assert (of_values.looked, len(of_values.listed), of_values.more) == (3, 30, False)


def test_bounded_values_stop_the_list_too():
    reader = given_items(*(recording(walk(100, s), f"s{s}") for s in range(30)))
    survey = look(reader, Bounds(listed_values=950))
    assert (len(survey.listed), survey.more) == (10, True)


def test_recordings_in_two_units_are_told_by_their_medians(tmp_path):
    for number in range(6):
        glucose = walk(300, number, around=120.0)
        glucose = glucose / 18.016 if number > 3 else glucose
        rows = "".join(f"{300 * k},{value:.2f}\n" for k, value in enumerate(glucose))
        (tmp_path / f"export{number}.csv").write_text("time,glucose\n" + rows)
    (channel,) = look(recognised(tmp_path)).channels
    assert channel.usual == {
        "mg/dL": ("export0", "export1", "export2", "export3"),
        "mmol/L": ("export4", "export5"),
    }
    with pytest.raises(
        DataError, match=r"mg/dL in 4 subjects, mmol/L in export4, export5.*units_"
    ):
        propose(look(recognised(tmp_path)), recognised(tmp_path))
