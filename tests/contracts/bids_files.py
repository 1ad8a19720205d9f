"""Physiological recordings of BIDS as tests write them."""

import gzip
import json
from pathlib import Path

SIDECAR = {
    "SamplingFrequency": 50.0,
    "StartTime": -22.5,
    "Columns": ["cardiac", "respiratory", "trigger"],
    "cardiac": {"Description": "pulse", "Units": "mV"},
    "respiratory": {"Units": "a.u."},
    "trigger": {"Units": "1"},
}
ROWS = "0.5\t10\t0\nn/a\t11\t1\n-1e-3\t12\t0\n"


def write(folder: Path, name: str, sidecar: dict | None = SIDECAR, rows: str = ROWS) -> Path:
    """A file of samples `<name>_physio.tsv.gz` and its sidecar; None = it has none."""
    folder.mkdir(parents=True, exist_ok=True)
    if sidecar is not None:
        (folder / f"{name}_physio.json").write_text(json.dumps(sidecar))
    path = folder / f"{name}_physio.tsv.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    return path
