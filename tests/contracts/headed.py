"""Models with a head that forecasts or fills, and a batch that each kind can learn from."""

from dataclasses import replace

import torch

from contracts.batch import random_batch
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.moirai import Moirai
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.model import AdaptedModel, Outputs
from tsfm_adapt.tasks import impute

BACKBONES = {"chronos_bolt": ChronosBolt, "moment": Moment, "timesfm": TimesFM, "moirai": Moirai}
CONTEXT, HORIZON = 72, 20  # no whole number of anybody's patches


def headed(head, backbone="moment", adapters=(), seed=0, channels=3):
    """A tiny backbone with a head, for windows of `few_windows`."""
    task = impute.Config(context_s=60 * CONTEXT, missingness=[{"pattern": "point"}]).build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AdaptedModel(
            BACKBONES[backbone].tiny(),
            adapters,
            torch.tensor([4.0, 40.0, 0.4])[:channels],
            setting=Setting(tuple(f"c{i}" for i in range(channels)), ("p0", "p1")),
            estimate=task.estimate() if head.task == "impute" else None,
            head=head.build(),
            outputs=Outputs(CONTEXT, 1 / 60, HORIZON if head.task == "forecast" else 0),
        )


def few_windows(windows=2, seed=0):
    """Random walks with gaps, to be forecast."""
    return random_batch(windows, channels=3, samples=CONTEXT, horizon=HORIZON, seed=seed)


def hidden(batch, share=0.3, seed=0):
    """The same context, to be filled: single samples, an end, and a whole channel are hidden."""
    generator = torch.Generator().manual_seed(seed)
    picked = torch.rand(batch.values.shape, generator=generator) < share
    picked[:, 1, :40] = True
    picked[0, 2] = True
    visible = batch.observed & ~picked
    return replace(
        batch,
        values=batch.values.where(visible, 0.0),
        observed=visible,
        target=batch.values,
        target_observed=batch.observed & picked,
    )
