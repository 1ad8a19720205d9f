"""TimesFM 2.5: quantile forecasts of a causal decoder, each channel a separate series.

Das et al., "A decoder-only foundation model for time-series forecasting", arXiv 2310.10688. Runs
on the layers of `timesfm`; what upstream does around them in numpy and without gradients (filling
gaps, running statistics, feeding back) is done here on tensors.

Of upstream's options (`ForecastConfig`) only `use_continuous_quantile_head` is on: the head is
pretrained for long horizons, where the quantiles of medians fed back stay too narrow. Off are
`infer_is_positive` and `normalize_inputs`, so that a forecast follows a change of units,
`force_flip_invariance`, which passes everything a second time upside down, and
`fix_quantile_crossing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tsfm_adapt.backbones._anchored import FLAT, GaplessSeries
from tsfm_adapt.backbones._checkpoints import fetch, fits, locate, unavailable
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
    overwritten,
    per_series,
)

if TYPE_CHECKING:
    from timesfm.timesfm_2p5.timesfm_2p5_torch import TimesFM_2p5_200M_torch_module
    from torch import Tensor

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "google/timesfm-2.5-200m-pytorch": "apache-2.0",
}

EMBEDDED_CONTEXT = 512  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)


class Config(BackboneConfig):
    """`backbone: {name: timesfm}`."""

    name: Literal["timesfm"] = "timesfm"

    def _load(self, weights: bool) -> TimesFM:
        """Loads a folder that upstream or `write` saved, or a Hub id; always uncompiled."""
        import torch
        from huggingface_hub.errors import EntryNotFoundError
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from tsfm_adapt.backbones._nets.timesfm import network, sizes_of

        source = locate(self.name, self.checkpoint)
        try:
            try:
                settings = json.loads(fetch(source, "config.json", self.revision).read_bytes())
            except EntryNotFoundError:  # weights alone are enough for upstream's class
                settings = {}
            with torch.device("meta"):
                model = network(sizes_of(self.checkpoint, settings)).eval()
            if weights or Path(source).is_dir():
                file = fetch(source, "model.safetensors", self.revision)
                fits(self.checkpoint, file, model)
            if weights:
                tensors = load_file(file)  # mapped to the file, which may be written again
                copies = {n: t.to(torch.float32, copy=True) for n, t in tensors.items()}
                model.load_state_dict(copies, assign=True)
        except (OSError, ValueError, SafetensorError) as error:
            raise unavailable(self.name, self.checkpoint, error) from error
        return TimesFM(model, checkpoint=self.checkpoint)

    def _tiny(self) -> TimesFM:
        return TimesFM.tiny()


class TimesFM(Forecaster):
    """TimesFM 2.5; gaps are filled from observed context, prompts follow the left padding."""

    def __init__(self, model: TimesFM_2p5_200M_torch_module, checkpoint: str) -> None:
        from torch import nn

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        definition = model.config
        self.spec = BackboneSpec(
            name="timesfm",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=definition.stacked_transformers.transformer.model_dims,
            layers=definition.stacked_transformers.num_layers,
            patch=definition.input_patch_len,
            max_context=definition.context_limit,
            joint_channels=False,
            causal=True,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        # Both heads give ten columns a sample: the mean, then the quantiles.
        self._levels = tuple(float(level) for level in definition.quantiles)
        self._median = int(definition.decode_index)

    @classmethod
    def tiny(cls, seed: int = 0) -> TimesFM:
        """Two layers of width 32; 64 steps a pass, 128 of the quantile head."""
        import torch

        from tsfm_adapt.backbones._nets.timesfm import Sizes, untrained

        sizes = Sizes(
            width=32, layers=2, heads=4, output_patch=64, quantile_steps=128, max_context=512
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(untrained(sizes), TINY)

    def sites(self) -> Mapping[Role, str]:
        """Attention, where upstream fuses q, k and v, and the feed-forward of every block.

        The names match with and without our `model.`, so that a saved adapter fits upstream's
        own class too.
        """
        block = r"(?:model\.)?stacked_xf\.\d+\."
        return {
            "attn.q": block + r"attn\.qkv_proj",
            "attn.k": block + r"attn\.qkv_proj",
            "attn.v": block + r"attn\.qkv_proj",
            "attn.out": block + r"attn\.out",
            "mlp.in": block + "ff0",
            "mlp.out": block + "ff1",
        }

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        from tsfm_adapt.backbones._nets.timesfm import Sizes, write

        if write(self.model, folder) == Sizes():
            return (
                "from timesfm import TimesFM_2p5_200M_torch\n"
                'model = TimesFM_2p5_200M_torch.from_pretrained("FOLDER", torch_compile=False)'
            )
        return (
            "# Upstream's class has the published size and no other; these weights have another,\n"
            "# which a subclass of it holds.\n"
            "from tsfm_adapt.backbones.timesfm import Config\n"
            'model = Config(checkpoint="FOLDER").build().model'
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Twice the pinball loss of both heads after the last context patch; upstream has none.

        In the space of that patch's running statistics; mean over columns, observed targets and
        heads. The point head is trained on one pass, the quantile head on as much of the target
        as it covers. The mean's column, which nothing here reads, is trained at level 0.5, on the
        absolute error. A flat context is left out: its forecast is flat whatever the weights.
        """
        import torch

        from tsfm_adapt.forecasts import QuantileForecast

        assert batch.target is not None
        assert batch.target_observed is not None
        series = GaplessSeries.of(batch, self.spec.max_context)
        state = self._pass(series, batch, through)
        scale = state.scale[:, None]  # (R, 1)
        observed = batch.target_observed.flatten(0, 1) & (scale >= FLAT)  # (R, H)
        known = series.seen_as(batch.target.flatten(0, 1)).where(observed, 0.0)
        target = (known - state.centre[:, None]) / scale.clamp(min=FLAT)
        columns = (0.5, *self._levels)
        losses = []
        for head in (self._point_head(state), self._quantile_head(state)):
            steps = min(head.shape[1], target.shape[1])
            predicted = QuantileForecast(head[:, :steps].transpose(1, 2)[:, None], columns)
            part = predicted.loss(
                target[:, None, :steps], observed[:, None, :steps], torch.ones_like(scale)[:, None]
            )
            losses.append(part / len(columns))
        return torch.stack(losses).mean()

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Quantiles at the model's levels: an autoregressive median, the others around it.

        Each pass feeds its median back. The distance of the other quantiles from the median is
        that of the quantile head in the first pass; beyond the samples it covers, its last.
        """
        import torch

        from tsfm_adapt.forecasts import QuantileForecast

        series = GaplessSeries.of(batch, self.spec.max_context)
        state = self._pass(series, batch, through)
        quantiles = self._quantile_head(state)
        covered = torch.arange(steps, device=quantiles.device).clamp(max=quantiles.shape[1] - 1)
        distance = (quantiles[..., 1:] - quantiles[..., self._median, None])[:, covered]
        medians = [self._median_path(state)]  # (R, h) each
        unrolled = batch
        while medians[0].shape[1] * len(medians) < steps:
            fed_back = medians[-1].detach()
            path = series.in_units(fed_back).unflatten(0, (batch.size, 1, -1))
            unrolled = continued(unrolled, path, self.spec.max_context)
            series = series.continued(fed_back, self.spec.max_context)
            medians.append(self._median_path(self._pass(series, unrolled, through)))
        median = torch.cat(medians, dim=1)[:, :steps, None]
        rows = (median + distance * state.scale[:, None, None]).flatten(1)  # (R, H * Q)
        columns = series.in_units(rows).unflatten(1, (steps, -1)).transpose(1, 2)
        values = columns.unflatten(0, batch.values.shape[:2])
        return QuantileForecast(values, self._levels)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Patches after the last block; those without an observed sample are 0.

        Inside a gap the network sees the filled-in values, and so do later patches; such patches
        count as not observed all the same.
        """
        from torch.nn.functional import pad

        series = GaplessSeries.of(batch, self.spec.max_context)
        state = self._pass(series, batch, through)
        observed = batch.observed[..., -self.spec.max_context :]
        padded = pad(observed, (-observed.shape[-1] % self.spec.patch, 0), value=False)
        shown = padded.unflatten(-1, (-1, self.spec.patch)).any(-1)
        tokens = state.hidden.unflatten(0, batch.values.shape[:2])
        return Encoded(tokens.masked_fill(~shown[..., None], 0.0), shown)

    def _pass(self, series: GaplessSeries, batch: Batch, through: Through) -> _State:
        """Upstream's forward up to its heads, with the hooks of adapters."""
        import torch

        values, absent = series.patches(self.spec.patch)  # (R, P, patch)
        centre, scale = _running_statistics(values.detach(), absent)
        unit = scale.where(scale >= FLAT, 1.0)[..., None]
        scaled = ((values - centre[..., None]) / unit).masked_fill(absent, 0.0)
        data = self.model.tokenizer(torch.cat([scaled, absent.to(scaled.dtype)], dim=-1))
        padding = absent[..., -1]  # (R, P)
        grid = data.unflatten(0, batch.values.shape[:2])  # (B, C, P, D)
        prompts = _rows(through.prefix(batch, 0, grid), batch, data)
        for layer, block in enumerate(self.model.stacked_xf):
            grid = data.unflatten(0, batch.values.shape[:2])
            deep = _rows(through.prefix(batch, layer, grid), batch, data) if layer else None
            if prompts is not None and deep is not None:
                prompts = overwritten(prompts, deep, layer)
            data = through.tokens(grid, layer).flatten(0, 1)
            if prompts is None:
                data, _ = block(data, padding, None)
            else:
                order = _after_padding(padding, prompts.shape[1], data.shape[-1])
                joined = torch.cat([prompts, data], dim=1).gather(1, order)
                out, _ = block(joined, padding, None)
                out = out.gather(1, order.argsort(dim=1))
                prompts, data = out.split([prompts.shape[1], data.shape[1]], dim=1)
        return _State(data, centre[:, -1], scale[:, -1])

    def _point_head(self, state: _State) -> Tensor:
        """The next samples of one pass (R, h, 1 + Q), scaled."""
        return self._columns(self.model.output_projection_point(state.hidden[:, -1]))

    def _quantile_head(self, state: _State) -> Tensor:
        """All samples that the continuous quantile head covers (R, h, 1 + Q), scaled."""
        return self._columns(self.model.output_projection_quantiles(state.hidden[:, -1]))

    def _columns(self, flat: Tensor) -> Tensor:
        columns: Tensor = flat.unflatten(-1, (-1, 1 + len(self._levels)))
        return columns

    def _median_path(self, state: _State) -> Tensor:
        """The median of one pass (R, h), anchored units."""
        median = self._point_head(state)[..., self._median]
        return median * state.scale[:, None] + state.centre[:, None]


