"""`predict`: a table of forecasts for recordings that the model never saw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest


@pytest.mark.parametrize("inner", ["", "bundle"])
def test_predict_writes_a_row_a_channel_and_step_for_recordings_it_never_saw(
    cli: Callable[..., Any], trained: Path, tmp_path: Path, inner: str
) -> None:
    new = tmp_path / "new.csv"
    rows = "\n".join(f"stranger,{60 * t},{70 + t % 5},{15 + t % 2}" for t in range(40))
    new.write_text(f"patient,time,HR,RESP\n{rows}\n")
    outcome = cli("predict", trained / inner, new, "--out", "out.parquet")
    assert outcome.code == 0, outcome.err
    written = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert set(written["subject"]) == {"stranger"}
    assert written["channel"] == ["HR"] * 8 + ["RESP"] * 8
    assert written["time_s"] == [60.0 * (40 + step) for step in range(8)] * 2
    assert {"q0.1", "q0.5", "q0.9"} <= written.keys()


def test_predict_writes_what_the_name_of_the_file_says(
    cli: Callable[..., Any], trained: Path, table: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one.csv"
    rows = "\n".join(f"only,{60 * t},{70 + t % 5},{15 + t % 2}" for t in range(40))
    one.write_text(f"patient,time,HR,RESP\n{rows}\n")
    outcome = cli("predict", trained, one, "--out", "fc.CSV")
    assert outcome.out == "16 rows of 1 subject: fc.CSV\n"
    assert cli("predict", trained, one, "--out", "fc.parquet").code == 0
    as_csv = pyarrow.csv.read_csv(tmp_path / "fc.CSV").to_pydict()
    assert as_csv["channel"] == ["HR"] * 8 + ["RESP"] * 8
    as_parquet = pyarrow.parquet.read_table(tmp_path / "fc.parquet").to_pydict()
    assert as_csv["q0.5"] == pytest.approx(as_parquet["q0.5"])
    assert list(as_csv) == list(as_parquet)


@pytest.mark.parametrize("name", ["fc.xlsx", "fc", "parquet"])
def test_predict_refuses_a_name_that_says_no_format_before_it_works(
    cli: Callable[..., Any], name: str
) -> None:
    outcome = cli("predict", "no_such_run", "no_such_file", "--out", name)
    assert outcome.code == 2
    assert f"--out: the name must end with .csv or .parquet; '{name}' does not" in outcome.err


def test_predict_can_forecast_along_a_recording(
    cli: Callable[..., Any], trained: Path, table: Path, tmp_path: Path
) -> None:
    outcome = cli("predict", trained, table, "--every-s", "1200", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    # contexts of 32 end at samples 40, 60, 80, 100 and 120 of 8 subjects
    assert found["rows"] == 8 * 5 * 2 * 8
    assert found["subjects"] == 8


def test_predict_says_how_short_the_recordings_are(
    cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "short.csv").write_text("patient,time,HR,RESP\na,0,70,15\na,60,71,15\n")
    outcome = cli("predict", trained, "short.csv")
    assert outcome.code == 3
    assert "32 samples" in outcome.err


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("as_json", [False, True])
def test_predict_says_how_many_gaps_it_filled_and_what_to_raise_for_the_others(
    cli: Callable[..., Any],
    recipe: dict[str, Any],
    written: Callable[..., Path],
    tmp_path: Path,
    as_json: bool,
) -> None:
    task = {
        "name": "impute",
        "context_s": 1920,
        "missingness": [{"pattern": "block", "lengths_s": [240]}],
    }
    file = written(recipe | {"task": task, "adapters": []})
    outcome = cli("train", file, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    run = json.loads(outcome.out)["run"]
    rows = (f"new,{60 * t},{'' if 40 <= t < 100 else 70 + t % 5},{15 + t % 2}" for t in range(160))
    (tmp_path / "gappy.csv").write_text("\n".join(["patient,time,HR,RESP", *rows]) + "\n")
    outcome = cli("predict", run, "gappy.csv", *(["--json"] if as_json else []))
    assert outcome.code == 0, outcome.err
    remarks = json.loads(outcome.out)["remarks"] if as_json else outcome.out.splitlines()[1:]
    filled, long = remarks
    assert filled.endswith(" of 60 missing values")
    count = int(filled.split()[1])
    assert 0 < count < 60
    assert long.startswith(f"{60 - count} lie in gaps as long as the window or longer (32 min)")
    assert "raise task.context_s" in long


def test_a_forecast_has_no_remarks(cli: Callable[..., Any], trained: Path, table: Path) -> None:
    outcome = cli("predict", trained, table, "--json")
    assert json.loads(outcome.out)["remarks"] == []


def test_predict_stops_at_values_of_another_unit_and_goes_on_where_told(
    cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    rows = "\n".join(f"a,{60 * t},{(70 + t % 5) / 1000},{15 + t % 2}" for t in range(40))
    (tmp_path / "kilo.csv").write_text(f"patient,time,HR,RESP\n{rows}\n")
    card = json.loads((trained / "bundle" / "bundle.json").read_text())
    assert set(card["levels"]) == {"HR", "RESP"}
    outcome = cli("predict", trained, "kilo.csv")
    assert outcome.code == 0, "of bpm no other unit is known"
    assert "HR: the median of the input is 0.072 bpm" in outcome.out
    outcome = cli("predict", trained, "kilo.csv", "--json")
    assert "Check its unit" in json.loads(outcome.out)["remarks"][0]
    bundle = trained / "bundle"
    celsius = (bundle / "recipe.yaml").read_text().replace("HR: bpm", "HR: degC")
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (copy / "recipe.yaml").write_text(celsius)
    card["levels"]["HR"] = [35.0, 36.9, 39.5]
    (copy / "bundle.json").write_text(json.dumps(card))
    rows = "\n".join(f"a,{60 * t},{98 + t % 5 / 10},{15 + t % 2}" for t in range(40))
    (tmp_path / "hot.csv").write_text(f"patient,time,HR,RESP\n{rows}\n")
    reader = "{name: csv, layout: wide, subject: patient, time: time, "
    reader += "units: {HR: degC, RESP: 1/min}}"
    outcome = cli("predict", copy, "hot.csv", "--reader", reader)
    assert outcome.code == 3
    assert "as from degF, its median would be 36.78" in outcome.err.replace("\n", " ")
    assert "(--any-values)" in outcome.err
    assert cli("predict", copy, "hot.csv", "--reader", reader, "--any-values").code == 0


def test_predict_prints_what_the_reader_left_out_and_times_in_the_zone_of_the_input(
    cli: Callable[..., Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsfm_adapt.signals.readers import csv

    rows = "\n".join(
        f"a,2024-03-01T{t // 60:02d}:{t % 60:02d}:00,{70 + t % 5},{15 + t % 2}" for t in range(40)
    )
    (tmp_path / "new.csv").write_text(f"patient,time,HR,RESP\n{rows}\n")
    read = csv.Config.read
    reader = "{name: csv, layout: wide, subject: patient, time: time, time_format: iso, "
    reader += "units: {HR: bpm, RESP: 1/min}}"

    def with_zone(self: Any, channels: tuple[str, ...]) -> Any:
        for item in read(self, channels):
            yield replace(item, zone="-05:00", notes={"rows skipped": 3})

    monkeypatch.setattr(csv.Config, "read", with_zone)
    outcome = cli("predict", trained, "new.csv", "--reader", reader, "--out", "out.csv")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "reader: 3 rows skipped"
    first = (tmp_path / "out.csv").read_text().splitlines()[1]
    assert "2024-02-29 19:40:00.000-0500" in first
    monkeypatch.setattr(csv.Config, "read", read)
    outcome = cli("predict", trained, "new.csv", "--reader", reader, "--out", "naive.csv")
    assert outcome.code == 0, outcome.err
    assert "reader:" not in outcome.out
    assert "2024-03-01 00:40:00.000," in (tmp_path / "naive.csv").read_text().splitlines()[1]
