"""Columns that may be the subject though no name says so."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.suspects import in_blocks, suspected

PEOPLE, ROWS = 4, 60
BLOCKS = np.repeat([f"b{n}" for n in range(PEOPLE)], ROWS)
MIXED = np.tile([f"b{n}" for n in range(PEOPLE)], ROWS)
RNG = np.random.default_rng(0)


def table(**columns):
    return Table(Path("t.csv"), {name: np.array(own) for name, own in columns.items()}, 2)


def asked(name, cells, time_s, file=None):
    files = np.zeros(len(time_s), dtype=np.int64) if file is None else file
    return suspected(table(**{name: cells}), [name], np.asarray(time_s, dtype=float), files)


APART = np.concatenate([1e6 * n + 60 * np.arange(ROWS) for n in range(PEOPLE)])
AT_ONCE = np.repeat(60.0 * np.arange(ROWS), PEOPLE) + np.tile(np.arange(PEOPLE) * 13.0, ROWS)


def test_blocks_with_times_far_apart_are_suspected_and_said():
    name, why = asked("bed", BLOCKS, APART)
    assert name == "bed"
    assert "4 values (b0, b1, b2, ...)" in why


def test_several_at_once_with_a_clock_each_are_suspected():
    assert asked("bed", MIXED, AT_ONCE)[0] == "bed"


@pytest.mark.parametrize(
    ("name", "cells", "time_s"),
    [
        ("posture", BLOCKS, APART),  # what somebody does
        ("sleep_stage", BLOCKS, APART),
        ("sensor quality", BLOCKS, APART),
        ("packet", BLOCKS, APART),
        ("HR", np.repeat([60, 70, 80, 90], ROWS), APART),  # a measurement
        ("bed", BLOCKS, 60.0 * np.arange(PEOPLE * ROWS)),  # one clock: moved from bed to bed
        ("bed", np.repeat(["b0"], PEOPLE * ROWS), APART),
        ("bed", np.where(np.arange(PEOPLE * ROWS) % 7, BLOCKS, ""), APART),
        ("x", RNG.normal(size=PEOPLE * ROWS), APART),
    ],
)
def test_other_columns_are_not(name, cells, time_s):
    assert asked(name, cells, time_s) is None


def test_a_value_a_file_needs_no_column():
    assert asked("bed", BLOCKS, APART, np.repeat(np.arange(PEOPLE), ROWS)) is None


def test_an_identifier_by_name_fills_a_block_for_each_value():
    assert in_blocks(table(HR=BLOCKS, study_id=BLOCKS), ["HR", "study_id"]) == "study_id"
    assert in_blocks(table(study_id=MIXED), ["study_id"]) is None
    assert in_blocks(table(study_id=BLOCKS), []) is None
