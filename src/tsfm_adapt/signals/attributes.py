"""Groups of subjects, by their attributes, for scores by subgroup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.recording import Recording

NOT_KNOWN = "not known"
_MANY = 12  # groups


def grouped(
    recordings: Iterable[Recording], attribute: str, edges: Sequence[float] | None = None
) -> dict[str, str]:
    """The group of each subject, by subject, in the order in which tables show groups.

    A subject's attribute is that of its first recording that has one. A subject without it, or
    with a value outside the edges, is in the group `not known`.

    Args:
        recordings: of the subjects to group.
        attribute: a key of their `attributes`.
        edges: of the groups [first, second), [second, third), ...; None = a group for each value.

    Raises:
        DataError: no recording has the attribute; with edges, a value is no number; without, it
            has more than 12 values.
    """
    values: dict[str, str | float] = {}
    subjects: dict[str, None] = {}
    known: set[str] = set()
    for recording in recordings:
        subjects[recording.subject] = None
        known.update(recording.attributes)
        if attribute in recording.attributes:
            values.setdefault(recording.subject, recording.attributes[attribute])
    if not values:
        raise DataError(
            f"evaluate.subgroups: no recording of the test set has the attribute '{attribute}'."
            f"{closest(attribute, known)} They have: {', '.join(sorted(known)) or 'none'}. "
            "Name one of these, or leave it out."
        )
    if edges is None:
        names = {subject: _plain(value) for subject, value in values.items()}
        if len(set(names.values())) > _MANY:
            raise DataError(
                f"evaluate.subgroups: '{attribute}' has {len(set(names.values()))} values, a "
                f"table at most {_MANY} groups. Give edges: {{{attribute}: [0, 50, 100]}}."
            )
    else:
        words = sorted(str(value) for value in values.values() if isinstance(value, str))
        if words:
            raise DataError(
                f"evaluate.subgroups: edges are for numbers; '{attribute}' is '{words[0]}'. "
                f"Give its name alone: subgroups: [{attribute}]."
            )
        names = {subject: _between(float(value), edges) for subject, value in values.items()}
    group = {subject: names.get(subject, NOT_KNOWN) for subject in subjects}
    order = _order(set(group.values()), edges)
    return dict(sorted(group.items(), key=lambda pair: order.index(pair[1])))


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _between(value: float, edges: Sequence[float]) -> str:
    for low, high in pairwise(edges):
        if low <= value < high:
            return _named(low, high)
    return NOT_KNOWN


def _named(low: float, high: float) -> str:
    return f"{low:g} to < {high:g}"


def _order(groups: set[str], edges: Sequence[float] | None) -> list[str]:
    if edges is None:
        return [*sorted(groups - {NOT_KNOWN}), NOT_KNOWN]
    return [*(_named(low, high) for low, high in pairwise(edges)), NOT_KNOWN]
