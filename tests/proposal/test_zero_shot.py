"""Backbones on shares of the validation windows."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.tried import proposed_from, vitals
from tsfm_adapt.proposal.trial import without_test
from tsfm_adapt.proposal.zero_shot import ZeroShot
from tsfm_adapt.recipe.parts import prepare


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    *_, recipe = proposed_from(vitals(tmp_path_factory.mktemp("ward") / "data"))
    return without_test(recipe, prepare(recipe))


def whole(context, rounds=None):
    work = ZeroShot(context)
    for number in range(rounds or work.rounds):
        for name in work.names:
            work.piece(number, name)
    return work, work.finished(rounds or work.rounds, 60.0)


def test_rounds_give_the_scores_of_all_windows_at_once(context):
    work, found = whole(context)
    assert work.rounds == 8
    name = work.names[0]
    errors = context.scoring.errors(work._predictors[name], context.val, 64, lambda _: None)
    (row,) = [row for row in found.rows if row.name == name]
    assert row.score == pytest.approx(context.scoring.headline(errors, context.scale), rel=1e-5)
    assert f"on {len(context.val)} validation windows of 2 subjects" in found.on


def test_shares_are_spread_and_have_every_window_once(context):
    work = ZeroShot(context)
    shares = [work._share(number) for number in range(work.rounds)]
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(context.val)))
    assert all(len(share) > 1 and share[-1] - share[0] > len(context.val) / 2 for share in shares)


def test_a_backbone_that_cannot_be_is_named_with_the_reason(context, monkeypatch):
    task = type(context.recipe.task)
    both = dict(task.candidates) | {
        "nowhere": {"backbone": {"name": "chronos2", "checkpoint": "/no/such/folder"}}
    }
    monkeypatch.setattr(task, "candidates", both)
    _, found = whole(context, rounds=1)
    (row,) = [row for row in found.rows if row.name == "nowhere"]
    assert row.score is None
    assert "/no/such/folder" in row.problem
    assert found.best is not None


def test_baselines_are_left_out_where_no_time_is_left(context):
    work, _ = whole(context, rounds=1)
    last = work.finished(1, -1.0).rows[-1]
    assert (last.score, last.network) == (None, False)
    assert "no time was left" in last.problem
