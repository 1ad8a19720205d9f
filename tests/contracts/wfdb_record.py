"""Small WFDB records to read: written by wfdb, then changed."""

import numpy as np
import pytest

from tsfm_adapt.signals.readers.wfdb import Config

wfdb = pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")


def write(folder, name, values, channels=("HR", "RESP"), units=("bpm", "pm"), fmt="16", **fields):
    """A record of whole numbers (C, T), NaN = invalid code, with gain 1."""
    folder.mkdir(exist_ok=True, parents=True)
    wfdb.wrsamp(
        name,
        fs=fields.pop("fs", 1),
        units=list(units),
        sig_name=list(channels),
        p_signal=np.asarray(values, dtype=float).T,
        fmt=[fmt] * len(channels),
        adc_gain=[1.0] * len(channels),
        baseline=[0] * len(channels),
        write_dir=str(folder),
        **fields,
    )
    return folder / f"{name}.hea"


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def ramp(samples=30, channels=2):
    return np.arange(channels * samples).reshape(channels, samples) % 50


def read(root, channels=(), **fields):
    return list(Config(root=str(root), **fields).read(channels))
