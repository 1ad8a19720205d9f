"""Where a WFDB record lies, on disk or on PhysioNet, and the bytes of its files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tsfm_adapt.errors import DataError, EnvironmentProblem, TsfmAdaptError
from tsfm_adapt.signals.readers._wfdb_header import last_part
from tsfm_adapt.signals.readers._wfdb_samples import Bytes


@dataclass(frozen=True)
class Place:
    """Location of a record: a header on disk, or below a folder of PhysioNet."""

    header: Path  # relative to `pn_dir` where that is set
    pn_dir: str | None = None  # project, version and folders; None = on disk

    def __str__(self) -> str:
        return str(self.header) if self.pn_dir is None else self.url(self.header.name)

    def url(self, name: str) -> str:
        """The address of a file beside the header on PhysioNet."""
        from wfdb.io import download

        assert self.pn_dir is not None
        folder = posixpath.join(self.pn_dir, self.header.parent.as_posix())
        return posixpath.join(download.config.db_index_url, posixpath.normpath(folder), name)

    @property
    def record(self) -> str:
        """The record's name, as the library takes it."""
        path = self.header.with_suffix("")
        return path.name if self.pn_dir is not None else str(path.absolute())

    @property
    def folder(self) -> str | None:
        """The record's folder of PhysioNet, as the library takes it; None = on disk."""
        if self.pn_dir is None:
            return None
        return posixpath.normpath(posixpath.join(self.pn_dir, self.header.parent.as_posix()))

    def segment(self, record: str) -> Place:
        """The header of a segment, beside this one or below.

        Raises:
            DataError: it is on disk, and not there.
        """
        if self.pn_dir is None:
            return replace(self, header=self.file(f"{record}.hea"))
        return replace(self, header=self.header.parent / f"{last_part(record)}.hea")

    def head(self) -> bytes:
        """The bytes of the header."""
        if self.pn_dir is None:
            return self.header.read_bytes()
        from wfdb.io import _url  # what rdheader streams with, before it drops what is no ASCII

        with _url.openurl(self.url(self.header.name), "rb") as file:
            content: bytes = file.read()
        return content

    def file(self, name: str) -> Path:
        """A file on disk that the header names: where the name says, or beside the header.

        Names in other cases are found where only one fits.

        Raises:
            DataError: there is none.
        """
        beside = self.header.parent / last_part(name)
        candidates = [self.header.parent / name.replace("\\", "/"), beside]
        for path in candidates:
            if path.is_file():
                return path
        alike = [
            path
            for path in self.header.parent.iterdir()
            if path.name.lower() == beside.name.lower() and path.is_file()
        ]
        if len(alike) == 1:
            return alike[0]
        missing = " or ".join(str(path) for path in dict.fromkeys(candidates))
        raise DataError(
            f"Every file that a WFDB header names must exist: {missing} does not, and "
            f"{self.header} needs it. Put the file there, or leave the record out with `records`."
        )

    def signal_file(self, name: str) -> SignalFile:
        """A signal file that the header names.

        Raises:
            DataError: it is on disk, and not there.
            OSError: it cannot be opened, or fetched.
        """
        if self.pn_dir is None:
            path = self.file(name)
            return SignalFile(str(path), path.stat().st_size, path)
        problem: FileNotFoundError | None = None
        for given in dict.fromkeys([name.replace("\\", "/"), last_part(name)]):
            try:
                return _remote(self.url(given))
            except FileNotFoundError as missing:
                problem = problem or missing
        assert problem is not None
        raise problem


@dataclass(frozen=True)
class SignalFile:
    """A signal file and its size."""

    name: str  # path or address
    size: int
    path: Path | None  # None = on PhysioNet

    def read(self, offset: int, count: int) -> Bytes:
        """So many bytes from one on, fewer where the file ends; of files on disk a view."""
        count = max(min(count, self.size - offset), 0)
        if self.path is None:
            from wfdb.io import _url

            with _url.openurl(self.name, "rb", buffering=0) as file:
                file.seek(offset)
                return np.frombuffer(file.read(count), np.uint8)
        if count == 0:  # which cannot be mapped
            return np.empty(0, np.uint8)
        return np.memmap(self.path, np.uint8, mode="r", offset=offset, shape=(count,))


def _remote(url: str) -> SignalFile:
    from wfdb.io import _url

    with _url.openurl(url, "rb", buffering=0) as file:
        return SignalFile(url, int(file.seek(0, os.SEEK_END)), None)


def list_records(pn_dir: str) -> list[str]:
    """The records that a folder of PhysioNet lists in its file RECORDS.

    Raises:
        DataError: there is no such file, or it lists folders.
        EnvironmentProblem: it cannot be fetched.
    """
    import wfdb

    place = Place(Path("RECORDS"), pn_dir)
    with naming(place):
        try:
            listed: list[str] = wfdb.get_record_list(pn_dir)
        except ValueError as problem:  # of the library: the file is not there, or is no text
            raise DataError(
                f"data.reader.pn_dir is a folder with a list RECORDS: {place} is none. Correct "
                "it, or name the records in data.reader.records."
            ) from problem
    records = [record.strip() for record in listed if record.strip()]
    folders = [record for record in records if record.endswith("/")]
    if folders or not records:
        raise DataError(
            f"data.reader.pn_dir: {place} lists {len(records)} records and of them {len(folders)} "
            f"folders{f' like {folders[0]}' if folders else ''}. Set pn_dir to a folder of "
            "records, or name the records in data.reader.records."
        )
    return records


@contextmanager
def naming(place: Place) -> Iterator[None]:
    """Turns errors of the library and of files into errors that name the record."""
    try:
        yield
    except TsfmAdaptError:
        raise
    except OSError as problem:
        raise _unreachable(place, problem) from problem
    except Exception as problem:  # the library raises IndexError, KeyError and bare Exception too
        raise DataError(
            f"{place} and its files must be a valid WFDB record: "
            f"{type(problem).__name__}: {problem}. Compare them with their source, or leave the "
            "record out with `records`."
        ) from problem


def _unreachable(place: Place, problem: OSError) -> TsfmAdaptError:
    """The error for a file that disk or server did not give."""
    if place.pn_dir is None:
        if isinstance(problem, FileNotFoundError):
            return DataError(
                f"Every file of a WFDB record must exist: {problem.filename} does not, and "
                f"{place} needs it. Put the file there, or leave the record out with `records`."
            )
        return DataError(
            f"{place} and its signal files must be readable: {problem}. Correct their "
            "permissions, or leave the record out with `records`."
        )
    url = getattr(problem, "url", None) or place  # of the library's own errors
    if isinstance(problem, FileNotFoundError):
        return DataError(
            f"data.reader.pn_dir: PhysioNet has no file {url}. Correct pn_dir, records or "
            "annotations."
        )
    if isinstance(problem, PermissionError):
        return EnvironmentProblem(
            f"{url} is for credentialed users. Fetch the files with your own account, and read "
            "them with data.reader.root in place of pn_dir."
        )
    reason = getattr(next(iter(problem.args), None), "reason", problem)  # behind the retries
    text = str(reason).rpartition("): ")[2][:120]
    return EnvironmentProblem(
        f"{url} could not be fetched: {type(reason).__name__}: {text}. Connect this machine, or "
        "fetch the files elsewhere and set data.reader.root in place of pn_dir."
    )
