"""Small EDF files to read: written by edfio, then damaged."""

import datetime

import numpy as np
import pytest

from tsfm_adapt.signals.readers.edf import Config

edfio = pytest.importorskip("edfio", reason="the extra 'edf' is not installed")


SECONDS = 6


def write(path, signals=None, date=datetime.date(1989, 4, 24), **fields):
    """A file of one-second records; `signals` is {label: (rate in Hz, unit, values)}."""
    signals = signals or {"EEG Fpz-Cz": (4, "uV", np.arange(4.0 * SECONDS))}
    path.parent.mkdir(exist_ok=True, parents=True)
    edfio.Edf(
        [
            edfio.EdfSignal(
                np.asarray(values, float),
                rate,
                label=label,
                physical_dimension=unit,
                physical_range=(-2048, 2047),
                digital_range=(-2048, 2047),
            )
            for label, (rate, unit, values) in signals.items()
        ],
        recording=edfio.Recording(startdate=date),
        starttime=fields.pop("starttime", datetime.time(16, 13, 5)),
        data_record_duration=1,
        **fields,
    ).write(path)
    return path


def mixed(seconds=SECONDS):
    return {
        "EEG Fpz-Cz": (4, "uV", np.arange(4.0 * seconds)),
        "Temp": (1, "degC", 30 + np.arange(1.0 * seconds)),
        "Fc5.": (4, "uV", -np.arange(4.0 * seconds)),
    }


def hypnogram(path, stages, starttime=datetime.time(16, 13, 5), date=datetime.date(1989, 4, 24)):
    edfio.Edf(
        [],
        recording=edfio.Recording(startdate=date),
        starttime=starttime,
        annotations=[edfio.EdfAnnotation(*stage) for stage in stages],
    ).write(path)
    return path


def patch(path, first, text):
    """Overwrites bytes of a file, a header field as a rule."""
    data = bytearray(path.read_bytes())
    data[first : first + len(text)] = text
    path.write_bytes(data)


def read(root, channels=(), **fields):
    return list(Config(root=str(root), **fields).read(channels))
