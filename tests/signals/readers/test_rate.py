"""Rates and the names that pandas gives them."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._rate import frequency, rate_of


@given(
    interval=st.one_of(
        st.integers(1, 10**6).map(float), st.sampled_from([1 / 125, 1 / 250, 1 / 360, 1 / 44100])
    )
)
@settings(deadline=None)
def test_a_rate_survives_its_name(tmp_path_factory, interval):
    rate_hz = 1 / interval
    back = rate_of(frequency(rate_hz), "here")
    assert math.isclose(back, rate_hz, rel_tol=1e-4)
    if interval >= 1:
        assert back == rate_hz
