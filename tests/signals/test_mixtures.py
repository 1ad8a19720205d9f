"""Tables of drawn properties: nearly all are read right, and none is wrong in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.outcomes import (
    CRASHED,
    MISLED,
    NAMED,
    PASTED,
    READ,
    UNNAMED,
    WRONG,
    judged,
    of,
    table,
)
from signals.mixtures import Mixture

COUNT = 150
# Seeds beyond, of which some reader made something else: dates for people, units for channels.
FURTHER = (263, 286, 371, 456, 524, 595, 687, 712, 725, 769, 775, 805, 994, 1328, 1893, 2259, 2286)
WORDS = (  # of what all draws together have
    *(
        "a file a subject",
        "a file a day",
        "a folder a subject, a file a signal",
        "a file a signal",
    ),
    *("a column a subject", "long, a file a subject", "interleaved", "newest first", "Einheit"),
    *("utf-16", "latin-1", "quote=True", "trailing=True", "repeat=150", ".gz", ".psv", ".tsv"),
    *(".txt", "battery", "End of export", "Ward", "unique_id", "(h)", "Uhrzeit", "'\\t'", "'|'"),
)
LEAST_READ = 156  # alone or after pasting the line of the error; the others are refused


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """How each mixture was read; what was drawn stands behind."""
    folder = tmp_path_factory.mktemp("mixtures")
    found = []
    for seed in [*range(COUNT), *FURTHER]:
        mixture = Mixture(seed)
        drawn, truth = mixture.write(folder / mixture.name)
        one = judged(mixture.name, folder / mixture.name, [truth])
        found.append(replace(one, why=f"{one.why[:300]} | {drawn}"))
    return found


def test_no_mixture_is_wrong_and_none_ends_in_a_traceback(outcomes):
    bad = of(outcomes, MISLED, WRONG, CRASHED)
    assert not bad, table(bad)


def test_nearly_all_mixtures_are_read(outcomes):
    others = of(outcomes, NAMED, UNNAMED)
    assert len(of(outcomes, READ, PASTED)) >= LEAST_READ, table(others)


def test_a_mixture_follows_from_its_seed_and_the_draws_cover_every_property(tmp_path):
    one, again = Mixture(3), Mixture(3)
    drawn, truth = one.write(tmp_path / "a")
    assert again.write(tmp_path / "b")[0] == drawn
    for subject, channels in truth.series.items():
        for name, (time_s, value) in channels.items():
            assert len(time_s) == len(value) >= 100, subject
            assert np.all(np.diff(time_s) > 0), name
    every = " ".join(Mixture(seed).write(tmp_path / str(seed))[0] for seed in range(COUNT))
    for word in WORDS:
        assert word in every, word
