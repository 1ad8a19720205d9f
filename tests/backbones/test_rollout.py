"""Windows that continue with what was forecast, one copy a path."""

import torch

from contracts.batch import random_batch
from tsfm_adapt.backbones._rollout import continued


def paths_of(windows=2, paths=3, channels=4, steps=5):
    torch.manual_seed(0)
    return torch.randn(windows, paths, channels, steps)


def test_each_path_is_appended_to_its_own_copy_of_its_window():
    batch, paths = random_batch(windows=2), paths_of()
    found = continued(batch, paths, max_context=1000)
    assert found.values.shape == (6, 4, 75)
    for window in range(2):
        for path in range(3):
            row = 3 * window + path
            assert torch.equal(found.values[row, :, :70], batch.values[window])
            assert torch.equal(found.observed[row, :, :70], batch.observed[window])
            assert torch.equal(found.values[row, :, 70:], paths[window, path])
            assert found.observed[row, :, 70:].all()
            assert found.subjects[row] == batch.subjects[window]
            assert found.start_s[row] == batch.start_s[window]


def test_windows_that_were_continued_already_are_not_copied_again():
    batch, paths = random_batch(windows=2), paths_of()
    once = continued(batch, paths, max_context=1000)
    later = paths_of(steps=2)
    twice = continued(once, later, max_context=1000)
    assert torch.equal(twice.values[..., :75], once.values)
    assert torch.equal(twice.values[..., 75:], later.flatten(0, 1))
    assert twice.subjects == once.subjects


def test_the_oldest_samples_make_room_and_the_start_moves_with_them():
    batch, paths = random_batch(windows=2), paths_of()
    whole, short = (continued(batch, paths, max_context=limit) for limit in (1000, 72))
    assert torch.equal(short.values, whole.values[..., 3:])
    assert torch.equal(short.observed, whole.observed[..., 3:])
    assert torch.equal(short.start_s, whole.start_s + 3 / batch.rate_hz)
