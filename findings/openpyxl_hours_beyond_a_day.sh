#!/usr/bin/env bash
# openpyxl 3.1.5: the kind of a cell of times depends on its number format, not on its value. A
# cell of 30 elapsed hours shown as [hh]:mm:ss comes back as a timedelta; shown as hh:mm:ss, as
# Excel's users format them, it comes back as the moment 1900-01-01 06:00, beside neighbours below
# 24 h that come back as time of day. A column of elapsed time so has two types, and the one that
# looks like a date is 1.25 days.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openpyxl==3.1.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
from importlib.metadata import version

from openpyxl import Workbook, load_workbook

print("openpyxl", version("openpyxl"))
book = Workbook()
sheet = book.active
for row, (hours, form) in enumerate(((20, "hh:mm:ss"), (30, "hh:mm:ss"), (30, "[hh]:mm:ss")), 1):
    cell = sheet.cell(row, 1, hours / 24)
    cell.number_format = form
book.save("t.xlsx")
read = [row[0].value for row in load_workbook("t.xlsx").active.iter_rows()]
print([repr(value) for value in read])
assert version("openpyxl") == "3.1.5"
assert isinstance(read[0], datetime.time)
assert isinstance(read[1], datetime.datetime)
assert read[1] == datetime.datetime(1900, 1, 1, 6, 0)
assert read[2] == datetime.timedelta(hours=30)
PYTHON
