"""Moirai 2: quantile forecasts of a causal model, all channels of a window in one sequence.

Liu et al., "Moirai 2.0: When Less Is More for Time Series Forecasting", arXiv 2511.11698. Runs on
the classes of `uni2ts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from tsfm_adapt.backbones._packing import (
    Context,
    PackedSite,
    ids,
    load,
    mean_by_series,
    quiet,
    sites,
    target_patches,
)
from tsfm_adapt.backbones._rollout import continued
from tsfm_adapt.backbones.base import (
    PLAIN,
    TINY,
    BackboneConfig,
    BackboneSpec,
    Encoded,
    Forecaster,
    NativeTask,
    Role,
    Through,
    licence,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor
    from uni2ts.model.moirai2.module import Moirai2Module

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

REQUIRES = ("uni2ts",)
EXTRA = "moirai"

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "Salesforce/moirai-2.0-R-small": "cc-by-nc-4.0",
}

EMBEDDED_CONTEXT = 1024  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)
NO_GRAPH = "upstream's layers take their shapes from the values"  # ONNX

_SETTINGS = (
    "d_model",
    "d_ff",
    "num_layers",
    "patch_size",
    "max_seq_len",
    "attn_dropout_p",
    "dropout_p",
    "num_predict_token",
)


class Config(BackboneConfig):
    """`backbone: {name: moirai2}`."""

    name: Literal["moirai2"] = "moirai2"

    def _load(self, weights: bool) -> Moirai2:
        """Loads the checkpoint into upstream's own class."""
        from uni2ts.model.moirai2.module import Moirai2Module

        def construct(settings: dict[str, JsonValue]) -> Moirai2Module:
            names = (*_SETTINGS, "scaling", "quantile_levels")
            known: Any = {name: settings[name] for name in names if name in settings}
            return Moirai2Module(**known)

        # Moirai 1.x and Moirai-MoE have several patch sizes.
        model = load(self, _SETTINGS, ["patch_sizes"], construct, weights)
        return Moirai2(model, checkpoint=self.checkpoint)

    def _tiny(self) -> Moirai2:
        return Moirai2.tiny()


