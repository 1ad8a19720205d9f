"""Files of VitalRecorder, written by `vitaldb`, and what the reader makes of them."""

import numpy as np
import pytest

from tsfm_adapt.signals.readers.vitaldb import Config

vitaldb = pytest.importorskip("vitaldb", reason="the extra 'vitaldb' is not installed")

START_S = 1_600_000_000.0


def numbers(times, values):
    return [{"dt": START_S + t, "val": float(v)} for t, v in zip(times, values, strict=True)]


def wave(*packets):
    """Packets of (seconds, samples)."""
    return [
        {"dt": START_S + t, "val": np.asarray(samples, dtype=np.float32)} for t, samples in packets
    ]


def write(path, tracks=None, packed=True, gaps=None):
    """`tracks` is {name: (records, rate in Hz, unit)}."""
    path.parent.mkdir(exist_ok=True, parents=True)
    file = vitaldb.VitalFile()
    for name, (records, rate_hz, unit) in (tracks or ward()).items():
        file.add_track(name, records, rate_hz, unit)
        if name in (gaps or {}):
            track = file.trks[name]
            track.fmt, track.gain, track.offset = gaps[name]
    times = [r["dt"] for t in file.trks.values() for r in t.recs]
    file.dtstart, file.dtend = min(times), max(times) + 1
    assert file.to_vital(str(path), packed=packed)
    return path


def ward(shift=0.0):
    return {
        "Solar8000/HR": (numbers([0.25 + shift, 2 + shift, 2.5 + shift], [60, 61, 62]), 0, "/min"),
        "Solar8000/BT": (numbers([5.0 + shift], [36.5]), 0, "C"),
        "SNUADC/ECG_II": (wave((0.5 + shift, range(8)), (4.5 + shift, range(8))), 4, "mV"),
        "SNUADC/ART": (wave((1.0 + shift, range(10))), 2, "mmHg"),
    }


def read(root, channels=(), **fields):
    return list(Config(root=str(root), **fields).read(channels))
