"""Recordings whose channels come from different subjects: the same series without couplings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tsfm_adapt.evaluation.forecast_errors import ForecastErrors
from tsfm_adapt.signals.recording import Recording

Sources = Mapping[str, tuple[str, ...]]  # by subject: where each of its channels comes from


def exchange(subjects: Sequence[str], channels: int, seed: int) -> dict[str, tuple[str, ...]]:
    """For each subject as many others as there are channels, no two the same.

    Each channel is a derangement: every subject gives it once and none keeps its own.
    """
    count = len(subjects)
    if count <= channels:
        raise ValueError(f"{channels} channels need more than {channels} subjects, not {count}.")
    drawn = [subjects[i] for i in np.random.default_rng(seed).permutation(count)]
    return {
        subject: tuple(drawn[(place + shift) % count] for shift in range(1, channels + 1))
        for place, subject in enumerate(drawn)
    }


def shuffled(recordings: Sequence[Recording], sources: Sources) -> list[Recording]:
    """Each recording with its channels from others at the same sample; one a subject."""
    values = {recording.subject: recording.values for recording in recordings}
    return [
        replace(
            recording,
            values=np.array(
                [values[other][c] for c, other in enumerate(sources[recording.subject])]
            ),
            spans=(),  # events of the subject's own channels
        )
        for recording in recordings
    ]


def put_back(errors: ForecastErrors, sources: Sources) -> ForecastErrors:
    """Errors on exchanged channels, each at the subject that the channel came from.

    Their windows then hold the same targets as those of the recordings as they were.

    Args:
        errors: of subjects with equally many windows each, at the same times.
        sources: what `shuffled` was given, of the errors' subjects.
    """
    subjects = np.array(errors.subjects)
    rows = {name: np.flatnonzero(subjects == name) for name in np.unique(subjects).tolist()}
    assert len({len(some) for some in rows.values()}) == 1, "subjects differ in their windows"
    order = np.empty((len(subjects), errors.target.shape[1]), dtype=np.int64)  # (W, C)
    for holder, origins in sources.items():
        for channel, origin in enumerate(origins):
            order[rows[origin], channel] = rows[holder]

    def ordered(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, order[:, :, None], axis=0)

    return ForecastErrors(
        errors.subjects,
        ordered(errors.target),
        ordered(errors.scored),
        ordered(errors.point),
        ordered(errors.pinball),
        ordered(errors.low),
        ordered(errors.high),
    )


def write(recordings: Mapping[str, Sequence[Recording]], path: Path) -> None:
    """A wide Parquet table, a row a sample: subject, part, time in seconds, channels.

    Args:
        recordings: by part.
        path: of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pieces = []
    for part, some in recordings.items():
        for recording in some:
            columns = {
                "subject": [recording.subject] * recording.samples,
                "part": [part] * recording.samples,
                "time": np.arange(recording.samples) / recording.rate_hz,
            }
            columns |= dict(zip(recording.channels, recording.values, strict=True))
            pieces.append(pa.table(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.concat_tables(pieces), temporary)
    temporary.replace(path)
