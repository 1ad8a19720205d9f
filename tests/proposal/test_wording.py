"""Shares and counts as a comment of a recipe gives them."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import given_items, recording, walk
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.proposal.wording import readings, share_measured


def channel(samples, missing=0, recordings=1):
    values = walk(samples)
    values[:missing] = np.nan
    items = [recording(values, f"s{number}") for number in range(recordings)]
    (found,) = look(given_items(*items)).channels
    return found


@pytest.mark.parametrize(
    ("samples", "missing", "share"),
    [(400, 0, "100.0%"), (400, 100, "75.0%"), (10_000, 1, "over 99.9%"), (10_000, 6, "99.9%")],
)
def test_a_share_is_100_percent_only_where_no_sample_is_missing(samples, missing, share):
    assert share_measured(channel(samples, missing)) == share


@pytest.mark.parametrize(
    ("samples", "missing", "count"), [(9, 2, "7"), (400, 100, "300"), (12_000, 0, "12,000")]
)
def test_readings_are_those_of_one_recording(samples, missing, count):
    assert readings(channel(samples, missing, recordings=3)) == count
