"""Tables of drawn properties: nearly all are read right, and none is wrong in silence."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from contracts.readings import attempt, problems
from signals.mixtures import Mixture

COUNT = 120
LEAST_READ = 117  # alone or after pasting the line of the error; the others are refused


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """For each mixture how it was read, what is wrong, and what was drawn."""
    folder = tmp_path_factory.mktemp("mixtures")
    found = []
    for seed in range(COUNT):
        mixture = Mixture(seed)
        drawn, truth = mixture.write(folder / mixture.name)
        try:
            got = attempt(folder / mixture.name)
        except Exception as error:  # whatever else is raised is what a person would see
            found.append((seed, "crashed", f"{type(error).__name__}: {error}", drawn))
            continue
        wrong = [] if got.how == "refused" else problems(got, truth)
        how = got.how if not wrong else "refused" if got.asks else f"{got.how}, WRONG"
        why = " ".join(("; ".join(wrong) or got.message).split())
        found.append((seed, how, why[:300], drawn))
    return found


def table(outcomes) -> str:
    """The mixtures that were not read, and how many there are of each outcome."""
    lines = [" | ".join(map(str, one)) for one in outcomes if one[1] != "read"]
    return "\n".join(["", *lines, str(Counter(one[1] for one in outcomes))])


def test_no_mixture_is_wrong_and_none_ends_in_a_traceback(outcomes):
    bad = [one for one in outcomes if "WRONG" in one[1] or one[1] == "crashed"]
    assert not bad, table(outcomes)


def test_nearly_all_mixtures_are_read(outcomes):
    read = [one for one in outcomes if one[1] in ("read", "pasted")]
    assert len(read) >= LEAST_READ, table(outcomes)


def test_a_mixture_follows_from_its_seed_and_the_draws_cover_every_property(tmp_path):
    one, again = Mixture(3), Mixture(3)
    drawn, truth = one.write(tmp_path / "a")
    assert again.write(tmp_path / "b")[0] == drawn
    for subject, channels in truth.series.items():
        for name, (time_s, value) in channels.items():
            assert len(time_s) == len(value) >= 100, subject
            assert np.all(np.diff(time_s) > 0), name
    every = " ".join(Mixture(seed).write(tmp_path / str(seed))[0] for seed in range(COUNT))
    for word in (
        "a file a subject", "a folder a subject", "interleaved", "newest first", "utf-16",
        "latin-1", "quote=True", "trailing=True", "repeat=150", ".gz", ".psv", ".tsv", ".txt",
        "battery", "End of export", "Ward", "unique_id", "Zeit (h)", "Uhrzeit", "'\\t'", "'|'",
    ):  # fmt: skip
        assert word in every, word
