"""The shuffled cohort of experiments/channel_lag: same series, no couplings, no part crossed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.recipe.parts import SPLITS, prepare
from tsfm_adapt.signals.readers.synthetic import Config

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "channel_lag"
sys.path.insert(0, str(FOLDER))
exchange = importlib.import_module("exchange")


@pytest.fixture(scope="module")
def study():
    """The experiment's script as a module, on a small cohort."""
    spec = importlib.util.spec_from_file_location("channel_lag", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["channel_lag"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.SPLITS = {"train": 6, "val": 5, "test": 8}
    module.HOURS = 8.0
    return module


@pytest.fixture(scope="module")
def versions(study, tmp_path_factory):
    """By version of the cohort: its recipe, its parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("channel_lag"))
        study.write_cohort()
        recipes = {
            data: study.Point("chronos_bolt", "none", data, 17).cell().load()
            for data in study.DATA
        }
        return {data: (recipe, prepare(recipe)) for data, recipe in recipes.items()}


@settings(deadline=None, max_examples=40)
@given(channels=st.integers(1, 4), more=st.integers(1, 8), seed=st.integers(0, 999))
def test_every_channel_moves_to_another_subject_and_no_two_to_the_same(channels, more, seed):
    subjects = [f"s{number}" for number in range(channels + more)]
    sources = exchange.exchange(subjects, channels, seed)
    assert sorted(sources) == sorted(subjects)
    for subject, origins in sources.items():
        assert len({subject, *origins}) == channels + 1
    for column in zip(*sources.values(), strict=True):
        assert sorted(column) == sorted(subjects)


def test_too_few_subjects_are_refused():
    with pytest.raises(ValueError, match="more than 4 subjects, not 4"):
        exchange.exchange(["a", "b", "c", "d"], 4, 0)


def lagged(recordings, lag):
    """Mean correlation of RESP with SpO2 `lag` samples later."""
    found = []
    for recording in recordings:
        driver, follower = recording.values[:, :-lag][0], recording.values[:, lag:][1]
        both = np.isfinite(driver) & np.isfinite(follower) & (follower > 50)
        found.append(np.corrcoef(driver[both], follower[both])[0, 1])
    return np.mean(found)


def test_the_coupling_is_there_before_and_gone_after():
    recordings = list(Config(subjects=20, hours=24).read(("RESP", "SpO2")))
    sources = exchange.exchange([r.subject for r in recordings], 2, seed=3)
    assert lagged(recordings, 12) > 0.4
    assert abs(lagged(exchange.shuffled(recordings, sources), 12)) < 0.1


def series(recordings, channel):
    """A channel of all recordings, in an order that does not depend on their names."""
    return sorted(recording.values[channel].tobytes() for recording in recordings)


@pytest.mark.parametrize("part", SPLITS)
def test_both_versions_hold_the_same_subjects_and_series_in_every_part(versions, part):
    (_, whole), (_, mixed) = versions.values()
    before, after = whole.recordings[part], mixed.recordings[part]
    assert [r.subject for r in before] == [r.subject for r in after]
    for channel in range(4):
        assert series(before, channel) == series(after, channel)
        pairs = zip(before, after, strict=True)
        assert not any(np.array_equal(b.values[channel], a.values[channel]) for b, a in pairs)


def test_a_model_of_single_channels_errs_alike_once_channels_are_put_back(versions, study):
    errors = {}
    for data, (recipe, prepared) in versions.items():
        task, windows = recipe.task.build(), prepared.windows["test"]
        last = task.baselines(prepared.fit, recipe.data.rate_hz, None)["last_value"]
        errors[data] = task.scoring(1 / 60).errors(last, windows, 64, lambda _: None)
    back = exchange.put_back(errors["shuffled"], study.sources("test"))
    assert not np.array_equal(errors["shuffled"].absolute, errors["as_is"].absolute)
    np.testing.assert_array_equal(back.absolute, errors["as_is"].absolute)
    np.testing.assert_array_equal(back.scored, errors["as_is"].scored)
