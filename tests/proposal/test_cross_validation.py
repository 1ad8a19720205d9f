"""Heads compared by cross-validation over the subjects of train."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.tried import proposed_from, trials
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.cross_validation import CrossValidation, _folds
from tsfm_adapt.proposal.trial import without_test
from tsfm_adapt.recipe.parts import prepare


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    _, proposal, recipe = proposed_from(trials(tmp_path_factory.mktemp("trials") / "data"))
    assert proposal.task == "classify"
    return without_test(recipe, prepare(recipe))


def test_statistics_are_proposed_where_only_they_tell_the_classes_apart(context):
    work = CrossValidation(context)
    for number in range(work.rounds):
        for name in work.names:
            work.piece(number, name)
    found = work.finished(work.rounds, 60.0)
    assert found.best.name == "probe and statistics"
    assert found.sections == {"head": {"name": "probe", "statistics": True}}
    by_name = {row.name: row for row in found.rows}
    assert by_name["probe and statistics"].score > by_name["probe"].score + 0.1
    assert [row.network for row in found.rows] == [True, True, False, False]
    assert all(0 <= row.score <= 1 for row in found.rows)
    assert "3 folds by subject" in found.on
    assert f"{len(context.prepared.windows['train'])} training windows" in found.on


def test_no_subject_is_learned_from_and_judged(context):
    train = context.prepared.windows["train"]
    folds = _folds(train)
    assert len(folds) == 3
    for learned, held in folds:
        assert not set(train.subjects[learned]) & set(train.subjects[held])
    every = np.sort(np.concatenate([held for _, held in folds]))
    assert np.array_equal(every, np.arange(len(train)))


def test_one_subject_cannot_be_cross_validated(context):
    train = context.prepared.windows["train"]
    own = np.flatnonzero(train.subjects == train.subjects[0])
    with pytest.raises(DataError, match="needs two training subjects"):
        _folds(train.take(own))
