"""Shared by the Moirai families: loading, packed rows, prompts and mixers in them.

A packed row is one window: the context tokens of its first channel, of its second and so on, then
the tokens of the future in the same order. Attention crosses channels ("any-variate").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from tsfm_adapt.backbones._checkpoints import complete, locate, unavailable
from tsfm_adapt.backbones._through import Site
from tsfm_adapt.backbones.base import (
    BackboneConfig,
    BackboneSpec,
    Role,
    per_series,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.batches import Batch

# Upstream's smallest standard deviation, used for constant series.
_FLAT = 1e-5**0.5
# Apparent standard deviation of a constant in float32, as a share of its absolute value.
_ROUNDING = 1e-6

_GROWING = Lock()


def load(
    recipe: BackboneConfig,
    needs: Sequence[str],
    foreign: Sequence[str],
    construct: Callable[[dict[str, JsonValue]], Any],
    weights: bool,
) -> Any:
    """Upstream's model of a checkpoint, float32; on the meta device without weights.

    Upstream's own `from_pretrained` fills in random weights that the file lacks, prints on stdout,
    and unpickles where there are no safetensors; so the file is read into upstream's class here.

    Args:
        recipe: which checkpoint.
        needs: settings that config.json must have.
        foreign: settings by which config.json shows another family.
        construct: makes upstream's model, untyped, from the values of config.json.
        weights: False builds the shapes only.

    Raises:
        RecipeError: the checkpoint is of another architecture, broken, or lacks weights.
        EnvironmentProblem: a Hub checkpoint cannot be fetched.
    """
    import torch
    from huggingface_hub import snapshot_download
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    source = locate(recipe.name, recipe.checkpoint)
    try:
        if not Path(source).is_dir():
            source = snapshot_download(
                source,
                revision=recipe.revision,
                allow_patterns=["config.json", "model.safetensors"],
            )
        settings = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        absent = [name for name in needs if name not in settings]
        others = [name for name in foreign if name in settings]
        if absent or others:
            raise RecipeError(
                f"backbone.checkpoint: '{recipe.checkpoint}' is not a {recipe.name} model: its "
                f"config.json {'lacks' if absent else 'has'} {', '.join(absent or others)}. "
                "Give one that fits, or the backbone that fits it."
            )
        if not weights:
            with torch.device("meta"):
                return construct(settings)
        model = construct(settings)
        file = Path(source) / "model.safetensors"
        with safe_open(file, framework="pt") as stored:
            lacking = sorted(model.state_dict().keys() - set(stored.keys()))
        complete(recipe.checkpoint, {"missing_keys": lacking, "mismatched_keys": []})
        load_model(model, file, strict=False)
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise unavailable(recipe.name, recipe.checkpoint, error) from error
    return model


def quiet(model: nn.Module) -> None:
    """Sets attention dropout to 0: upstream's is a constant that eval mode does not switch off."""
    for layer in model.encoder.layers:  # type: ignore[union-attr]  # of uni2ts, untyped
        layer.self_attn.attn_dropout_p = 0.0


def sites() -> Mapping[Role, str]:
    """The linear layers of the encoder; both halves of the gated feed-forward are its input.

    The names match with and without our `model.`, so that a saved adapter fits upstream's own
    class too.
    """
    attention = r"(?:model\.)?encoder\.layers\.\d+\.self_attn\."
    feed_forward = r"(?:model\.)?encoder\.layers\.\d+\.ffn\."
    return {
        "attn.q": attention + "q_proj",
        "attn.k": attention + "k_proj",
        "attn.v": attention + "v_proj",
        "attn.out": attention + "out_proj",
        "mlp.in": feed_forward + "(?:fc1|fc_gate)",
        "mlp.out": feed_forward + "fc2",
    }


