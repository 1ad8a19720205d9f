"""BIDS physiological recordings: `*_physio.tsv.gz` with their `*_physio.json` beside or above.

A file is a record; its id is the name up to `_physio` (`sub-01_ses-2_task-rest_run-1`), its
subject `sub-01`. Rate, names and units of the columns are the sidecars'; a column without a unit
has none, and the recipe has to state it (`from_unit`). `StartTime` is the attribute
`start_time_s`: seconds from the first volume or sample of the scan that the recording was made
beside. `n/a` is missing.

Files that differ by `recording-` only are one stretch at several rates, where they begin together,
their rates differ and no name of a column occurs twice; otherwise each is a record of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import unread
from tsfm_adapt.signals.readers._bids_files import Name, Physio, identity, with_sidecars
from tsfm_adapt.signals.readers._files import FilesConfig, Found
from tsfm_adapt.signals.readers._heads import some_files
from tsfm_adapt.signals.readers.base import resolve_root
from tsfm_adapt.signals.recording import Recording

_ENDS = ("_physio.tsv.gz", "_physio.tsv")


class Config(FilesConfig):
    """Reads records sorted by id; all sidecars are checked before the first sample is read."""

    name: Literal["bids"] = "bids"
    pattern: str = Field(
        "*_physio.tsv*",
        description="of the names in a folder, such as *_stim.tsv.gz; upper and lower case are "
        "equal",
    )
    subject_pattern: str | None = Field(
        "^(sub-[^_]+)",
        description="regular expression; its one group in the id is the subject; null = id",
    )

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by names; raises DataError where the sidecar lacks what is needed."""
        files = some_files(path, _ENDS)
        if not files:
            return None
        for physio in with_sidecars(files, path):
            physio.check()
        return cls.model_validate({"root": str(path)})

    def files(self) -> Iterable[Path]:
        """The records' files, and the sidecars that apply to them."""
        found = self._found(self.picked(self.find()).values())
        return {file for physio in found for file in (physio.path, *physio.sidecars)}

    def listed(self) -> Found:
        """The files whose names fit, by id, and the other visible ones below the root.

        Raises:
            DataError: none fits, or two that do share an id.
        """
        listed = super().listed()
        records: dict[str, Path] = {}
        for path in listed.records.values():
            before = records.setdefault(identity(path), path)
            if before != path:
                raise DataError(
                    f"A name occurs once in a dataset: {before} and {path} share the id "
                    f"'{identity(path)}'. Give the folder that is meant as data.reader.root."
                )
        return Found(dict(sorted(records.items())), listed.others)

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the records sorted by id, the rates of a stretch slowest first."""
        listed = self.listed()
        found = self._found(self.picked(listed.records).values())
        subjects = {physio.id: self.subject_of(physio.id) for physio in found}
        used = {sidecar for physio in found for sidecar in physio.sidecars}
        notes = Counter(unread([path for path in listed.others if path not in used]))
        for stretch in _stretches(found):
            for physio in sorted(stretch, key=lambda own: own.rate_hz):
                together = None if len(stretch) == 1 else stretch[0].id
                yield _recording(physio, subjects[physio.id], channels, together, notes)
                notes = Counter()

    def _found(self, paths: Iterable[Path]) -> list[Physio]:
        return with_sidecars(paths, resolve_root(self.root))


def _stretches(found: Sequence[Physio]) -> Iterator[list[Physio]]:
    """Files that are one stretch at several rates, in order of the first id of each."""
    alike = {physio.id: sorted(Name.of(physio.path.name).without("recording")) for physio in found}
    for physio in found:  # all sidecars are checked before the first sample is read
        physio.check()
    for _, group in groupby(sorted(found, key=lambda own: alike[own.id]), lambda o: alike[o.id]):
        own = list(group)
        names = [name for physio in own for name in physio.columns]
        if (
            len({physio.rate_hz for physio in own}) == len(own)
            and len({*names}) == len(names)
            and len({physio.start_s for physio in own}) == 1
        ):
            yield own
        else:
            yield from ([physio] for physio in own)


def _recording(
    physio: Physio,
    subject: str,
    channels: tuple[str, ...],
    multirate_id: str | None,
    notes: Counter[str],
) -> Recording:
    columns = physio.columns
    values = physio.values(notes)
    wanted = [columns.index(name) for name in channels or columns if name in columns]
    start_s = physio.start_s
    return Recording(
        id=physio.id,
        subject=subject,
        values=values[wanted],
        channels=tuple(columns[index] for index in wanted),
        units=tuple(physio.unit(columns[index]) for index in wanted),
        rate_hz=physio.rate_hz,
        attributes={} if start_s is None else {"start_time_s": start_s},
        multirate_id=multirate_id,
        notes=notes,
    )
