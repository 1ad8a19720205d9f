"""What a user should know of a proposal beside its values."""

from __future__ import annotations

from collections.abc import Sequence

from tsfm_adapt.components import configs
from tsfm_adapt.proposal.alternatives import remark
from tsfm_adapt.proposal.channel_lines import ChannelLine
from tsfm_adapt.proposal.layout import FEW, LEAST_TESTED, Layout
from tsfm_adapt.proposal.survey import Survey
from tsfm_adapt.recipe.parts import unknown_subjects
from tsfm_adapt.signals.duplicates import duplicated
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import RecordingSet

_NAMED = 8  # columns that are named; their number says the rest


def notes(
    survey: Survey,
    reader: ReaderConfig,
    label: str | None,
    lines: Sequence[ChannelLine],
    recordings: RecordingSet,
    layout: Layout,
    others: str,
) -> list[str]:
    """Notes on what limits the scores: few subjects, unknown subjects, assumed units, copies.

    Args:
        survey: of the recordings.
        reader: of them.
        label: of recordings, that the proposed task does not learn; None = there is none.
        lines: of the channels.
        recordings: cleaned, those looked at.
        layout: that is proposed.
        others: channels of other rates; '' = there are none.
    """
    found = [*_of_reading(survey, reader), *([others] if others else [])]
    if survey.looked < len(survey.listed) or survey.more:
        every = f"{len(survey.listed)} or more" if survey.more else str(len(survey.listed))
        found.append(f"looked at the first {survey.looked} of {every} recordings")
    if layout.split["by"] == "time":
        found.append(
            f"{survey.subjects} subject{'s' if survey.subjects != 1 else ''}: split by time; "
            "what holds within one patient is never evidence for another"
        )
    elif survey.subjects < FEW or layout.tested < LEAST_TESTED:
        found.append(layout.split_why)
    if layout.short:
        found.append(layout.short)
    naming = unknown_subjects(reader)
    if naming is not None and len(survey.listed) > 1:
        found.append(
            "subjects: unknown: each recording or file is taken as a subject of its own; if "
            f"people have several, {naming}, or one person is both learned from and tested on"
        )
    if "rate_hz" in reader.model_fields_set and type(reader).model_fields["rate_hz"].is_required():
        found.append("the format states no rate: seconds are samples until rate_hz is corrected")
    assumed = [f"{c.name} {c.unit}" for c in lines if c.unit_assumed]
    if assumed:
        found.append(f"no unit in the file, assumed by name and values: {', '.join(assumed[:8])}")
    if recordings.left_out:
        one = next(iter(recordings.left_out.items()))
        found.append(f"{len(recordings.left_out)} recordings left out: {' '.join(one)}")
    found += _copies(recordings)
    if label is not None:
        able = {n: c for n, c in configs("task").items() if c.can_be_proposed()}
        learner = next((n for n, c in able.items() if c.of_labels), None)
        learns = f": tsfm-adapt init --task {learner} learns it" if learner else ""
        found.append(f"recordings have the label '{label}'{learns}")
    if survey.spans:
        common = sorted(survey.spans, key=lambda name: -survey.spans[name])[:5]
        found.append(f"marked: {', '.join(f'{name} {survey.spans[name]}' for name in common)}")
    return [note.encode(errors="replace").decode() for note in found]  # ids are names of files


def _of_reading(survey: Survey, reader: ReaderConfig) -> list[str]:
    """What the reader left out or changed, and how it knows the subjects."""
    found = [f"{count:,} {what}" for what, count in survey.notes.items()]
    ignored = getattr(reader, "ignored", {})
    if ignored:
        shown = [f"{name} ({why})" for name, why in list(ignored.items())[:_NAMED]]
        more = f" and {len(ignored) - _NAMED} more" if len(ignored) > _NAMED else ""
        found.append(f"not taken as signals: {', '.join(shown)}{more}")
    pattern = getattr(reader, "subject_pattern", None)
    if pattern is not None:
        found.append(f"{survey.subjects} subjects by the names of files and folders: '{pattern}'")
    named_apart = remark(survey.alternatives)
    if named_apart is not None:
        found.append(named_apart)
    return found


def _copies(recordings: RecordingSet) -> list[str]:
    """Stretches that two subjects share: one file under two names, or one person."""
    copies = duplicated(recordings.recordings)
    if not copies:
        return []
    pairs = {tuple(sorted((copy.one.subject, copy.other.subject))) for copy in copies}
    copy = copies[0]
    return [
        f"{len(pairs)} pair{'s' if len(pairs) != 1 else ''} of subjects share stretches: the "
        f"longest is {copy.samples} values of {copy.channel} in {copy.one.id} and "
        f"{copy.other.id}; training refuses to learn from one and score on the other"
    ]
