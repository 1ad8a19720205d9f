"""Writes the card of an embedded checkpoint from its recorded training and scores.

Run:  python experiments/embedded_checkpoints/card.py timesfm
"""

# ruff: noqa: E501  (a card is prose)

from __future__ import annotations

import argparse
import json
from typing import Any

from train import EMBEDDED, HERE, network

from tsfm_adapt.components import config_class

ROWS = (  # protocol, steps, what the row says, score, digits
    ("icu_minute", "15", "ICU, a value a minute, 15 min, MASE", "mase", 3),
    ("icu_minute", "30", "the same, 30 min, MASE", "mase", 3),
    ("glucose", "6", "glucose, a value in 5 min, 30 min, MAE mg/dL", "mae", 2),
    ("glucose", "12", "the same, 60 min, MAE mg/dL", "mae", 2),
    ("icu_hourly", "6", "ICU, a value an hour, 6 h, MASE", "mase", 3),
    ("icu_hourly", "12", "the same, 12 h, MASE", "mase", 3),
)
MODELS = ("zero_shot", "last_value", "mean_of_context", "mean_of_last_15", "ridge")


def card(name: str) -> str:
    """The README of `embedded/<name>`."""
    record = json.loads((HERE / "results" / f"{name}.json").read_text())
    scores = json.loads((HERE / "results" / f"{name}_test.json").read_text())
    spec = config_class("backbone", name)().build().spec
    sizes = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record["size"].items())
    rate = record["schedule"]["peak_rate"]
    table = "\n".join(_row(scores, *row) for row in ROWS)
    worse = [
        what for protocol, steps, what, kind, _ in ROWS if _behind(scores[protocol], steps, kind)
    ]
    verdict = (
        f"Worse than the last value on: {'; '.join(worse)}."
        if worse
        else "Better than the last value in every row."
    )
    return f"""---
license: apache-2.0
pipeline_tag: time-series-forecasting
tags: [time series, synthetic data]
---

# Embedded {name}: small, trained on SYNTHETIC series only

The offline default of `tsfm-adapt` for `{name}` (`checkpoint: embedded`): {record["parameters"]:,} parameters (float32),
so that installing, testing and adapting need no hub. It is not one of the published checkpoints and does not come near
their size.

| | |
|---|---|
| loads with | {network(name).LOADS_WITH} |
| sizes | {sizes} |
| context | at most {spec.max_context} samples, {spec.patch} a token |
| channels | {"one window's channels see each other" if spec.joint_channels else "every channel is a series of its own"} |

## Training

No recording of a person was used. The corpus is that of the [embedded Chronos-2](../chronos2/README.md), in batches of
about {record["corpus"]["samples"]} context samples (`experiments/embedded_checkpoints/`): {record["schedule"]["steps"]}
steps of AdamW, one fall of the learning rate from {rate:g}, {record["seconds"] // 60} minutes on one thread of a busy
CPU. Corpus, schedule, loss curve and scores are in `experiments/embedded_checkpoints/results/`.

## Zero-shot scores on real recordings

Test sets, scored once; nothing was changed after the first look at the fit splits. Median forecast, lower is better;
ridge is fitted on the fit splits, the others need no fitting. {verdict}

| protocol | windows | this | last value | mean of context | mean of last 15 | ridge |
|---|---|---|---|---|---|---|
{table}

The minute protocol is one patient with overlapping windows: differences under about 5 % are not evidence there.

## Not for

Not a medical device: no diagnosis, alarm, dosing or other clinical decision. What it says of its own uncertainty was
learnt on synthetic series; coverage on patients was not measured here. For real work adapt it to recordings of your
own, or start from a published checkpoint.
"""


def _row(
    scores: dict[str, Any], protocol: str, steps: str, what: str, kind: str, digits: int
) -> str:
    values = [f"{_score(scores[protocol], model, steps, kind):.{digits}f}" for model in MODELS]
    best = f"**{values[0]}**"
    return f"| {what} | {scores[protocol]['windows']} | {' | '.join([best, *values[1:]])} |"


def _behind(scores: dict[str, Any], steps: str, kind: str) -> bool:
    return _score(scores, "zero_shot", steps, kind) > _score(scores, "last_value", steps, kind)


def _score(scores: dict[str, Any], model: str, steps: str, kind: str) -> float:
    value = scores[model][steps][kind]
    return float(value if kind == "mase" else next(iter(value.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone")
    name = parser.parse_args().backbone
    (EMBEDDED / name / "README.md").write_text(card(name), encoding="utf-8")


if __name__ == "__main__":
    main()
