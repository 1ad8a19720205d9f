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
# # A new modality: compare models on electrodermal activity, export one
#
# Skin conductance is in no model's spotlight: a slow level, and responses that rise in seconds on top.
# Which pretrained model forecasts the next two minutes, does adapting it help, and how is the result
# handed on?
#
# With `TSFM_ADAPT_DATA` set: students in exams, wearing an Empatica E4 (`wearable_exam_stress`).
# Without: **synthetic** skin conductance, simulated below and read from a table.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tsfm_adapt import Recipe, Run, compare, plots, prepare, train
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.export.export import export
from tsfm_adapt._util.progress import Progress

real = "TSFM_ADAPT_DATA" in os.environ
folder = Path(tempfile.mkdtemp())
quiet = Progress(quiet=True)

# %%
def skin_conductance(rng, minutes=75):
    """Microsiemens each second: a level, and responses to what happens, 3 s up, 40 s down."""
    time_s = np.arange(minutes * 60)
    phase = rng.uniform(0, 2 * np.pi)
    level = rng.uniform(3, 6) + np.sin(2 * np.pi * time_s / 1500 + phase)
    since_s = np.arange(240)
    response = np.exp(-since_s / 40) - np.exp(-since_s / 3)
    happens = rng.random(len(time_s)) < 0.01
    responses = happens * rng.gamma(2, 0.6, len(time_s))
    return level + np.convolve(responses, response)[: len(time_s)]


if real:
    reader = {"name": "empatica", "root": "wearable_exam_stress"}
    split = {"order": "name", "train": 2, "val": 1, "test": 2}
else:
    simulated = {f"SYNTHETIC-{n:02}": skin_conductance(np.random.default_rng(n)) for n in range(12)}
    table = pd.DataFrame(simulated).rename_axis("time_s").reset_index()
    table = table.melt("time_s", var_name="subject", value_name="EDA")
    table.to_csv(folder / "eda.csv", index=False)
    reader = {
        "name": "csv",
        "root": str(folder / "eda.csv"),
        "layout": "wide",
        "time": "time_s",
        "subject": "subject",
        "units": {"EDA": "uS"},
    }
    split = {"train": 6, "val": 2, "test": 4}

# %% [markdown]
# ## A recipe for it
#
# Channels, units, a clock, a question. Subjects never cross from one split to another. (For a folder
# of your own, `tsfm-adapt init FOLDER` looks at the files and proposes one.)

# %%
recipe = Recipe.from_dict(
    {
        "name": "eda-forecast" if real else "SYNTHETIC-eda-forecast",
        "data": {
            "reader": reader,
            "channels": {"EDA": "uS"},
            "rate_hz": 0.2,
            "split": {"by": "subject", **split},
        },
        "backbone": {"name": "chronos2"},
        "adapters": [{"name": "lora", "rank": 8}],
        "task": {"name": "forecast", "context_s": 1280, "horizon_s": 120},
        "train": {"steps": 60, "batch_size": 16, "lr": 2e-3, "val_windows": 64},
        "evaluate": {"max_windows": 200},
    }
)
parts = prepare(recipe)
recording = parts.recordings["test"][0]
plots.recording(recording)

# %% [markdown]
# ## Compare
#
# Three models as they are and with LoRA, on the same test windows. Rows without a `run` are simple
# baselines, which a model has to beat before it is worth its parameters.

# %%
table = compare(
    recipe,
    backbones=["chronos2", "chronos_bolt", "moment"],
    adapters=["none", "lora"],
    folder=folder / "compare",
    progress=quiet,
)
table[["mase", "gain", "verdict", "gain_baseline", "verdict_baseline", "train_s"]].round(3)

# %% [markdown]
# ## Take one
#
# The best of the adapted ones. The table ranked them on test, so the best of several is a little
# lucky: on data of your own, let a set of subjects that no table has seen decide. Here it is trained
# once more for itself, with its rivals beside it, and its scores say in words what they show.

# %%
best = table[table["trained_parameters"] > 0].iloc[0]
run = train(Run(best["run"]).recipe, folder / "runs", quiet)
print(best.name)
for sentence in run.scores.sentences:
    print(sentence)

# %%
plots.forecast(recording, run.predict([recording], every_s=600), history_s=600)

# %% [markdown]
# ## Hand it on
#
# `export` writes a checkpoint of upstream's own class with LoRA folded into the weights, compares it
# with the adapted model before it leaves it there, and refuses what was not shown to help. Here it
# is forced in that case, to see the rest; the card then says so at its top.

# %%
try:
    found = export(run.folder, "merged", folder / "export", False, quiet)
except RecipeError as reason:
    print(reason)
    found = export(run.folder, "merged", folder / "export", True, quiet)

print("largest difference:", dict(found.differences))
print(found.loading)

# %% [markdown]
# The card beside the weights says what they are, what they were scored on and what they must not be
# used for:

# %%
print((found.folder / "README.md").read_text()[:1500])
