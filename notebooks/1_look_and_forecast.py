# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look at a recording, forecast it zero-shot
#
# Vital signs of an ICU monitor, minute by minute: four channels, gaps, artefacts. What do pretrained
# time-series models make of them as they are?
#
# Without further ado this runs on a **synthetic** cohort. With `TSFM_ADAPT_DATA` set to a folder
# that holds `mimic2_numerics`, it runs on a bedside record of MIMIC-II.

# %%
# %matplotlib inline
import os

import numpy as np
import pandas as pd

from tsfm_adapt import Recipe, load_backbone, plots, prepare, zero_shot
from tsfm_adapt.components import component

real = "TSFM_ADAPT_DATA" in os.environ

# %% [markdown]
# ## From files to recordings
#
# A recipe says which channels are read, in which units, on which clock, what is implausible, and
# who belongs to which split. Recipes are files; any value can be changed on the way in.

# %%
if real:
    recipe = Recipe.load("../recipes/icu_minute_forecast.yaml")
else:
    recipe = Recipe.load("../recipes/vitals_forecast.yaml", ["data.reader.subjects=8"])
parts = prepare(recipe)

pd.DataFrame(
    {
        part: {
            "subjects": parts.subjects(part),
            "recordings": len(recordings),
            "hours": round(sum(r.duration_s for r in recordings) / 3600),
            "windows": len(parts.windows[part]),
        }
        for part, recordings in parts.recordings.items()
    }
)

# %% [markdown]
# Look first. Grey is *not measured*: gaps stay gaps, nothing is filled in before a model sees it.

# %%
recording = max(parts.recordings["test"], key=lambda r: r.samples)
plots.recording(recording)

# %% [markdown]
# ## Five families, as they come
#
# `embedded` weights are small, trained by this project on synthetic series, and need no download.
# For the published ones give a Hub id: `load_backbone("chronos2", "amazon/chronos-2")`.

# %%
families = ["chronos2", "moment", "moirai", "timesfm", "lag_llama"]
for name in families:
    print(f"{name:10}", component("backbone", name).problem or "ready")

# %% [markdown]
# One call each: 128 minutes of context, the next 30, a forecast every two hours. The result is a
# table with a row for each channel and predicted minute.

# %%
ready = [name for name in families if component("backbone", name).problem is None]
forecasts = {
    name: zero_shot(
        load_backbone(name), [recording], context_s=7680, horizon_s=1800, every_s=7200
    )
    for name in ready
}
forecasts[ready[0]].head(3)

# %%
plots.forecast(recording, forecasts)

# %% [markdown]
# A single forecast is an anecdote. Over all of this recording, against the simplest rival there is,
# the last measured value (mean absolute error, in each channel's own unit):

# %%
signal = pd.DataFrame(recording.values.T, columns=recording.channels)


def at(table, time_s, signal):
    """The signal at a time of each row of a table."""
    sample = np.round(time_s * recording.rate_hz).astype(int)
    row = signal.reindex(sample).to_numpy()
    return row[np.arange(len(table)), signal.columns.get_indexer(table["channel"])]


def error(table, predicted):
    """Mean absolute error of each channel, where something was measured."""
    missed = (predicted - at(table, table["time_s"], signal)).abs()
    return missed.groupby(table["channel"], observed=True).mean()


table = forecasts[ready[0]]
last = at(table, table["origin_s"] - 1 / recording.rate_hz, signal.ffill())
errors = {"last value": error(table, pd.Series(last, table.index))}
errors |= {name: error(found, found["q0.5"]) for name, found in forecasts.items()}
pd.DataFrame(errors).T.round(2)

# %% [markdown]
# And the prediction intervals: how much of what was measured lies between the quantiles 0.1 and 0.9? A calibrated
# model says 0.8. (A model that predicts points has no interval: nan.)

# %%
def covered(table):
    measured = at(table, table["time_s"], signal)
    known = np.isfinite(measured) & (table["q0.1"] < table["q0.9"])
    inside = (table["q0.1"] <= measured) & (measured <= table["q0.9"])
    return inside[known].mean()


pd.Series({name: covered(found) for name, found in forecasts.items()}, name="coverage").round(2)

# %% [markdown]
# One recording does not rank models. Scores over all subjects, each with its interval, are what
# `train` and `compare` give: the next notebook adapts a model and asks whether that helped.
