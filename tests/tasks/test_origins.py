"""Where forecasts of new recordings begin."""

import numpy as np
import pytest

from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.signals.recording import Recording, RecordingSet
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
