"""What upstream's own classes say of exported checkpoints, in a process of their own.

    python by_upstream.py FOLDER

FOLDER holds a folder for each family: the checkpoint, `loading.py` as the card has it, and
`asked.npz` (`values` (B, C, T) with NaN, `steps`). Beside them `said.npz` is written.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

LEVELS = [tenth / 10 for tenth in range(1, 10)]


def chronos2(model, values, steps):
    found, _ = model.predict_quantiles(values, prediction_length=steps, quantile_levels=LEVELS)
    return {"quantiles": torch.stack(found).transpose(-1, -2)}


def chronos_bolt(model, values, steps):
    found, _ = model.predict_quantiles(
        values.flatten(0, 1), prediction_length=steps, quantile_levels=LEVELS
    )
    return {"quantiles": found.transpose(-1, -2).unflatten(0, values.shape[:2])}


def chronos_t5(model, values, steps):
    torch.manual_seed(7)
    paths = model.predict(values.flatten(0, 1), prediction_length=steps)  # (B*C, S, H)
    return {"paths": paths.transpose(0, 1).unflatten(1, values.shape[:2])}


def moirai(model, values, steps):
    from uni2ts.model.moirai import MoiraiForecast

    patch = 16
    forecast, inputs = _packed(MoiraiForecast, model, values, steps, patch_size=patch)
    mixture = forecast._get_distr(patch, **inputs).base_dist
    start = values.shape[1] * (values.shape[2] // patch)
    tokens = -(-steps // patch)

    def future(parameter):
        return parameter[:, start:, :patch].unflatten(1, (values.shape[1], tokens))

    return {"weights": future(mixture.weights.probs), "loc": future(mixture.components[0].loc)}


def moirai2(model, values, steps):
    from uni2ts.model.moirai2 import Moirai2Forecast

    forecast, inputs = _packed(Moirai2Forecast, model, values, steps)
    return {"quantiles": forecast(**inputs).permute(0, 3, 1, 2)}


def moment(model, values, steps):
    whole = torch.ones(values.shape[0], values.shape[2])
    found = model.eval().short_forecast(x_enc=values, input_mask=whole, forecast_horizon=steps)
    return {"quantiles": found.forecast[:, :, None]}


def timesfm(model, values, steps):
    from timesfm import ForecastConfig, TimesFM_2p5_200M_torch

    class Sized(TimesFM_2p5_200M_torch):
        def __init__(self):
            self.model = model

    forecaster = Sized()
    forecaster.compile(
        ForecastConfig(
            max_context=values.shape[-1],
            max_horizon=steps,
            per_core_batch_size=values.shape[0] * values.shape[1],
            use_continuous_quantile_head=True,
            force_flip_invariance=False,
            infer_is_positive=False,
        )
    )
    _, found = forecaster.forecast(steps, [row.numpy() for row in values.flatten(0, 1)])
    columns = torch.from_numpy(found[..., 1:]).transpose(-1, -2)
    return {"quantiles": columns.unflatten(0, values.shape[:2])}


def timesfm3(model, values, steps):
    found = model.decode(values.nan_to_num(), steps, target_mask=values.isnan())
    return {"quantiles": found.transpose(-1, -2)}


def _packed(kind, model, values, steps, **settings):
    """Upstream's forecaster around a module, and its inputs."""
    forecast = kind(
        prediction_length=steps,
        target_dim=values.shape[1],
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
        context_length=values.shape[2],
        module=model,
        **settings,
    )
    inputs = {
        "past_target": values.transpose(1, 2),
        "past_observed_target": torch.ones_like(values, dtype=torch.bool).transpose(1, 2),
        "past_is_pad": torch.zeros(values.shape[0], values.shape[2], dtype=torch.bool),
    }
    return forecast, inputs


FAMILIES = (
    chronos2,
    chronos_bolt,
    chronos_t5,
    moirai,
    moirai2,
    moment,
    timesfm,
    timesfm3,
)


def main(folder):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for family in FAMILIES:
        place = folder / family.__name__
        if not place.is_dir():
            continue
        names = {}
        exec((place / "loading.py").read_text(), names)
        asked = np.load(place / "asked.npz")
        with torch.no_grad():
            said = family(names["model"], torch.from_numpy(asked["values"]), int(asked["steps"]))
        np.savez(place / "said.npz", **{name: tensor.numpy() for name, tensor in said.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
