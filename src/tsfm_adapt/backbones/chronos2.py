"""Chronos-2: quantile forecasts, with attention across the channels of a window.

Ansari et al., "Chronos-2: From Univariate to Universal Forecasting", arXiv 2510.15821. Runs on the
classes of `chronos-forecasting`; the windows of a batch are its groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.backbones._chronos import (
    data_tokens,
    detach_statistics,
    extend,
    load,
    rows,
    target_rows,
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

if TYPE_CHECKING:
    from chronos.chronos2 import Chronos2Model
    from torch import Tensor, nn

    from tsfm_adapt.backbones._through import Site
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "amazon/chronos-2": "apache-2.0",
    "autogluon/chronos-2-small": "apache-2.0",
    "autogluon/chronos-2-synth": "apache-2.0",
}

EMBEDDED_CONTEXT = 512  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)
CHANNEL_ATTENTION = True

# Levels that carry the paths of a forecast beyond one pass, as in Chronos2Pipeline.predict.
_UNROLLED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

GroupAttention = Literal["auto", "dense", "blockwise"]

# Series of a batch from which blockwise group attention is faster; its gain is quadratic in them.
_MANY_SERIES = 100


class Config(BackboneConfig):
    """`backbone: {name: chronos2}`."""

    name: Literal["chronos2"] = "chronos2"
    group_attention: GroupAttention = Field(
        default="auto",
        description="how channels attend to each other: 'dense' masks the whole batch, as "
        "upstream does; 'blockwise' computes each window apart, equal up to rounding and faster "
        f"for many series; 'auto' = blockwise from {_MANY_SERIES} series a batch",
    )

    def _load(self, weights: bool) -> Chronos2:
        """Loads the checkpoint through upstream's own class."""
        from chronos.chronos2 import Chronos2Model
        from chronos.chronos2.config import Chronos2CoreConfig

        model = load(self, Chronos2CoreConfig, Chronos2Model, "Chronos2Model", weights)
        return Chronos2(model, self.checkpoint, self.group_attention)

    def _tiny(self) -> Chronos2:
        return Chronos2.tiny(group_attention=self.group_attention)


