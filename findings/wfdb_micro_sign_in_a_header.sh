#!/usr/bin/env bash
# wfdb 4.3.1: letters beyond ASCII in a local header are dropped without a word, so that the unit
# "µV", in UTF-8 as well as in Latin-1, is read as "V": every value is a million times too large, and
# a channel called "Atem grün" loses its letter. "uV" is read right.
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
found = {}
for name, unit, encoding in (("u8", "µV", "utf-8"), ("l1", "µV", "latin-1"), ("ok", "uV", "utf-8")):
    text = f"{name} 1 500 4\n{name}.dat 16 200/{unit} 16 0 0 0 0 Atem grün\n"
    Path(f"{name}.hea").write_bytes(text.encode(encoding))
    np.array([200, 400, -200, 0], "<i2").tofile(f"{name}.dat")
    record = wfdb.rdrecord(name)
    found[name] = (record.units[0], record.sig_name[0], record.p_signal[0, 0].item())
    print(name, found[name])
assert version("wfdb") == "4.3.1"
assert found["u8"] == found["l1"] == ("V", "Atem grn", 1.0)
assert found["ok"][0] == "uV"
PYTHON
