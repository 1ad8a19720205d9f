"""TimesFM 3: quantile forecasts in one pass, with attention across the channels of a window.

Successor of Das et al., "A decoder-only foundation model for time-series forecasting", arXiv
2310.10688, with attention across channels. Runs on the layers of `timesfm3`; what its `decode`
does around them without gradients (detrending, running statistics, stitching) is done here on
tensors. Gaps are masked sample by sample, as `decode` can; upstream's forecaster interpolates
them instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsfm_adapt.backbones._anchored import FLAT, DetrendedSeries
from tsfm_adapt.backbones._checkpoints import fetch, fits, locate, unavailable
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
    overwritten,
    per_series,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from timesfm3.torch import TimesFM3Torch
    from torch import Tensor

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import QuantileForecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    # Not the licence of upstream's code: no commercial, no production use.
    "google/timesfm-3.0-pytorch": "timesfm-non-commercial-license-v1.0",
}

EMBEDDED_CONTEXT = 15360  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)
NO_GRAPH = "torch's exporter knows no counterpart of one of upstream's operations"  # ONNX

# `_MAX_CONTEXT_LENGTH` of upstream's forecaster; the checkpoint does not say it.
_MAX_CONTEXT = 15360


class Config(BackboneConfig):
    """`backbone: {name: timesfm3}`."""

    name: Literal["timesfm3"] = "timesfm3"

    def _load(self, weights: bool) -> TimesFM3:
        """Loads the checkpoint through upstream's own class."""
        import torch
        from safetensors import SafetensorError
        from timesfm3.torch import TimesFM3Torch

        source = locate(self.name, self.checkpoint)
        try:
            settings = json.loads(fetch(source, "config.json", self.revision).read_bytes())
            with torch.device("meta"):
                model = _unfilled(self.checkpoint, settings)
            if weights or Path(source).is_dir():
                fits(self.checkpoint, fetch(source, "model.safetensors", self.revision), model)
            if weights:
                model = TimesFM3Torch.from_pretrained(
                    source, revision=self.revision, strict=True
                ).float()
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise unavailable(self.name, self.checkpoint, error) from error
        return TimesFM3(model, checkpoint=self.checkpoint)

    def _tiny(self) -> TimesFM3:
        return TimesFM3.tiny()