class Chronos2(Forecaster):
    """Chronos-2 with the channels of one window as one group."""

    def __init__(
        self, model: Chronos2Model, checkpoint: str, group_attention: GroupAttention = "auto"
    ) -> None:
        from torch import nn

        from tsfm_adapt.backbones._through import Site

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        settings = model.chronos_config
        self.spec = BackboneSpec(
            name="chronos2",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.model_dim,
            layers=len(model.encoder.block),
            patch=settings.input_patch_size,
            max_context=settings.context_length,
            joint_channels=True,
            causal=False,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._levels = tuple(float(level) for level in settings.quantiles)
        self._max_patches = int(settings.max_output_patches)
        detach_statistics(model.instance_norm)
        self._site = Site(model.encoder, model.encoder.block, extend)
        _LastBlock(model.encoder, self._site)
        smallest = {"auto": _MANY_SERIES, "blockwise": 0, "dense": inf}[group_attention]
        self._group_attention = _Blockwise(model.encoder, self._site, smallest)

    @classmethod
    def tiny(cls, seed: int = 0, group_attention: GroupAttention = "auto") -> Chronos2:
        """Two layers of width 32; nine quantiles, four output patches of 16."""
        import torch
        from chronos.chronos2 import Chronos2Model
        from chronos.chronos2.config import Chronos2CoreConfig

        config = Chronos2CoreConfig(
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            architectures=["Chronos2Model"],
            chronos_pipeline_class="Chronos2Pipeline",
            chronos_config={
                "context_length": 256,
                "output_patch_size": 16,
                "input_patch_size": 16,
                "input_patch_stride": 16,
                "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
                "use_reg_token": True,
                "use_arcsinh": True,
                "max_output_patches": 4,
                "time_encoding_scale": 256,
            },
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(Chronos2Model(config), TINY, group_attention)

    def sites(self) -> Mapping[Role, str]:
        """Layers of time attention (layer.0), group attention (layer.1) and feed-forward.

        The names match with and without our `model.`, so that a saved adapter fits upstream's
        own class too.
        """
        attention = r"(?:model\.)?encoder\.block\.\d+\.layer\.[01]\.self_attention\."
        feed_forward = r"(?:model\.)?encoder\.block\.\d+\.layer\.2\.mlp\."
        return {
            "attn.q": attention + "q",
            "attn.k": attention + "k",
            "attn.v": attention + "v",
            "attn.out": attention + "o",
            "mlp.in": feed_forward + "wi",
            "mlp.out": feed_forward + "wo",
        }

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from chronos import Chronos2Pipeline\n"
            'model = Chronos2Pipeline.from_pretrained("FOLDER")'
        )

    def for_graph(self) -> None:
        """Blockwise group attention: runtimes refuse the dense form, which multiplies booleans."""
        self._group_attention.smallest = 0

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Upstream's pinball loss: sum over levels, mean over series and padded horizon."""
        target = target_rows(batch, self._max_patches * self.spec.patch)
        patches = ceil(target.shape[1] / self.spec.patch)
        with self._running(through, batch, read=patches):
            loss: Tensor = self.model(
                context=rows(batch),
                group_ids=_groups(batch),
                future_target=target,
                num_output_patches=patches,
            ).loss
        return loss

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Quantiles at the model's levels.

        Beyond one pass, nine quantiles are fed back as nine paths, whose predictions are pooled by
        probability mass: the recursion of `Chronos2Pipeline.predict`.
        """
        import torch
        from chronos.utils import interpolate_quantiles, weighted_quantile

        from tsfm_adapt.forecasts import QuantileForecast

        windows, paths = batch.size, len(_UNROLLED)
        pieces = [self._one_pass(batch, steps, through)]  # (B, C, Q, h) each
        weights = torch.outer(_mass(_UNROLLED), _mass(self._levels)).flatten()
        unrolled = batch
        while (remaining := steps - sum(piece.shape[-1] for piece in pieces)) > 0:
            last = pieces[-1].detach().transpose(-1, -2)  # (B, C, h, Q)
            fed_back = interpolate_quantiles(list(_UNROLLED), list(self._levels), last)
            unrolled = continued(unrolled, fed_back.permute(0, 3, 1, 2), self.spec.max_context)
            quantiles = self._one_pass(unrolled, remaining, through)  # (B*paths, C, Q, h)
            samples = quantiles.unflatten(0, (windows, paths)).permute(0, 2, 4, 1, 3)
            pooled = weighted_quantile(list(self._levels), weights, samples.flatten(-2))
            pieces.append(pooled.transpose(-1, -2))
        return QuantileForecast(torch.cat(pieces, dim=-1)[..., :steps], self._levels)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context tokens after the last block; one output patch is appended, as upstream does.

        Tokens without an observed sample are 0: where no channel of a window has one, upstream's
        group attention averages over the whole batch.
        """
        with self._running(through, batch):
            hidden, _, _, tokens = self.model.encode(
                context=rows(batch), group_ids=_groups(batch), num_output_patches=1
            )
        states = hidden.last_hidden_state[:, :tokens].unflatten(0, batch.values.shape[:2])
        observed = batch.observed[..., -self.spec.max_context :]
        padded = observed.new_zeros(*observed.shape[:2], tokens * self.spec.patch)
        padded[..., padded.shape[-1] - observed.shape[-1] :] = observed
        shown = padded.unflatten(-1, (tokens, self.spec.patch)).any(-1)
        return Encoded(states.masked_fill(~shown[..., None], 0.0), shown)

    def channel_attention(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """The group attention of the context's tokens, window by window."""
        import torch

        blockwise, self._group_attention.smallest = self._group_attention.smallest, 0
        try:
            with self._running(through, batch):
                encoded, _, _, tokens = self.model.encode(
                    context=rows(batch),
                    group_ids=_groups(batch),
                    num_output_patches=1,
                    output_attentions=True,
                )
        finally:
            self._group_attention.smallest = blockwise
        behind = 1 + int(self.model.chronos_config.use_reg_token)  # the output patch, and REG
        own = slice(-tokens - behind, -behind)  # prompts stand before
        return torch.stack(
            [
                weights.mean(1).unflatten(0, (-1, batch.size))[own].transpose(0, 1)
                for weights in encoded.all_group_self_attn_weights  # (L * B, heads, C, C)
            ]
        )

    def _one_pass(self, batch: Batch, remaining: int, through: Through) -> Tensor:
        """Quantiles (B, C, Q, h) of at most one pass of output patches."""
        patches = min(ceil(remaining / self.spec.patch), self._max_patches)
        with self._running(through, batch, read=patches):
            quantiles: Tensor = self.model(
                context=rows(batch), group_ids=_groups(batch), num_output_patches=patches
            ).quantile_preds
        return quantiles.reshape(*batch.values.shape[:2], *quantiles.shape[1:])

    def _running(
        self, through: Through, batch: Batch, read: int | None = None
    ) -> AbstractContextManager[None]:
        return self._site.run(through, batch, data_tokens(batch, self.spec), read)


class _LastBlock:
    """Skips work of the last block that no output depends on: a forecast reads the output tokens.

    The others still serve as keys of its time attention; its group attention and feed-forward mix
    no times, so they skip them.
    """

    def __init__(self, encoder: nn.Module, site: Site) -> None:
        self._site = site
        last: Any = encoder.block[-1]  # type: ignore[index]
        last.layer[1].register_forward_pre_hook(self._cut, with_kwargs=True)
        encoder.register_forward_hook(self._pad, prepend=True, with_kwargs=True)

    def _cut(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        current = self._site.active()
        if current is None or current.read is None:
            return None
        hidden, masks = args[0], kwargs["attention_mask"]  # (R, L, D), (L * n, 1, ...)
        rows_each = masks.shape[0] // hidden.shape[1]
        kept = masks[-current.read * rows_each :]
        return (hidden[:, -current.read :],), kwargs | {"attention_mask": kept}

    def _pad(
        self, _module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        from torch.nn.functional import pad

        current = self._site.active()
        if current is not None and current.read is not None:
            missing = kwargs["inputs_embeds"].shape[1] - current.read
            output.last_hidden_state = pad(output.last_hidden_state, (0, 0, missing, 0))
        return output


class _Blockwise:
    """Computes group attention window by window: (L, B*C, D) becomes (L*B, C, D) and back.

    Upstream lets every series attend to the whole batch and masks other groups: quadratic in B*C.
    Same layers, same weights. Only tokens that no channel of a window shows differ: there the
    dense form averages over the batch. No other token sees those.
    """

    def __init__(self, encoder: nn.Module, site: Site, smallest: float) -> None:
        self.smallest = smallest  # series of a batch from which it is used
        self._site = site
        self._dense: Any = encoder._construct_and_invert_group_time_mask
        encoder._construct_and_invert_group_time_mask = self._masks  # type: ignore[assignment]
        for block in encoder.block:  # type: ignore[union-attr]
            attention = block.layer[1].self_attention
            attention.register_forward_pre_hook(self._split, with_kwargs=True)
            attention.register_forward_hook(self._join, with_kwargs=True)

    def _masks(self, group_ids: Tensor, attention_mask: Tensor, dtype: Any) -> Tensor:
        """Additive masks over the keys of a window (L*B, 1, 1, C), or upstream's (L, 1, R, R)."""
        import torch

        current = self._site.active()
        if current is None or group_ids.shape[0] < self.smallest:
            dense: Tensor = self._dense(group_ids, attention_mask, dtype)
            return dense
        visible: Tensor = (
            attention_mask.to(dtype).T.unflatten(1, (current.batch.size, -1)).flatten(0, 1)
        )
        return (1.0 - visible[:, None, None]) * torch.finfo(dtype).min

    def _split(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        windows = self._windows(kwargs)
        if windows is None:
            return None
        return (args[0].unflatten(1, (windows, -1)).flatten(0, 1),), kwargs

    def _join(
        self, _module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        windows = self._windows(kwargs)
        if windows is not None:
            output.hidden_states = output.hidden_states.unflatten(0, (-1, windows)).flatten(1, 2)
        return output

    def _windows(self, kwargs: dict[str, Any]) -> int | None:
        """B where the masks are blockwise, with one row for all queries; else None."""
        current = self._site.active()
        return current.batch.size if current and kwargs["mask"].shape[2] == 1 else None


def _groups(batch: Batch) -> Tensor:
    """Index of the window that each row belongs to, (B*C,)."""
    import torch

    windows, channels = batch.values.shape[:2]
    return torch.arange(windows, device=batch.values.device).repeat_interleave(channels)


def _mass(levels: tuple[float, ...]) -> Tensor:
    """Probability mass next to each level, by the trapezoidal rule; sums to 1."""
    import torch

    edges = torch.tensor([0.0, *levels, 1.0])
    mass = (edges[2:] - edges[:-2]) / 2
    return mass / mass.sum()