# Values in the model's scaled space


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each observed context, (B, C, 1) float64, no gradients.

    Upstream adds 1e-5 to the variance in whatever unit the data has, and leaves gaps at the raw
    value 0, so that millivolts and volts would differ. Here the standard deviation alone scales,
    and only a constant series gets upstream's smallest one.
    """

    loc: Tensor
    scale: Tensor

    @classmethod
    def of(cls, values: Tensor, observed: Tensor) -> Scaling:
        """Statistics of (B, C, T) in data units."""
        import torch

        known = torch.where(observed, values.detach().double(), 0.0)
        count = observed.sum(-1, keepdim=True)
        loc = known.sum(-1, keepdim=True) / count.clamp(min=1)
        centred = torch.where(observed, known - loc, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
        largest = known.abs().amax(-1, keepdim=True)
        flat = variance.sqrt() <= _ROUNDING * largest
        return cls(loc, torch.where(flat, _FLAT, variance.sqrt()))

    def scaled(self, values: Tensor, observed: Tensor) -> Tensor:
        """Values (B, C, n) in scaled space, float32; 0 where not observed."""
        import torch

        return torch.where(observed, (values.double() - self.loc) / self.scale, 0.0).float()

    def restored(self, quantiles: Tensor) -> Tensor:
        """Scaled quantiles (B, C, Q, H) in data units, float32."""
        return (quantiles.double() * self.scale[..., None] + self.loc[..., None]).float()


@dataclass(frozen=True)
class Context:
    """The context in patches of p samples, aligned to its end."""

    values: Tensor  # (B, C, P, p), scaled; gaps carry the last observed value forward
    observed: Tensor  # (B, C, P, p) bool
    scaling: Scaling

    @classmethod
    def of(cls, batch: Batch, observed: Tensor, spec: BackboneSpec) -> Context:
        """The last `max_context` samples; `observed` (B, C, T) is the mask to use."""
        from torch.nn.functional import pad

        values, observed = (
            batch.values[..., -spec.max_context :],
            observed[..., -spec.max_context :],
        )
        scaling = Scaling.of(values, observed)
        missing = -values.shape[-1] % spec.patch
        scaled = pad(scaling.scaled(values, observed), (missing, 0))
        observed = pad(observed, (missing, 0))
        carried = _carried_forward(scaled, observed)
        return cls(
            carried.unflatten(-1, (-1, spec.patch)),
            observed.unflatten(-1, (-1, spec.patch)),
            scaling,
        )

    @property
    def shown(self) -> Tensor:
        """(B, C, P) bool: at least one sample of the patch was observed."""
        return self.observed.any(-1)


def _carried_forward(values: Tensor, observed: Tensor) -> Tensor:
    """Fills gaps with the last observed value, and those at the start with the first.

    GluonTS's `LastValueImputation`. A series without any observed value stays as it is.
    """
    import torch

    steps = torch.arange(values.shape[-1], device=values.device)
    last = torch.where(observed, steps, -1).cummax(-1).values
    first = observed.int().argmax(-1, keepdim=True)
    return values.gather(-1, torch.where(last < 0, first, last))


def target_patches(
    batch: Batch, steps: int, patch: int, scaling: Scaling
) -> tuple[Tensor, Tensor]:
    """The first `steps` of the target, scaled, and which were observed: (B, C, F, p) each."""
    from torch.nn.functional import pad

    assert batch.target is not None
    assert batch.target_observed is not None
    observed = batch.target_observed[..., :steps]
    scaled = scaling.scaled(batch.target[..., :steps], observed)
    missing = ceil(observed.shape[-1] / patch) * patch - observed.shape[-1]
    return (
        pad(scaled, (0, missing)).unflatten(-1, (-1, patch)),
        pad(observed, (0, missing)).unflatten(-1, (-1, patch)),
    )


def mean_by_series(loss: Tensor, observed: Tensor) -> Tensor:
    """Mean over each series' observed targets, then over all series: `PackedLoss.reduce_loss`.

    Args:
        loss: (B, C, F, p), finite where observed.
        observed: the same shape, bool.
    """
    import torch

    total = torch.where(observed, loss, 0.0).sum((-1, -2))
    return (total / observed.sum((-1, -2)).clamp(min=1)).mean()


# Tokens in packed rows


class PackedSite(Site):
    """Prompts and mixers in an encoder whose rows are windows.

    The encoder takes (x, attention mask, var_id=, time_id=) and returns a tensor. Prompts belong
    to a series: only its tokens see them, under variate ids of their own, before its first time.
    Tokens with a negative variate id are not seen by prompts and do not see them.

    Args:
        encoder: a `TransformerEncoder` of uni2ts.
        causal: True = prompts do not see data tokens.
    """

    def __init__(self, encoder: nn.Module, causal: bool) -> None:
        self._causal = causal
        super().__init__(encoder, encoder.layers, _unused)  # type: ignore[arg-type]  # a ModuleList

    def rows(self, series: Tensor) -> Tensor:
        """Tokens (B, C, n, D) one channel after another."""
        return series.flatten(1, 2)

    def series(self, rows: Tensor, batch: Batch) -> Tensor:
        """Tokens of packed rows as (B, C, n, D)."""
        tokens: Tensor = rows.unflatten(1, (batch.values.shape[1], -1))
        return tokens

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        import torch

        current = self.active()
        if current is None:
            return None
        embeddings, visible = args
        data = self.series(embeddings[:, : current.data_tokens], current.batch)
        prompts = current.through.prefix(current.batch, 0, data)
        _grow_positions(
            module, embeddings.shape[1] + (0 if prompts is None else prompts.shape[-2])
        )
        if prompts is None:
            return None
        each = per_series(prompts, current.batch).to(embeddings.dtype)  # (B, C, N, D)
        windows, channels, count = each.shape[:3]
        current.prompts.append(channels * count)

        variate, time = kwargs["var_id"], kwargs["time_id"]
        owner = torch.arange(channels, device=variate.device).repeat_interleave(count)
        own = owner[:, None] == variate[:, None, :]  # (B, C*N, L)
        together = (owner[:, None] == owner).expand(windows, -1, -1)
        above = torch.cat([together, own & (not self._causal)], dim=-1)
        below = torch.cat([own.mT, visible], dim=-1)
        ids = {
            "var_id": torch.cat([(channels + owner).expand(windows, -1), variate], dim=1),
            "time_id": torch.cat(
                [
                    torch.arange(count, device=time.device).repeat(channels).expand(windows, -1),
                    time + count,
                ],
                dim=1,
            ),
        }
        extended = torch.cat([self.rows(each), embeddings], dim=1)
        return (extended, torch.cat([above, below], dim=1)), kwargs | ids

    def _leave(self, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        current = self.active()
        if current is None or not current.prompts:
            return None
        return output[:, current.prompts[0] :]


def _unused(arguments: dict[str, Any], prompts: int) -> dict[str, Any]:
    """`PackedSite` extends its rows itself."""
    raise AssertionError((arguments, prompts))


def ids(windows: int, channels: int, tokens: int, device: Any) -> tuple[Tensor, Tensor]:
    """Variate and time ids of `tokens` tokens a channel: (B, C*tokens) each."""
    import torch

    variate = torch.arange(channels, device=device).repeat_interleave(tokens)
    time = torch.arange(tokens, device=device).repeat(channels)
    return variate.expand(windows, -1), time.expand(windows, -1)


def _grow_positions(encoder: nn.Module, tokens: int) -> None:
    """Extends the tables of rotary positions to rows of `tokens` tokens.

    Upstream does so in the middle of its forward, where another thread may meet a table half
    grown.
    """
    from uni2ts.module.position import RotaryProjection

    for module in encoder.modules():
        if isinstance(module, RotaryProjection):
            with _GROWING:
                module._init_freq(max_len=tokens)  # upstream has no other way
