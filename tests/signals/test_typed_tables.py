"""One cohort in the types of Parquet: whatever a column's type, the same is read."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.readings import attempt, problems
from contracts.written import HR, TEMP, cohort, elapsed, numbered, stamp, truth

COLUMNS = {"HR (bpm)": HR, "temp": TEMP}
PEOPLE = cohort(700, numbered("p", 6), COLUMNS, 600, apart_s=86400)
DATED = truth(PEOPLE, stamp("t", "%Y"), {"HR (bpm)": "bpm"})
COUNTED = truth(PEOPLE, elapsed("t", 1), {"HR (bpm)": "bpm"})
WITH_UNITS = truth(PEOPLE, stamp("t", "%Y"), {"HR (bpm)": "bpm", "temp": "degC"})
NUMBERED = replace(DATED, series={str(int(name[1:])): own for name, own in DATED.series.items()})


def frame() -> pd.DataFrame:
    """All rows, with times as `t` and seconds as `off`."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "patient_id": person.id,
                    "t": pd.Timestamp(person.start) + pd.to_timedelta(person.offset_s, unit="s"),
                    "off": person.offset_s,
                    **person.values,
                }
            )
            for person in PEOPLE
        ],
        ignore_index=True,
    )


ALL = frame()
BODY = ALL[["patient_id", *COLUMNS]]
MELTED = ALL.melt(["patient_id", "t"], list(COLUMNS)).dropna().sort_values(["patient_id", "t"])
CODES = BODY["patient_id"].str[1:].astype(int)


def in_decimals() -> pa.Table:
    cells = [None if np.isnan(x) else Decimal(f"{x:.1f}") for x in BODY["temp"]]
    table = pa.Table.from_pandas(BODY.assign(time=ALL["t"]))
    return table.set_column(2, "temp", pa.array(cells, pa.decimal128(6, 2)))


berlin = ALL["t"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
TABLES = {
    "timestamps": (BODY.assign(time=ALL["t"]), DATED),
    "timestamps with a zone": (
        BODY.assign(time=berlin), replace(DATED, zones=("Europe/Berlin",))
    ),
    "times as the index": (BODY.assign(time=ALL["t"]).set_index("time"), DATED),
    "rows in any order, their numbers as the index": (
        BODY.assign(time=ALL["t"]).sample(frac=1, random_state=1), DATED
    ),
    "dates beside times": (
        BODY.assign(date=ALL["t"].dt.date, time=ALL["t"].dt.time), DATED
    ),
    "dates beside clocks as text": (
        BODY.assign(date=ALL["t"].dt.date, time=ALL["t"].dt.strftime("%H:%M")), DATED
    ),
    "durations": (BODY.assign(elapsed=pd.to_timedelta(ALL["off"], unit="s")), COUNTED),
    "milliseconds since 1970": (BODY.assign(ts=ALL["t"].astype("int64") // 10**6), DATED),
    "nanoseconds since 1970": (BODY.assign(ts=ALL["t"].astype("int64")), DATED),
    "days of Excel": (
        BODY.assign(time=(ALL["t"] - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)), DATED
    ),
    "minutes": (BODY.assign(time_min=ALL["off"] / 60), COUNTED),
    "minutes of 32 bits": (
        BODY.assign(**{"Time (min)": (ALL["off"] / 60).astype("int32")}), COUNTED
    ),
    "categories": (
        BODY.assign(time=ALL["t"], patient_id=BODY["patient_id"].astype("category")), DATED
    ),
    "integers with gaps": (
        BODY.assign(time=ALL["t"], **{"HR (bpm)": BODY["HR (bpm)"].astype("Int64")}), DATED
    ),
    "decimals": (in_decimals(), DATED),
    "ids as integers": (BODY.assign(patient_id=CODES, time=ALL["t"]), NUMBERED),
    "long": (MELTED, DATED),
    "long with categories and units": (
        MELTED.assign(
            variable=MELTED["variable"].astype("category"),
            unit=MELTED["variable"].map({"HR (bpm)": "bpm", "temp": "degC"}),
        ),
        WITH_UNITS,
    ),
    "columns of a device": (
        BODY.assign(
            time=ALL["t"],
            battery=100 - ALL.index // 30,
            quality=ALL.index % 3,
            lead_off=ALL.index % 9 == 0,
            epoch_ms=ALL["t"].astype("int64") // 10**6,
        ),
        DATED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_typed_table_is_read_right(name, tmp_path):
    table, held = TABLES[name]
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table)
    pq.write_table(table, tmp_path / "t.parquet")
    got = attempt(tmp_path)
    assert got.how == "read", got.message
    assert problems(got, held) == []


@pytest.mark.parametrize("name", ["{id}.parquet", "{id}.pq", "patient_id={id}/part-0.parquet"])
def test_a_file_a_subject_is_read_right(name, tmp_path):
    for person in PEOPLE:
        path = tmp_path / name.format(id=person.id)
        path.parent.mkdir(exist_ok=True)
        own = ALL[ALL["patient_id"] == person.id].drop(columns=["patient_id", "off"])
        own.reset_index(drop=True).to_parquet(path)
    got = attempt(tmp_path)
    assert got.how == "read", got.message
    assert problems(got, replace(DATED, named=False)) == []
