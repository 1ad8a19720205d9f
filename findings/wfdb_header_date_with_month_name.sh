#!/usr/bin/env bash
# wfdb 4.3.1: a record line whose date has the month's name, as in the headers of the PhysioNet/CinC
# Challenge 2020 ("A1 1 500 1000 05-Feb-2020 11:39:16"), is read without an error: the leading "05"
# becomes the base *time* 00:00:05, and the date and the real time are dropped. WFDB's own form is
# time first, date as dd/mm/yyyy, and that one is read right. A start that looks stated is wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wfdb==4.3.1
cd "$folder"
printf 'named 1 500 1000 05-Feb-2020 11:39:16\nnamed.dat 16 200/mV 12 0 0 0 0 ECG\n' > named.hea
printf 'plain 1 500 1000 11:39:16 05/02/2020\nplain.dat 16 200/mV 12 0 0 0 0 ECG\n' > plain.hea
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import wfdb

print("wfdb", version("wfdb"))
named, plain = wfdb.rdheader("named"), wfdb.rdheader("plain")
for record in (named, plain):
    print(record.record_name, "time", record.base_time, "date", record.base_date)
assert version("wfdb") == "4.3.1"
assert (str(named.base_time), named.base_date) == ("00:00:05", None)
assert (str(plain.base_time), str(plain.base_date)) == ("11:39:16", "2020-02-05")
PYTHON
