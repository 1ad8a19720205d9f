"""MOMENT: masked reconstruction of patches, each channel a separate series.

Goswami et al., "MOMENT: A Family of Open Time-series Foundation Models", arXiv 2402.03885. The
network is written here, since the releases of `momentfm` pin old versions of what the other
families need; the published weights load as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.backbones._checkpoints import complete, locate, unavailable
from tsfm_adapt.backbones._rollout import continued
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
    eager_attention,
    licence,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones._nets.moment import MomentNet
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "AutonLab/MOMENT-1-small": "mit",
    "AutonLab/MOMENT-1-base": "mit",
    "AutonLab/MOMENT-1-large": "mit",
}

EMBEDDED_CONTEXT = 512  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast", "impute")

# What upstream saves beside its parameters: the table of positions, an unused vocabulary.
NO_PARAMETERS = ("patch_embedding.position_embedding.pe", "encoder.embed_tokens.weight")

PartialPatches = Literal["fill", "hide"]


class Config(BackboneConfig):
    """`backbone: {name: moment}`."""

    name: Literal["moment"] = "moment"
    partial_patches: PartialPatches = Field(
        default="fill",
        description="a patch of 8 samples with gaps: 'fill' them with the last observed value "
        "(else the next), or 'hide' the patch whole, as upstream does",
    )

    def _load(self, weights: bool) -> Moment:
        """Loads config.json and model.safetensors, as `momentfm` saves them."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers.utils.hub import cached_file

        source = locate(self.name, self.checkpoint)
        try:
            path = cached_file(source, "config.json", revision=self.revision)
            net = _unfilled(self.checkpoint, json.loads(Path(path).read_text()))
            if weights:
                path = cached_file(source, "model.safetensors", revision=self.revision)
                _fill(net, load_file(path), self.checkpoint)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
            raise unavailable(self.name, self.checkpoint, error) from error
        return Moment(net, checkpoint=self.checkpoint, partial_patches=self.partial_patches)

    def _tiny(self) -> Moment:
        return Moment.tiny(partial_patches=self.partial_patches)


def _unfilled(checkpoint: str, config: Any) -> MomentNet:  # Any: whatever the JSON holds
    """The network on the meta device."""
    import torch

    from tsfm_adapt.backbones._nets.moment import MomentNet

    try:
        with torch.device("meta"):
            return MomentNet(config)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a moment model that can be built: "
            f"{reason}. Give one such as AutonLab/MOMENT-1-small, or the backbone that fits it."
        ) from error


def _fill(net: MomentNet, tensors: dict[str, Tensor], checkpoint: str) -> None:
    """Loads weights, float32, into a network on the meta device."""
    own, constants = net.state_dict(), net.constants()
    unknown = sorted(tensors.keys() - own.keys())
    if unknown:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' has {len(unknown)} weights that its config.json "
            f"does not mention, first {unknown[0]}. Give a checkpoint with the pretrained "
            "reconstruction head and nothing beside it."
        )
    shared = own.keys() & tensors.keys()
    report = {
        "missing_keys": sorted(own.keys() - tensors.keys() - constants.keys()),
        "mismatched_keys": sorted(k for k in shared if own[k].shape != tensors[k].shape),
    }
    complete(checkpoint, report)
    filled = constants | {name: tensor.float() for name, tensor in tensors.items()}
    net.load_state_dict(filled, assign=True)


@dataclass(frozen=True)
class _Context:
    """R = B*C series, scaled; the end of the context is the end of the last patch."""

    patches: Tensor  # (R, P, L), gaps filled
    visible: Tensor  # (R, P) bool: shown as values, not as a mask token
    measured: Tensor  # (R, P) bool: at least one sample was observed
    mean: Tensor  # (R, 1)
    deviation: Tensor  # (R, 1)


