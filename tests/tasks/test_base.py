"""Where forecasts of new recordings begin, and how seconds become samples."""

import numpy as np
import pytest

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.signals.recording import Recording, RecordingSet
from tsfm_adapt.tasks.base import samples
from tsfm_adapt.tasks.forecast import Config


def recording(id, samples):
    return Recording(id, id, np.ones((1, samples)), ("HR",), ("bpm",), 1.0)


@pytest.mark.parametrize("every_s", [None, 1.0, 4.0])
def test_forecasts_are_counted_back_from_the_end_of_each_recording(every_s):
    lengths = {"a": 30, "short": 9, "b": 10, "c": 23}
    task = Config(context_s=10, horizon_s=2).build()
    flat = Predictor(
        lambda arrays, steps: np.zeros((*arrays.values.shape[:2], 3, steps)), task.levels
    )
    recordings = RecordingSet(tuple(recording(id, n) for id, n in lengths.items()))
    table = task.predict(flat, recordings, ["bpm"], 4, every_s).to_pydict()
    found = sorted(set(zip(table["recording"], table["origin_s"], strict=True)))
    expected = [
        (id, float(end))
        for id, samples in lengths.items()
        for end in range(10, samples + 1)
        if (samples - end) % (every_s or 10**9) == 0
    ]
    assert found == sorted(expected)


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "count"),
    [(3600, 1 / 60, 60), (0.5, 250, 125), (38400, 1 / 300, 128), (10, 0.1, 1), (1.0003, 1, 1)],
)
def test_seconds_become_samples(seconds, rate_hz, count):
    assert samples(seconds, rate_hz, "context_s") == count


@pytest.mark.parametrize(
    ("seconds", "rate_hz"), [(90, 1 / 60), (0.001, 1), (1.002, 1), (29, 1 / 60)]
)
def test_seconds_that_are_no_whole_samples_are_refused_with_the_multiple(seconds, rate_hz):
    with pytest.raises(RecipeError) as told:
        samples(seconds, rate_hz, "stride_s")
    assert str(told.value).startswith(f"task.stride_s: {seconds:g} s at data.rate_hz {rate_hz:g}")
    assert f"Use a multiple of {1 / rate_hz:g} s" in str(told.value)