@dataclass(frozen=True)
class _State:
    """Results of one forward pass."""

    hidden: Tensor  # (R, P, D)
    centre: Tensor  # (R,) running mean of the last patch, anchored units
    scale: Tensor  # (R,) running standard deviation of the last patch, likewise


def _running_statistics(values: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (R, P) of all samples up to the end of each patch."""
    import torch
    from timesfm.torch.util import update_running_stats

    count = mean = deviation = values.new_zeros(values.shape[0])
    means, deviations = [], []
    for patch in range(values.shape[1]):
        (count, mean, deviation), _ = update_running_stats(
            count, mean, deviation, values[:, patch], absent[:, patch]
        )
        means.append(mean)
        deviations.append(deviation)
    return torch.stack(means, dim=1), torch.stack(deviations, dim=1)


def _rows(prompts: Tensor | None, batch: Batch, like: Tensor) -> Tensor | None:
    """Prompts as rows (R, N, D)."""
    return None if prompts is None else per_series(prompts, batch).flatten(0, 1).to(like.dtype)


def _after_padding(padding: Tensor, prompts: int, width: int) -> Tensor:
    """Gather index (R, N + P, D) that moves prompts behind the padding.

    Upstream's attention takes the number of padded patches, and hides that many leading tokens.
    """
    import torch

    padded = padding.sum(dim=1, keepdim=True)
    position = torch.arange(prompts + padding.shape[1], device=padding.device)[None]
    moved = torch.where(position < padded + prompts, position - padded, position)
    order = torch.where(position < padded, position + prompts, moved)
    return order[..., None].expand(-1, -1, width)
