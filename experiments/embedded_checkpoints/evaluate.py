"""Zero-shot scores of a checkpoint folder on real recordings, beside simple baselines.

Run:   python experiments/embedded_checkpoints/evaluate.py chronos2 --part fit
Needs: TSFM_ADAPT_DATA, the folder that holds `protocols.json` and the recordings it names.
Corpus and training are chosen on the parts called fit; the test parts are scored once, at the end.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tsfm_adapt.backbones.base import Forecaster
from tsfm_adapt.baselines.forecasters import default_baselines
from tsfm_adapt.batches import collate
from tsfm_adapt.components import config_class
from tsfm_adapt.evaluation.forecast_errors import forecast_errors, mase
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.readers import challenge2012, csv, wfdb
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowArrays, Windows, WindowSpec

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def icu_minute(data: Path, protocol: dict[str, Any], part: str) -> list[Recording]:
    """One patient's monitor, one value a minute; the parts follow each other in time."""
    reader = wfdb.Config(root=str(data / f"{protocol['source']}.hea"))
    units = {"HR": "bpm", "PULSE": "bpm", "RESP": "breaths/min", "SpO2": "%"}
    (whole,) = clean(reader.read(tuple(units)), _plan(protocol, units, 1 / 60))
    return [whole.between(*protocol[f"{part}_rows"], id=part)]


def glucose(data: Path, protocol: dict[str, Any], part: str) -> list[Recording]:
    """Continuous glucose monitors, every 5 minutes, cut at gaps."""
    reader = csv.Config(
        root=str(data / protocol["source"]),
        layout="wide",
        time_format="iso",
        subject="id",
        units={"gl": "mg/dL"},
    )
    plan = CleaningPlan(
        channels=(ChannelPlan("glucose", "mg/dL", "gl"),),
        rate_hz=1 / 300,
        max_gap_s=protocol["max_gap_s"],
    )
    subjects = set(protocol[f"{part}_subjects"])
    return [r for r in clean(reader.read(("gl",)), plan) if r.subject in subjects]


def icu_hourly(data: Path, protocol: dict[str, Any], part: str) -> list[Recording]:
    """Charted vital signs of many patients, one bin an hour."""
    reader = challenge2012.Config(root=str(data / protocol["source"]))
    pressures = dict.fromkeys(("NISysABP", "NIMAP", "SysABP", "MAP"), "mmHg")
    units = {"HR": "bpm", **pressures, "RespRate": "breaths/min", "Temp": "degC"}
    units = {name: units[name] for name in protocol["channels"]}
    first, last = protocol[f"{part}_records"]
    recordings = clean(reader.read(tuple(units)), _plan(protocol, units, 1 / 3600))
    return [r for r in recordings if first <= r.id <= last]


def _plan(protocol: dict[str, Any], units: dict[str, str], rate_hz: float) -> CleaningPlan:
    return CleaningPlan(
        channels=tuple(ChannelPlan(name, unit, name) for name, unit in units.items()),
        rate_hz=rate_hz,
        zero_is_missing=tuple(protocol["zero_is_missing"]),
    )


def quantiles(backbone: Forecaster, windows: WindowArrays, horizon: int) -> np.ndarray:
    """What the backbone predicts (B, C, Q, H), 32 windows a pass."""
    whole = collate(windows).without_target()
    parts = []
    for chunk in torch.arange(whole.size).split(32):
        batch = replace(
            whole,
            values=whole.values[chunk],
            observed=whole.observed[chunk],
            start_s=whole.start_s[chunk],
            subjects=tuple(whole.subjects[window] for window in chunk),
        )
        with torch.no_grad():
            parts.append(backbone.forecast(batch, horizon).quantiles(LEVELS))
    return torch.cat(parts).numpy()


def score(
    predicted: np.ndarray,
    levels: Sequence[float],
    windows: WindowArrays,
    scale: np.ndarray,
    steps: Sequence[int],
) -> dict[int, dict[str, Any]]:
    """MAE by channel and MASE over the first steps, of channels with any context value."""
    assert windows.target is not None
    assert windows.target_observed is not None
    counted = windows.observed.any(axis=2)
    errors = forecast_errors(
        predicted, levels, windows.target, windows.target_observed, counted, windows.subjects
    )
    scores = {}
    for number in steps:
        total, count = (part.sum(axis=0) for part in errors.until(number).sums())
        mae = dict(zip(windows.channels, (total / count).round(4).tolist(), strict=True))
        scores[number] = {"mase": round(float(mase(total, count, scale)), 4), "mae": mae}
    return scores


def main() -> None:
    """Scores every protocol and prints or writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone")
    parser.add_argument("--checkpoint", default="embedded", help="'embedded' or a folder")
    parser.add_argument("--part", choices=("fit", "test"), default="fit")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(os.environ["TSFM_ADAPT_DATA"])
    protocols = json.loads((data / "protocols.json").read_text())
    torch.manual_seed(0)  # of models that sample
    backbone = config_class("backbone", arguments.backbone)(
        checkpoint=arguments.checkpoint
    ).build()
    results: dict[str, Any] = {"part": arguments.part}
    for load in (icu_minute, glucose, icu_hourly):
        protocol = protocols[load.__name__]
        horizon, stride = protocol["horizon"], protocol["stride"]
        spec = WindowSpec(protocol["context"], horizon, stride)
        fit = Windows(load(data, protocol, "fit"), spec)
        listed = Windows(load(data, protocol, arguments.part), spec)
        windows = listed.gather(np.arange(len(listed)))
        forecasts = {"zero_shot": (quantiles(backbone, windows, horizon), LEVELS)}
        for name, baseline in default_baselines(fit).items():
            point = baseline.predict(windows.values, windows.observed, horizon)
            forecasts[name] = (point[:, :, None], [0.5])
        scale = np.array(list(protocol["mase_scale"].values()))
        steps = [int(number) for number in protocol["scores_by_horizon_steps"]]
        results[load.__name__] = {"windows": len(listed)} | {
            name: score(predicted, of, windows, scale, steps)
            for name, (predicted, of) in forecasts.items()
        }
    text = json.dumps(results, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