class Moment(Forecaster, Reconstructor):
    """MOMENT; forecasts are reconstructions of a hidden end of its window.

    Context and horizon share the window of `max_context` samples, and a pass hides at most half
    of it: a long context loses its oldest patches to the horizon, and a horizon beyond half a
    window is forecast in several passes, each fed to the next. Statistics are those of the whole
    context, as upstream's `short_forecast` has them.

    Patches without an observed sample are mask tokens, as in pretraining; what becomes of those
    with some is `partial_patches`. The first patch of a context that is no whole number of
    patches has gaps too.
    """

    def __init__(
        self, model: MomentNet, checkpoint: str, partial_patches: PartialPatches = "fill"
    ) -> None:
        from torch import nn

        from tsfm_adapt.backbones._through import Site

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        self.spec = BackboneSpec(
            name="moment",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.width,
            layers=len(model.encoder.block),
            patch=model.patch,
            max_context=model.window * model.patch,
            joint_channels=False,
            causal=False,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._partial_patches = partial_patches
        self._steps_per_pass = model.window // 2 * model.patch
        self._site = Site(model.encoder, model.encoder.block, _extend)

    @classmethod
    def tiny(cls, seed: int = 0, partial_patches: PartialPatches = "fill") -> Moment:
        """Two layers of width 32; 256 samples a window, so 128 steps a pass."""
        import torch

        from tsfm_adapt.backbones._nets.moment import MomentNet

        t5 = {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 8,
            "feed_forward_proj": "gated-gelu",
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = MomentNet({"seq_len": 256, "patch_len": 8, "t5_config": t5})
        return cls(net, TINY, partial_patches)

    def sites(self) -> Mapping[Role, str]:
        """Self-attention and the gated feed-forward; `mlp.in` is the gate and what it gates.

        The names match with and without our `model.`.
        """
        block = r"(?:model\.)?encoder\.block\.\d+\.layer\."
        return {
            "attn.q": block + r"0\.SelfAttention\.q",
            "attn.k": block + r"0\.SelfAttention\.k",
            "attn.v": block + r"0\.SelfAttention\.v",
            "attn.out": block + r"0\.SelfAttention\.o",
            "mlp.in": block + r"1\.DenseReluDense\.wi(?:_[01])?",
            "mlp.out": block + r"1\.DenseReluDense\.wo",
        }

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from momentfm import MOMENTPipeline\n"
            'task = {"task_name": "reconstruction"}\n'
            'model = MOMENTPipeline.from_pretrained("FOLDER", model_kwargs=task)\n'
            "model.init()"
        )

    def for_graph(self) -> None:
        """Plain attention: the fused form has no counterpart in a graph."""
        eager_attention(self.network)

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Mean squared error of one pass, in units of the context's standard deviation."""
        import torch

        assert batch.target is not None
        assert batch.target_observed is not None
        target = batch.target.flatten(0, 1)[:, : self._steps_per_pass]
        observed = batch.target_observed.flatten(0, 1)[:, : self._steps_per_pass]
        context = self._context(batch, batch.observed)
        predicted = self._future(batch, context, target.shape[-1], through)
        scaled = (target.float() - context.mean) / context.deviation
        # Twice `where`: a target that is not observed may overflow, and 0 * inf is NaN backwards.
        error = torch.where(observed, predicted - torch.where(observed, scaled, 0.0), 0.0)
        return error.square().sum() / observed.sum().clamp(min=1)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """A point forecast, as the quantile 0.5."""
        import torch

        from tsfm_adapt.forecasts import QuantileForecast

        pieces: list[Tensor] = []  # (B, C, h) each
        unrolled = batch
        for done in range(0, steps, self._steps_per_pass):
            if pieces:
                path = pieces[-1].detach()[:, None]  # (B, 1, C, h)
                unrolled = continued(unrolled, path, self.spec.max_context)
            context = self._context(unrolled, unrolled.observed)
            ahead = min(steps - done, self._steps_per_pass)
            scaled = self._future(unrolled, context, ahead, through)
            pieces.append(_restored(scaled, context, batch))
        return QuantileForecast(torch.cat(pieces, dim=-1)[:, :, None], (0.5,))

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context tokens after the last block."""
        context = self._context(batch, batch.observed)
        shape, tokens = batch.values.shape[:2], context.patches.shape[1]
        with self._site.run(through, batch, tokens):
            states = self.model.encode(context.patches, context.visible)
        measured = context.measured.unflatten(0, shape)
        return Encoded(states.unflatten(0, shape).masked_fill(~measured[..., None], 0.0), measured)

    def reconstruct(self, batch: Batch, hidden: Tensor, through: Through = PLAIN) -> Forecast:
        """The pretrained head's estimate, one pass, as the quantile 0.5."""
        from tsfm_adapt.forecasts import QuantileForecast

        samples = batch.values.shape[-1]
        assert samples <= self.spec.max_context, (samples, self.spec.max_context)
        batch = replace(batch, observed=batch.observed & ~hidden)  # prompts see no more either
        context = self._context(batch, batch.observed)
        with self._site.run(through, batch, context.patches.shape[1]):
            scaled = self.model(context.patches, context.visible).flatten(1)[:, -samples:]
        return QuantileForecast(_restored(scaled, context, batch)[:, :, None], (0.5,))

    def _context(self, batch: Batch, shown: Tensor) -> _Context:
        """The last `max_context` samples as network inputs; `shown` (B, C, T) is the mask."""
        import torch
        from torch.nn import functional as F

        from tsfm_adapt.backbones._nets.moment import carried, statistics

        patch = self.spec.patch
        values = batch.values.flatten(0, 1)[:, -self.spec.max_context :].float()
        shown = shown.flatten(0, 1)[:, -self.spec.max_context :]
        mean, deviation = statistics(values, shown)
        scaled = torch.where(shown, (values - mean) / deviation, 0.0)
        padding = (-values.shape[-1] % patch, 0)
        scaled, shown = F.pad(scaled, padding), F.pad(shown, padding)
        by_patch = shown.unflatten(-1, (-1, patch))
        measured = by_patch.any(-1)
        return _Context(
            patches=carried(scaled, shown).unflatten(-1, (-1, patch)),
            visible=measured if self._partial_patches == "fill" else by_patch.all(-1),
            measured=measured,
            mean=mean,
            deviation=deviation,
        )

    def _future(self, batch: Batch, context: _Context, steps: int, through: Through) -> Tensor:
        """The scaled estimate (R, steps) of what follows the context, of one pass."""
        from torch.nn import functional as F

        ahead = -(-steps // self.spec.patch)
        kept = self.model.window - ahead  # what the horizon leaves of the context
        patches, visible = context.patches[:, -kept:], context.visible[:, -kept:]
        with self._site.run(through, batch, patches.shape[1]):
            scaled: Tensor = self.model(
                F.pad(patches, (0, 0, 0, ahead)), F.pad(visible, (0, ahead))
            )
        return scaled[:, -ahead:].flatten(1)[:, :steps]


def _restored(scaled: Tensor, context: _Context, batch: Batch) -> Tensor:
    """Scaled samples (R, h) in the data's units (B, C, h)."""
    restored = scaled * context.deviation + context.mean
    return restored.reshape(*batch.values.shape[:2], -1)


def _extend(arguments: dict[str, Any], prompts: int) -> dict[str, Any]:  # noqa: ARG001
    """Nothing to extend: all tokens see all, and T5's positions are relative."""
    return arguments