class Moirai2(Forecaster):
    """Moirai 2 with one window as one packed row of context tokens.

    A token holds its samples and which of them were observed; gaps hold the mean of earlier
    samples, as in pretraining. The last token of each channel predicts what follows, so that no
    tokens of the future are needed: causal attention would hide them.

    Raises:
        RecipeError: the checkpoint does not scale its inputs.
    """

    no_graph = NO_GRAPH

    def __init__(self, model: Moirai2Module, checkpoint: str) -> None:
        from torch import nn

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        quiet(model)
        if not model.scaling:
            raise RecipeError(
                f"backbone.checkpoint: '{checkpoint}' must scale its inputs; its config.json has "
                "scaling false. Use another checkpoint."
            )
        self.spec = BackboneSpec(
            name="moirai2",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.d_model,
            layers=model.num_layers,
            patch=model.patch_size,
            max_context=model.max_seq_len * model.patch_size,
            joint_channels=True,
            causal=True,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._levels = tuple(float(level) for level in model.quantile_levels)
        self._steps_per_pass = model.num_predict_token * model.patch_size
        self._site = PackedSite(model.encoder, causal=True)

    @classmethod
    def tiny(cls, seed: int = 0) -> Moirai2:
        """Two layers of width 64; nine quantiles, four tokens of 16 samples a pass."""
        import torch
        from uni2ts.model.moirai2.module import Moirai2Module

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Moirai2Module(
                d_model=64,
                d_ff=128,
                num_layers=2,
                patch_size=16,
                max_seq_len=16,
                attn_dropout_p=0.0,
                dropout_p=0.0,
                num_predict_token=4,
            )
            return cls(model, TINY)

    def sites(self) -> Mapping[Role, str]:
        """Attention over time and channels at once, and the gated feed-forward."""
        return sites()

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from uni2ts.model.moirai2 import Moirai2Module\n"
            'model = Moirai2Module.from_pretrained("FOLDER")'
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Pinball loss of one pass, in scaled space.

        Mean over levels, over each series' observed targets, then over all series:
        `PackedQuantileMAELoss` on what the last token of each channel predicts.
        """
        import torch

        context = Context.of(batch, batch.observed, self.spec)
        target, observed = target_patches(
            batch, self._steps_per_pass, self.spec.patch, context.scaling
        )
        predicted = self._predicted(batch, context, through)[..., : target.shape[2], :]
        levels = torch.tensor(self._levels, device=target.device)[:, None, None]
        error = target[:, :, None] - predicted.float()  # (B, C, Q, F, p)
        pinball = torch.maximum(levels * error, (levels - 1) * error).mean(2)
        return mean_by_series(pinball, observed)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Quantiles at the model's levels.

        Beyond one pass, each quantile is fed back as a path of its own, scaled anew, and the
        quantiles of all paths are pooled with equal weight: the recursion of `Moirai2Forecast`,
        which has it for one channel only.
        """
        import torch

        from tsfm_adapt.forecasts import QuantileForecast

        windows, paths = batch.size, len(self._levels)
        pieces = [self._one_pass(batch, through)]  # (B, C, Q, h) each
        levels = torch.tensor(self._levels, device=batch.values.device)
        unrolled = batch
        while self._steps_per_pass * len(pieces) < steps:
            unrolled = continued(
                unrolled, pieces[-1].detach().transpose(1, 2), self.spec.max_context
            )
            quantiles = self._one_pass(unrolled, through)  # (B*paths, C, Q, h)
            samples = quantiles.unflatten(0, (windows, paths)).transpose(1, 2).flatten(2, 3)
            pieces.append(torch.quantile(samples, levels, dim=2).movedim(0, 2))
        return QuantileForecast(torch.cat(pieces, dim=-1)[..., :steps], self._levels)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context tokens after the last norm; each has seen no later one of any channel."""
        context = Context.of(batch, batch.observed, self.spec)
        states = self._states(batch, context, through)
        return Encoded(states.masked_fill(~context.shown[..., None], 0.0), context.shown)

    def _one_pass(self, batch: Batch, through: Through) -> Tensor:
        """Quantiles (B, C, Q, h) of one pass, data units."""
        context = Context.of(batch, batch.observed, self.spec)
        predicted = self._predicted(batch, context, through)
        return context.scaling.restored(predicted.flatten(-2))

    def _predicted(self, batch: Batch, context: Context, through: Through) -> Tensor:
        """Scaled quantiles (B, C, Q, F, p) of the F patches after the context."""
        last = self._states(batch, context, through)[:, :, -1]  # (B, C, D)
        predicted: Tensor = self.model.out_proj(last)
        shape = (self.model.num_predict_token, len(self._levels), self.spec.patch)
        by_patch: Tensor = predicted.unflatten(-1, shape)  # (B, C, F, Q, p)
        return by_patch.transpose(-2, -3)

    def _states(self, batch: Batch, context: Context, through: Through) -> Tensor:
        """Hidden states of the context (B, C, P, D)."""
        import torch

        windows, channels, tokens, _ = context.values.shape
        inputs = torch.cat([_filled(context), context.observed.float()], dim=-1)
        variate, time = ids(windows, channels, tokens, inputs.device)
        with self._site.run(through, batch, channels * tokens):
            states = self.model.encoder(
                self.model.in_proj(inputs.flatten(1, 2)),
                time[:, None] <= time[:, :, None],
                var_id=variate,
                time_id=time,
            )
        return self._site.series(states, batch)


def _filled(context: Context) -> Tensor:
    """The context (B, C, P, p), each missing sample filled with the mean of all before it.

    GluonTS's `CausalMeanValueImputation`, which counts what a gap carried forward too.
    """
    import torch

    carried = context.values.flatten(-2).double()
    before = torch.arange(carried.shape[-1], device=carried.device)
    mean = (carried.cumsum(-1) - carried) / before.clamp(min=1)
    kept = context.observed.flatten(-2) | (before == 0)
    filled: Tensor = (
        torch.where(kept, carried, mean).float().unflatten(-1, context.values.shape[-2:])
    )
    return filled