class TimesFM3(Forecaster):
    """TimesFM 3 with the channels of one window as its variates, all of them targets.

    Where a checkpoint has `use_rope_var`, its channels have an order.
    """

    no_graph = NO_GRAPH

    def __init__(self, model: TimesFM3Torch, checkpoint: str) -> None:
        from torch import nn

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        stack = model.transformer_config
        self.spec = BackboneSpec(
            name="timesfm3",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=stack.transformer.model_dims,
            layers=stack.num_layers,
            patch=model.input_patch_len,
            max_context=_MAX_CONTEXT,
            joint_channels=bool(model.use_variate_attention),
            causal=bool(stack.transformer.causal_attention),
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._levels = tuple(float(level) for level in model.quantiles)

    @classmethod
    def tiny(cls, seed: int = 0) -> TimesFM3:
        """Two layers of width 32; nine quantiles, patches of 32 that predict 64."""
        import torch
        from timesfm3.torch import TimesFM3Torch
        from timesfm3.torch.configs import (
            ResidualBlockConfig,
            StackedTransformersConfig,
            TransformerConfig,
        )

        layer = TransformerConfig(
            model_dims=32,
            hidden_dims=64,
            num_heads=4,
            attention_norm="rms",
            feedforward_norm="rms",
            qk_norm="rms",
            use_bias=False,
            use_rope_seq=True,
            use_rope_var=False,
            ff_activation="relu",
            deterministic=True,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = TimesFM3Torch(
                residual_block_config=ResidualBlockConfig(
                    hidden_dims=32, output_dims=32, use_bias=False, activation="relu"
                ),
                transformer_config=StackedTransformersConfig(2, layer),
            )
        return cls(model, TINY)

    def sites(self) -> Mapping[Role, str]:
        """Attention over time and over channels alike, and the feed-forward of every block.

        The names match with and without our `model.`, so that a saved adapter fits upstream's
        own class too.
        """
        block = r"(?:model\.)?transformer_stack\.layers\.\d+\."
        attention = block + r"(?:seq|var)_attn\."
        return {
            "attn.q": attention + "query_proj",
            "attn.k": attention + "key_proj",
            "attn.v": attention + "value_proj",
            "attn.out": attention + "out_proj",
            "mlp.in": block + "ff0",
            "mlp.out": block + "ff1",
        }

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from timesfm3.torch import TimesFM3Torch\n"
            'model = TimesFM3Torch.from_pretrained("FOLDER", strict=True)'
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Twice the pinball loss of the stitched forecast; upstream has none.

        Mean over levels and observed targets, each divided by the standard deviation of its
        context with the trend, since without it next to nothing may be left. A flat context is
        left out: its forecast is flat whatever the weights.
        """
        assert batch.target is not None
        assert batch.target_observed is not None
        series = self._series(batch)
        forecast = self._forecast(series, batch, batch.target.shape[-1], through)
        observed = batch.target_observed & (series.deviation >= FLAT)
        scale = series.deviation.clamp(min=FLAT) * series.unit
        return forecast.loss(batch.target, observed, scale) / len(self._levels)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> QuantileForecast:
        """Quantiles at the model's levels, of one pass whatever the number of steps.

        Stitched as in `TimesFM3Torch.decode`: each patch predicts two, and where two patches
        predict a sample they are blended. Later patches are scaled by statistics that include
        what earlier ones predicted; these are detached.
        """
        return self._forecast(self._series(batch), batch, steps, through)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context patches after the last block; those without an observed sample are 0."""
        series = self._series(batch)
        hidden, _ = self._pass(series, batch, 0, through)
        shown = series.observed.any(-1)
        return Encoded(hidden.masked_fill(~shown[..., None], 0.0), shown)

    def _series(self, batch: Batch) -> DetrendedSeries:
        return DetrendedSeries.of(batch, self.model, _MAX_CONTEXT)

    def _forecast(
        self, series: DetrendedSeries, batch: Batch, steps: int, through: Through
    ) -> QuantileForecast:
        import torch
        from timesfm3.torch.util import stitch_patches

        from tsfm_adapt.forecasts import QuantileForecast

        model, patch = self.model, self.spec.patch
        if model.use_stitching:
            overlap = min(patch, model.output_patch_len - patch)
            read = range(max(ceil((steps - overlap) / patch), 1))
            ahead = len(read) + model.rolls - 1
        else:
            read = range(0, ceil(steps / model.output_patch_len) * model.rolls, model.rolls)
            ahead = len(read) * model.rolls
        if self.spec.causal:  # patches after the last one that is read change nothing
            ahead = read[-1]
        hidden, statistics = self._pass(series, batch, ahead, through)
        context = series.values.shape[2]
        last = context - 1  # the first patch whose prediction is read
        raw = model.output_head(hidden[:, :, last:]).float()  # (B, C, 1 + ahead, h * Q)
        centre, scale = self._rescaled(raw.detach(), [each[:, :, -1] for each in statistics])
        predicted = raw * scale[..., None] + centre[..., None]
        # one patch each (B, C, F, h, Q)
        patches = predicted.unflatten(-1, (-1, len(self._levels)))[:, :, list(read)]
        if model.use_stitching:
            columns = stitch_patches(patches[..., : patch + overlap, :], patch)
        else:
            columns = patches.flatten(2, 3)
        time = torch.arange(1, steps + 1, device=raw.device)
        trend = series.start + series.slope * time  # (B, C, H)
        values = (columns[:, :, :steps] + trend[..., None]).transpose(-1, -2)
        in_units = values * series.unit[..., None] + series.anchor[..., None]
        return QuantileForecast(in_units, self._levels)

    def _pass(
        self, series: DetrendedSeries, batch: Batch, ahead: int, through: Through
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Upstream's forward up to its head, with the hooks of adapters.

        Returns:
            Patches of the context and `ahead` masked ones (B, C, P + ahead, D), and the count,
            mean and standard deviation (B, C, P) of observed samples up to the end of each patch.
        """
        import torch
        from timesfm3.torch.util import get_running_stats
        from torch.nn.functional import pad

        with torch.no_grad():
            statistics = get_running_stats(series.values.detach(), ~series.observed)
        _, centre, scale = statistics
        unit = scale.where(scale >= FLAT, 1.0)[..., None]
        scaled = ((series.values - centre[..., None]) / unit).masked_fill(~series.observed, 0.0)
        values = pad(scaled, (0, 0, 0, ahead))
        masked = pad((~series.observed).to(values.dtype), (0, 0, 0, ahead), value=1.0)
        # Known covariates of the patches to come: none, so masked.
        unknown = values.new_zeros(*values.shape[:3], self.model.output_patch_len)
        features = torch.cat([values, unknown, masked, torch.ones_like(unknown)], dim=-1)
        tokens = self.model.pre_transformer_resblock(features)
        data, future = tokens.split([series.values.shape[2], ahead], dim=2)
        # Upstream hides leading patches without a sample; later ones are seen, with their masks.
        padding = masked.all(-1).int().cumprod(dim=2).bool()  # (B, C, P + ahead)
        prompts = _prompts(through, batch, 0, data)
        if prompts is not None:
            padding = pad(padding, (prompts.shape[2], 0), value=False)
        for layer, block in enumerate(self.model.transformer_stack.layers):
            data = through.tokens(data, layer)
            if prompts is None:
                joined, *_ = block(torch.cat([data, future], dim=2), padding)
                data, future = joined.split([data.shape[2], ahead], dim=2)
                continue
            deep = _prompts(through, batch, layer, data) if layer else None
            prompts = prompts if deep is None else overwritten(prompts, deep, layer)
            joined, *_ = block(torch.cat([prompts, data, future], dim=2), padding)
            prompts, data, future = joined.split([prompts.shape[2], data.shape[2], ahead], dim=2)
        return torch.cat([data, future], dim=2), statistics

    def _rescaled(self, raw: Tensor, statistics: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, C, F) that undo the scaling of each patch read.

        Args:
            raw: the head's output (B, C, F, h * Q), detached; the first patch ends the context.
            statistics: count, mean and standard deviation (B, C) of the context.
        """
        import torch
        from timesfm3.torch.cpm_revin_refine import (
            cpm_iterative_revin_refine,
        )

        patches = raw.shape[2]
        count, centre, scale = (each[..., None].expand(-1, -1, patches) for each in statistics)
        if patches == 1 or not self.model.use_iterative_cpm_revin:
            return centre, scale
        predicted = torch.arange(patches, device=raw.device)[None].expand(raw.shape[0], -1) > 0
        with torch.no_grad(), torch.autocast(raw.device.type, enabled=False):
            refined: tuple[Tensor, Tensor] = cpm_iterative_revin_refine(
                raw,
                revin_n=count,
                revin_mu=centre,
                revin_sigma=scale,
                patch_cpm_mask=predicted,
                median_q_idx=len(self._levels) // 2,
                rolls=self.model.rolls,
                patch_len=self.spec.patch,
                num_quantiles=len(self._levels),
                value_clip=self.model.value_clip,
            )
        return refined


def _prompts(through: Through, batch: Batch, layer: int, data: Tensor) -> Tensor | None:
    """Prompts (B, C, N, D) before data tokens (B, C, P, D)."""
    prompts = through.prefix(batch, layer, data)
    return None if prompts is None else per_series(prompts, batch).to(data.dtype)


def _unfilled(checkpoint: str, settings: Any) -> TimesFM3Torch:
    """Upstream's network without weights, built from the settings of a config.json."""
    from inspect import signature

    from timesfm3.torch import TimesFM3Torch

    if not isinstance(settings, dict):
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a timesfm3 model: its config.json is not "
            "a mapping. Give a folder as written by save_pretrained."
        )
    known = signature(TimesFM3Torch.__init__).parameters
    return TimesFM3Torch(**{name: value for name, value in settings.items() if name in known})
