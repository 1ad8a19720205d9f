"""What scores.json holds of a run, and what is written beside it."""

import numpy as np
import pyarrow.parquet
import pytest

from contracts.small_recipe import prepared, recipe
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.evaluation import paired
from tsfm_adapt.evaluation.scores import Role
from tsfm_adapt.runs.scoring import score, score_baselines
from tsfm_adapt.training.building import build

QUIET = Progress(quiet=True)


def scored(folder, smoke=False, without_baselines=False, **changes):
    made = recipe(**changes)
    model = build(made, prepared(), QUIET)
    scores, conformal = score(
        made,
        prepared(),
        model,
        folder,
        QUIET,
        smoke=smoke,
        without_baselines=without_baselines,
    )
    return scores, conformal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    return folder, scored(folder)[0]


def test_untrained_lora_scores_what_zero_shot_scores_and_is_not_shown_to_help(whole):
    _, scores = whole
    models = scores.models
    assert models["adapted"].overall == models["zero_shot"].overall
    assert scores.verdict.reference.difference == 0
    assert not scores.verdict.reference.shown
    assert scores.verdict.subjects == 3


def test_scores_count_the_windows_of_the_data(whole):
    _, scores = whole
    parts = prepared()
    assert scores.windows == len(parts.windows["test"])
    assert scores.subjects == 3
    assert scores.protocol.windows_by_split == {k: len(w) for k, w in parts.windows.items()}
    assert scores.protocol.subjects_by_split == {"train": 4, "val": 2, "test": 3}
    assert scores.protocol.origins_sha256 == parts.windows["test"].origins_sha256()
    assert 0 < scores.costs.trainable_parameters < scores.costs.total_parameters
    assert scores.synthetic


def test_the_table_of_predictions_is_what_was_scored(whole):
    folder, scores = whole
    rows = pyarrow.parquet.read_table(folder / "predictions" / "test.parquet").to_pandas()
    for channel, own in scores.models["adapted"].channels.items():
        of = rows[(rows.channel == channel) & rows.measured.notna() & rows["q0.5"].notna()]
        assert (of["q0.5"] - of.measured).abs().mean() == pytest.approx(own["mae"], rel=1e-5)


def test_errors_are_kept_for_every_model_to_be_compared_later(whole):
    folder, scores = whole
    kept = paired.read(folder / "predictions" / "paired.npz")
    assert kept.models.keys() == scores.models.keys()


def test_baselines_alone_have_the_scores_that_they_have_beside_a_model(whole, tmp_path):
    _, scores = whole
    alone = score_baselines(recipe(), prepared(), tmp_path, QUIET, smoke=False)
    assert {own.role for own in alone.models.values()} == {Role.BASELINE}
    for name, own in alone.models.items():
        assert own == scores.models[name]
    assert alone.verdict is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smoke": True}, "smoke run"),
        ({"without_baselines": True}, "no verdict"),
        ({"adapters": []}, "zero-shot chronos_bolt"),
    ],
)
def test_without_a_verdict_a_sentence_says_why(tmp_path, changes, words):
    scores, _ = scored(tmp_path, **changes)
    assert scores.verdict is None
    assert words in scores.sentences[-1]
    assert scores.sentences[0] == RANDOM
    found = scores.models["adapted" if "adapters" not in changes else "zero_shot"]
    assert np.isfinite(found.overall["mase"])
