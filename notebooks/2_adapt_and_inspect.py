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
# # Adapt a model three ways, and look inside
#
# Chronos-Bolt forecasts each channel by itself. Vital signs do not live by themselves: breathing
# falls, saturation follows. Three small additions to the frozen model:
#
# - **LoRA** changes its weights a little,
# - a **prompt** puts learnt tokens before each series,
# - a **channel mixer** lets the tokens of one channel look at those of the others.
#
# On a **synthetic** cohort whose couplings are known (RESP drives SpO2 and MAP, MAP drives HR); on
# a MIMIC-II record where `TSFM_ADAPT_DATA` is set. The steps are few, so that the notebook is quick.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from tsfm_adapt import Recipe, Run, compare, embed, plots, prepare
from tsfm_adapt._util.progress import Progress

real = "TSFM_ADAPT_DATA" in os.environ
folder = Path(tempfile.mkdtemp())
quiet = Progress(quiet=True)

# %% [markdown]
# ## One recipe, three adapters

# %%
shared = [
    "backbone={name: chronos_bolt}",
    "adapters=[{name: lora, rank: 8}]",
    "task.context_s=7680",
    "train={steps: 40, batch_size: 16, lr: 5.0e-3, validate_every: 20, val_windows: 64}",
    "evaluate.max_windows=120",
]
if real:
    recipe = Recipe.load("../recipes/icu_minute_forecast.yaml", shared)
else:
    small = ["data.reader.subjects=16", "data.reader.hours=12", "task.events={}"]
    recipe = Recipe.load("../recipes/vitals_forecast.yaml", [*shared, *small])

# %% [markdown]
# `compare` trains each on the same windows and scores it once on the test set, beside the model as
# it is and simple baselines. `gain` is in percent of the error, with its interval; the verdict is
# after Holm's adjustment, and "not shown" means just that.

# %%
table = compare(
    recipe, adapters=["none", "lora", "prompt", "channel_mixer"], folder=folder, progress=quiet
)
table[["mase", "gain", "low", "high", "verdict", "trained_parameters", "train_s"]].round(3)

# %% [markdown]
# ## Did it learn?
#
# Each run is a folder with all that happened in it.

# %%
adapted = table[table["trained_parameters"] > 0]
runs = {run.recipe.adapters[0].name: run for run in map(Run, adapted["run"])}


def validation_loss(run):
    steps = pd.read_json(run.folder / "metrics.jsonl", lines=True)
    return steps.dropna(subset="val_loss").set_index("step")["val_loss"]


losses = pd.DataFrame({name: validation_loss(run) for name, run in runs.items()})
losses.plot(style="o-", ylabel="validation loss (scaled space)", title="Learning");

# %% [markdown]
# ## What does it predict?

# %%
parts = prepare(recipe)
recording = parts.recordings["test"][0]
predictions = {
    name: runs[name].predict([recording], every_s=1800) for name in ("lora", "channel_mixer")
}
plots.forecast(recording, predictions)

# %% [markdown]
# ## Where does the mixer look?
#
# A row is a channel, its cells say where its attention goes. Evenly spread attention carries no
# information of its own: then the mixer uses the mean of all channels.

# %%
some = parts.windows["test"].evenly_spaced(64)
plots.channel_attention(runs["channel_mixer"].model(), some)

# %% [markdown]
# ## What do its tokens tell apart?
#
# One vector for each window and channel, pooled over the encoder's tokens; their two widest
# directions. Colours are subjects: where they part, the vectors know who it is.

# %%
embed(runs["lora"].folder, folder / "embeddings.parquet", "test", progress=quiet)
plots.embedding(pyarrow.parquet.read_table(folder / "embeddings.parquet"))

# %% [markdown]
# Next steps: more steps and subjects (`tsfm-adapt train`), a search over rates and ranks
# (`tsfm-adapt tune`), published weights (`backbone={name: chronos_bolt, checkpoint:
# amazon/chronos-bolt-small}`).
