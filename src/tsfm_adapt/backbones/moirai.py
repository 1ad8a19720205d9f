"""Moirai 1.x: mixture distributions of masked patches, all channels of a window in one sequence.

Woo et al., "Unified Training of Universal Time Series Forecasting Transformers", arXiv
2402.02592. Runs on the classes of `uni2ts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

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
from tsfm_adapt.backbones.base import (
    PLAIN,
    TINY,
    BackboneConfig,
    BackboneSpec,
    Encoded,
    Forecaster,
    NativeTask,
    Reconstructor,
    Role,
    Through,
    licence,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor
    from uni2ts.distribution.mixture import Mixture
    from uni2ts.model.moirai.module import MoiraiModule

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

REQUIRES = ("uni2ts",)
EXTRA = "moirai"

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "Salesforce/moirai-1.0-R-small": "cc-by-nc-4.0",
    "Salesforce/moirai-1.0-R-base": "cc-by-nc-4.0",
    "Salesforce/moirai-1.0-R-large": "cc-by-nc-4.0",
    "Salesforce/moirai-1.1-R-small": "cc-by-nc-4.0",
    "Salesforce/moirai-1.1-R-base": "cc-by-nc-4.0",
    "Salesforce/moirai-1.1-R-large": "cc-by-nc-4.0",
}

EMBEDDED_CONTEXT = 1024  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast", "impute")
NO_GRAPH = "upstream's layers take their shapes from the values"  # ONNX

# Levels at which the mixture is inverted; those of Chronos-2.
LEVELS = (0.01, *(twentieth / 20 for twentieth in range(1, 20)), 0.99)

# The largest patch that "auto" chooses: upstream trains hourly data in patches of 32 and 64, data
# by the minute in 32 to 128, and faster data in 64 and 128.
_AUTO = 32


_SETTINGS = (
    "distr_output",
    "d_model",
    "num_layers",
    "patch_sizes",
    "max_seq_len",
    "attn_dropout_p",
    "dropout_p",
)


class Config(BackboneConfig):
    """`backbone: {name: moirai}`."""

    name: Literal["moirai"] = "moirai"
    patch_size: Literal["auto", 8, 16, 32, 64, 128] = Field(
        default="auto",
        description="samples a token; auto = 32, or the checkpoint's largest below it",
    )

    def _load(self, weights: bool) -> Moirai:
        """Loads the checkpoint into upstream's own class."""
        from uni2ts.model.moirai.module import MoiraiModule, decode_distr_output

        def construct(settings: dict[str, JsonValue]) -> MoiraiModule:
            known: Any = {n: settings[n] for n in (*_SETTINGS, "scaling") if n in settings}
            return MoiraiModule(
                **known | {"distr_output": decode_distr_output(settings["distr_output"])}
            )

        # Moirai-MoE has d_ff beside all settings of this class.
        model = load(self, _SETTINGS, ["d_ff"], construct, weights)
        return Moirai(model, checkpoint=self.checkpoint, patch_size=self.patch_size)

    def _tiny(self) -> Moirai:
        return Moirai.tiny(patch_size=self.patch_size)


