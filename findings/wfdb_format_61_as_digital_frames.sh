#!/usr/bin/env bash
# wfdb 4.3.1: a record in format 61 (16 bit, most significant byte first) is read as physical values,
# but as digital samples with unsmoothed frames (`physical=False, smooth_frames=False`) it raises
# "ValueError: invalid literal for int()". The same numbers in format 16 are read both ways.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wfdb==4.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np
import wfdb

print("wfdb", version("wfdb"))
samples = np.arange(-50, 50)
for name, form, kind in (("big", 61, ">i2"), ("little", 16, "<i2")):
    Path(f"{name}.hea").write_text(f"{name} 1 100 100\n{name}.dat {form} 200/mV 16 0 0 0 0 ECG\n")
    samples.astype(kind).tofile(f"{name}.dat")
physical = {name: wfdb.rdrecord(name).p_signal[:, 0] for name in ("big", "little")}
assert np.array_equal(physical["big"], physical["little"])
wfdb.rdrecord("little", physical=False, smooth_frames=False)
try:
    wfdb.rdrecord("big", physical=False, smooth_frames=False)
except ValueError as problem:
    print("format 61, digital frames:", problem)
    assert "invalid literal for int()" in str(problem)
else:
    raise AssertionError("format 61 is read as digital frames now")
assert version("wfdb") == "4.3.1"
PYTHON
