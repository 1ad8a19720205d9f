"""Whose a file is, by its path."""

import re

import pytest

from tsfm_adapt.signals.readers._tables.paths import owners

PEOPLE = [f"P0{n}" for n in range(1, 4)]


def found(names, channels=()):
    """The subject of each path; None = each file is its own."""
    own = owners(names, channels)
    if own is None:
        return None
    matches = [re.search(own.pattern, name) for name in names]
    return [match and match.group(1) for match in matches]


@pytest.mark.parametrize(
    "form",
    [
        "{person}/day{number}",
        "{person}/deep/day{number}",
        "{person}_day{number}",
        "{person}-{number}",
        "{person} night {number}",
        "day{number}_{person}",
        "night{number}_{person}",
        "20240{number}01_{person}",
        "ward_{person}_{number}",
        "sub-{person}_ses-{number}",
    ],
)
@pytest.mark.parametrize("people", [PEOPLE, ["p1", "p2", "p3"], ["S11", "S12", "S130"]])
def test_files_of_a_person_are_one_subject(form, people):
    names = sorted(form.format(person=own, number=n) for own in people for n in (1, 2))
    subjects = found(names)
    assert len({*subjects}) == len(people)
    for name, subject in zip(names, subjects, strict=True):
        (own,) = (person for person in people if re.search(rf"{person}(?!\d)", name))
        assert subject.endswith(own)


@pytest.mark.parametrize(
    "form", ["{person}_{channel}", "{channel}_{person}", "{person}/{channel}"]
)
def test_files_may_be_called_by_channels(form):
    channels = ("pulse rate", "temperature")
    names = [
        form.format(person=own, channel=name.replace(" ", "-"))
        for own in PEOPLE
        for name in channels
    ]
    assert found(names, channels) == [own for own in PEOPLE for _ in channels]


@pytest.mark.parametrize(
    "names",
    [
        ["one"],
        ["p1", "p2", "p3"],
        ["P01/a", "P02/a"],  # a folder a file
        ["all/p1", "all/p2"],
        ["p1", "more/p2", "more/p3"],
        ["icu_anna", "icu_ben", "ward_carl", "ward_dora"],  # wards, not people
        ["2024-01-01", "2024-01-02"],
    ],
)
def test_a_file_is_its_own_subject_where_nothing_repeats(names):
    assert found(names) is None


def test_sessions_may_be_called_s1_behind_a_name_and_people_where_they_stand_first():
    names = [f"{own}_s{n}" for own in ("anna", "ben", "carl") for n in (1, 2)]
    assert found(names) == [own for own in ("anna", "ben", "carl") for _ in (1, 2)]
    names = [f"s{n}_{part}" for n in (1, 2, 3) for part in ("rest", "stress")]
    assert found(names) == [f"s{n}" for n in (1, 2, 3) for _ in range(2)]