class Moirai(Forecaster, Reconstructor):
    """Moirai 1.x with one window as one packed row.

    Patches without an observed sample are invisible. Of the rest, gaps carry the last measured
    value forward: upstream's gaps are raw zeros, far outside the range of most biosignals.

    Raises:
        RecipeError: the checkpoint has no patches of that size, or predicts no mixture.
    """

    no_graph = NO_GRAPH

    def __init__(
        self, model: MoiraiModule, checkpoint: str, patch_size: int | Literal["auto"] = "auto"
    ) -> None:
        from torch import nn

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        quiet(model)
        patch = _patch(tuple(model.patch_sizes), patch_size)
        if not hasattr(model.distr_output, "components") or not model.scaling:
            raise RecipeError(
                f"backbone.checkpoint: '{checkpoint}' must scale its inputs and predict a "
                f"mixture; it has scaling {model.scaling} and predicts by "
                f"{type(model.distr_output).__name__}. Use another checkpoint."
            )
        self.spec = BackboneSpec(
            name="moirai",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.d_model,
            layers=model.num_layers,
            patch=patch,
            max_context=model.max_seq_len * patch,
            joint_channels=True,
            causal=False,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._site = PackedSite(model.encoder, causal=False)

    @classmethod
    def tiny(cls, seed: int = 0, patch_size: int | Literal["auto"] = "auto") -> Moirai:
        """Two layers of width 64, patches of 8 and 16, the published mixture."""
        import torch
        from uni2ts.distribution import (
            LogNormalOutput,
            MixtureOutput,
            NegativeBinomialOutput,
            NormalFixedScaleOutput,
            StudentTOutput,
        )
        from uni2ts.model.moirai.module import MoiraiModule

        components = [
            StudentTOutput(),
            NormalFixedScaleOutput(),
            NegativeBinomialOutput(),
            LogNormalOutput(),
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = MoiraiModule(
                distr_output=MixtureOutput(components),
                d_model=64,
                num_layers=2,
                patch_sizes=(8, 16),
                max_seq_len=16,
                attn_dropout_p=0.0,
                dropout_p=0.0,
            )
            return cls(model, TINY, patch_size)

    def sites(self) -> Mapping[Role, str]:
        """Attention over time and channels at once, and the gated feed-forward."""
        return sites()

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from uni2ts.model.moirai import MoiraiModule\n"
            'model = MoiraiModule.from_pretrained("FOLDER")'
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Negative log likelihood in scaled space, of every horizon in one pass.

        `PackedNLLLoss` without the logarithm of the scale, which no weight can change: mean over
        each series' observed targets, then over all series.
        """
        import torch

        from tsfm_adapt.backbones._nets.mixture import log_likelihood

        assert batch.target is not None
        context = Context.of(batch, batch.observed, self.spec)
        target, observed = target_patches(
            batch, batch.target.shape[-1], self.spec.patch, context.scaling
        )
        _, states = self._states(batch, context, target.shape[2], None, through)
        with torch.autocast(states.device.type, enabled=False):
            likelihood = log_likelihood(self._mixture(states), target)
        return mean_by_series(-likelihood, observed)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Exact quantiles of the mixture of each step, all steps in one pass.

        Upstream draws independent samples for each step, which hold no more information. Horizons
        beyond `max_context` continue the positions past those of pretraining.
        """
        from tsfm_adapt.forecasts import QuantileForecast

        context = Context.of(batch, batch.observed, self.spec)
        future = ceil(steps / self.spec.patch)
        _, states = self._states(batch, context, future, None, through)
        return QuantileForecast(self._quantiles(states, context)[..., :steps], LEVELS)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context tokens after the last norm, without any token of the future."""
        context = Context.of(batch, batch.observed, self.spec)
        states, _ = self._states(batch, context, 0, None, through)
        return Encoded(states.masked_fill(~context.shown[..., None], 0.0), context.shown)

    def reconstruct(self, batch: Batch, hidden: Tensor, through: Through = PLAIN) -> Forecast:
        """Exact quantiles of the mixture of each context sample.

        Every patch is predicted from the others, shown or not: in one pass every other patch is
        masked, in a second pass the rest, and a patch without a shown sample in both. A hidden
        sample of a patch that is visible to others carries the last shown value forward.
        """
        import torch

        from tsfm_adapt.forecasts import QuantileForecast

        batch = replace(batch, observed=batch.observed & ~hidden)  # prompts see no more either
        context = Context.of(batch, batch.observed, self.spec)
        shown = context.shown
        even = torch.arange(shown.shape[-1], device=shown.device) % 2 == 0
        first, second = (
            self._states(batch, context, 0, turn | ~shown, through)[0] for turn in (even, ~even)
        )
        states = torch.where(even[:, None], first, second)
        samples = min(batch.values.shape[-1], self.spec.max_context)
        return QuantileForecast(self._quantiles(states, context)[..., -samples:], LEVELS)

    def _states(
        self,
        batch: Batch,
        context: Context,
        future: int,
        masked: Tensor | None,
        through: Through,
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of the context (B, C, P, D) and of the horizon (B, C, F, D).

        Args:
            batch: the windows that pass.
            context: of that batch.
            future: F, masked tokens a channel after the context.
            masked: (B, C, P) which patches of the context are predicted; these are visible.
                None = none, and those without an observed sample are invisible.
            through: adapters that take part.
        """
        import torch
        from torch.nn.functional import pad

        windows, channels, tokens, patch = context.values.shape
        device = context.values.device
        wide = pad(context.values.flatten(1, 2), (0, max(self.model.patch_sizes) - patch))
        sizes = torch.full(wide.shape[:2], patch, device=device)
        embedded = self.model.in_proj(wide, sizes)
        blank = self.model.mask_encoding.weight
        if masked is None:
            visible = context.shown.flatten(1, 2)
        else:
            visible = torch.ones_like(masked).flatten(1, 2)
            embedded = torch.where(masked.flatten(1, 2)[..., None], blank, embedded)
        ahead = blank.to(embedded.dtype).expand(windows, channels * future, -1)

        of_context = ids(windows, channels, tokens, device)
        of_future = ids(windows, channels, future, device)
        variate = torch.cat([of_context[0].where(visible, -1), of_future[0]], dim=1)
        time = torch.cat([of_context[1], of_future[1] + tokens], dim=1)
        seen = variate >= 0
        with self._site.run(through, batch, channels * tokens):
            states = self.model.encoder(
                torch.cat([embedded, ahead], dim=1),
                seen[:, :, None] == seen[:, None],  # the invisible see one another
                var_id=variate,
                time_id=time,
            )
        past, following = states.split([channels * tokens, channels * future], dim=1)
        return (
            past.unflatten(1, (channels, tokens)),
            following.unflatten(1, (channels, future)) if future else following[:, None],
        )

    def _mixture(self, states: Tensor) -> Mixture:
        """The mixture (..., p) that tokens (..., D) predict, scaled; float32."""
        import torch
        from torch.utils._pytree import tree_map

        patch = self.spec.patch
        sizes = torch.full(states.shape[:-1], patch, device=states.device)
        parameters = self.model.param_proj(states.float(), sizes)
        parts = {
            "weights_logits": parameters["weights_logits"][..., :patch, :],
            "components": tree_map(lambda each: each[..., :patch], parameters["components"]),
        }
        return self.model.distr_output.distribution(parts, validate_args=False)

    def _quantiles(self, states: Tensor, context: Context) -> Tensor:
        """Quantiles (B, C, Q, n*p), data units, that tokens (B, C, n, D) predict."""
        import torch

        from tsfm_adapt.backbones._nets.mixture import quantiles

        with torch.autocast(states.device.type, enabled=False):
            scaled = quantiles(self._mixture(states), torch.tensor(LEVELS))  # (Q, B, C, n, p)
        return context.scaling.restored(scaled.flatten(-2).movedim(0, 2))


def _patch(known: tuple[int, ...], chosen: int | Literal["auto"]) -> int:
    """The patch size in samples, one of those that the checkpoint has."""
    if chosen == "auto":
        return max((size for size in known if size <= _AUTO), default=min(known))
    if chosen not in known:
        raise RecipeError(
            f"backbone.patch_size: {chosen} is none of the checkpoint's patch sizes "
            f"{', '.join(map(str, known))}. Use one of them, or auto."
        )
    return chosen
