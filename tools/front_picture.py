"""Draws the picture of the front page: one forecast beside what happened, SYNTHETIC.

`python tools/front_picture.py` writes docs/forecast.png. The bundle adapters/vitals-forecast-lora
forecasts a simulated stay that it was not trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from tsfm_adapt import Run

ROOT = Path(__file__).parents[1]
STAYS = ROOT / "adapters/example_SYNTHETIC.csv"
UNITS = {"HR": "bpm", "SpO2": "%", "RESP": "breaths/min", "MAP": "mmHg"}
READER = {"name": "csv", "layout": "wide", "subject": "subject", "time_format": "seconds"}

SUBJECT = "icu_vitals-0001"
CHANNELS = {"HR": "heart rate", "RESP": "breathing rate", "MAP": "mean arterial pressure"}
HISTORY_MIN, HORIZON_MIN = 75, 30
INK, GREY, BLUE, PALE = "#222222", "#6f6f6f", "#1f5fa8", "#bcd3ea"


def main() -> None:
    """Reads from the command line where the forecast begins and where the picture goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/forecast.png")
    parser.add_argument("--hour", type=float, default=9.5, help="of the stay, every half hour")
    arguments = parser.parse_args()
    picture(arguments.out, 3600 * arguments.hour)


def picture(path: Path, origin_s: float) -> None:
    """Draws the channels below each other, the labels beside the first."""
    run = Run(ROOT / "adapters/vitals-forecast-lora")
    table = run.predict(STAYS, reader=READER | {"units": UNITS}, every_s=60 * HORIZON_MIN)
    forecast = table[(table["subject"] == SUBJECT) & (table["origin_s"] == origin_s)]
    stays = pd.read_csv(STAYS)
    stay = stays[stays["subject"] == SUBJECT]
    stay = stay.assign(minute=(stay["time"] - origin_s) / 60)
    stay = stay[stay["minute"].between(-HISTORY_MIN, HORIZON_MIN - 1)]

    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11})
    figure, axes = plt.subplots(len(CHANNELS), 1, figsize=(10, 5.6), sharex=True)
    for axis, (channel, name) in zip(axes, CHANNELS.items(), strict=True):
        rows = forecast[forecast["channel"] == channel]
        lead = (rows["time_s"] - origin_s) / 60
        axis.fill_between(lead, rows["q0.1"], rows["q0.9"], color=PALE, lw=0)
        axis.plot(lead, rows["q0.5"], color=BLUE, lw=2.2)
        axis.plot(stay["minute"], stay[channel], color=INK, lw=1.2)
        dress(axis, f"{name}, {UNITS[channel]}")
    rows, seen = forecast[forecast["channel"] == "HR"], stay["HR"].dropna()
    beside(axes[0], "80 % prediction interval", rows["q0.9"].iloc[-1] + 1, "#4f86bd")
    beside(axes[0], "what happened", seen.iloc[-1] + 1.2, INK)
    beside(axes[0], "forecast (median)", rows["q0.5"].iloc[-1] - 2.2, BLUE)
    axes[0].annotate("forecast made here", (0, 1.04), xycoords=("data", "axes fraction"),
                     ha="center", color=GREY, fontsize=10)  # fmt: skip
    axes[-1].annotate("not measured", (-6.5, 79), ha="center", color=GREY, fontsize=9)
    axes[-1].set_xlim(-HISTORY_MIN, HORIZON_MIN)
    axes[-1].set_xticks(range(-60, HORIZON_MIN + 1, 15))
    axes[-1].set_xlabel("minutes; the model sees the four hours before 0", color=GREY)
    figure.text(0.99, 0.012, "SYNTHETIC data", ha="right", color=GREY, fontsize=10)
    figure.subplots_adjust(left=0.055, right=0.785, top=0.94, bottom=0.1, hspace=0.42)
    figure.savefig(path, dpi=160, facecolor="white", metadata={"Software": None})


def dress(axis: Axes, title: str) -> None:
    """Takes away what nobody reads, and marks where the forecast begins."""
    axis.set_title(title, loc="left", fontsize=11, color=INK)
    axis.axvline(0, color=GREY, lw=0.9, ls=(0, (2, 2)))
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("#c8c8c8")
    axis.tick_params(colors=GREY, labelsize=10, color="#c8c8c8")
    axis.locator_params(axis="y", nbins=4, integer=True)


def beside(axis: Axes, text: str, height: float, colour: str) -> None:
    """Writes what a line is, right of its end."""
    axis.annotate(text, (HORIZON_MIN + 1, height), color=colour, va="center",
                  annotation_clip=False)  # fmt: skip


if __name__ == "__main__":
    main()
