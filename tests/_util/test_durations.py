"""Times in the unit that reads best."""

import pytest

from tsfm_adapt._util.durations import duration, time_unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (119, "119 s"),
        (120, "2 min"),
        (5400, "90 min"),
        (7200, "2 h"),
        (36 * 3600, "36 h"),
        (48 * 3600, "2 days"),
        (10 * 86400, "10 days"),
    ],
)
def test_a_duration_has_at_least_two_of_its_unit(seconds, text):
    assert duration(seconds) == text


def test_a_unit_is_its_seconds_and_its_name():
    assert [time_unit(s) for s in (1, 600, 9000, 200_000)] == [
        (1, "s"),
        (60, "min"),
        (3600, "h"),
        (86400, "days"),
    ]
