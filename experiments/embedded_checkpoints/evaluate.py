"""Zero-shot scores of a checkpoint folder on real recordings, beside simple baselines.

Run:   python experiments/embedded_checkpoints/evaluate.py --part fit
Needs: TSFM_ADAPT_DATA, the folder that holds `protocols.json` and the recordings it names.
Corpus and training are chosen on the parts called fit; the test parts are scored once, at the end.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus import PATCH
from train import CHECKPOINT

from tsfm_adapt.baselines import default_baselines
from tsfm_adapt.metrics import forecast_errors, mase
from tsfm_adapt.signals.cleaning import ChannelPlan, CleaningPlan, clean
from tsfm_adapt.signals.readers import challenge2012, csv, wfdb
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowArrays, Windows, WindowSpec


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


def quantiles(model: torch.nn.Module, windows: WindowArrays, horizon: int) -> np.ndarray:
    """What the model predicts (B, C, Q, H): a window's channels as one group, gaps as NaN."""
    context = np.where(windows.observed, windows.values, np.float32(np.nan))
    channels, samples = context.shape[1:]
    parts = []
    for chunk in np.split(context, range(32, len(context), 32)):
        with torch.no_grad():
            predicted = model(
                torch.from_numpy(chunk.reshape(-1, samples)),
                group_ids=torch.arange(len(chunk)).repeat_interleave(channels),
                num_output_patches=-(-horizon // PATCH),
            ).quantile_preds[..., :horizon]
        parts.append(predicted.reshape(len(chunk), channels, -1, horizon))
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
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--part", choices=("fit", "test"), default="fit")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    from chronos.chronos2 import Chronos2Model

    torch.set_num_threads(1)
    data = Path(os.environ["TSFM_ADAPT_DATA"])
    protocols = json.loads((data / "protocols.json").read_text())
    model = Chronos2Model.from_pretrained(arguments.checkpoint).eval()
    levels = model.chronos_config.quantiles
    results: dict[str, Any] = {"part": arguments.part}
    for load in (icu_minute, glucose, icu_hourly):
        protocol = protocols[load.__name__]
        horizon, stride = protocol["horizon"], protocol["stride"]
        spec = WindowSpec(protocol["context"], horizon, stride)
        fit = Windows(load(data, protocol, "fit"), spec)
        listed = Windows(load(data, protocol, arguments.part), spec)
        windows = listed.gather(np.arange(len(listed)))
        forecasts = {"zero_shot": (quantiles(model, windows, horizon), levels)}
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
