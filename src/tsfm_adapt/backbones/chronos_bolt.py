"""Chronos-Bolt: quantile forecasts of one pass, each channel a separate series.

Ansari et al., "Chronos: Learning the Language of Time Series", arXiv 2403.07815, gives the T5
family; Bolt is its patch-based successor. Runs on the classes of `chronos-forecasting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
    eager_attention,
    licence,
)

if TYPE_CHECKING:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from torch import Tensor

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "amazon/chronos-bolt-tiny": "apache-2.0",
    "amazon/chronos-bolt-mini": "apache-2.0",
    "amazon/chronos-bolt-small": "apache-2.0",
    "amazon/chronos-bolt-base": "apache-2.0",
}

EMBEDDED_CONTEXT = 512  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)


class Config(BackboneConfig):
    """`backbone: {name: chronos_bolt}`."""

    name: Literal["chronos_bolt"] = "chronos_bolt"

    def _load(self, weights: bool) -> ChronosBolt:
        """Loads the checkpoint through upstream's own class."""
        from chronos.chronos_bolt import ChronosBoltModelForForecasting
        from transformers import T5Config

        class Strict(ChronosBoltModelForForecasting):  # type: ignore[misc]  # untyped upstream
            """Upstream does not report missing patch embeddings, it fills in random ones."""

            _keys_to_ignore_on_load_missing = None

        model = load(self, T5Config, Strict, "ChronosBoltModelForForecasting", weights)
        model.__class__ = ChronosBoltModelForForecasting  # the name that is saved with it
        return ChronosBolt(model, checkpoint=self.checkpoint)

    def _tiny(self) -> ChronosBolt:
        return ChronosBolt.tiny()


class ChronosBolt(Forecaster):
    """Chronos-Bolt; prompts and mixers act on its encoder, and prompts end there."""

    def __init__(self, model: ChronosBoltModelForForecasting, checkpoint: str) -> None:
        from torch import nn

        from tsfm_adapt.backbones._through import Site

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        settings = model.chronos_config
        self.spec = BackboneSpec(
            name="chronos_bolt",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.model_dim,
            layers=len(model.encoder.block),
            patch=settings.input_patch_size,
            max_context=settings.context_length,
            joint_channels=False,
            causal=False,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._levels = tuple(float(level) for level in settings.quantiles)
        self._steps_per_pass = int(settings.prediction_length)
        detach_statistics(model.instance_norm)
        self._site = Site(model.encoder, model.encoder.block, extend)

    @classmethod
    def tiny(cls, seed: int = 0) -> ChronosBolt:
        """Two layers of width 32 on either side; nine quantiles, 64 steps a pass."""
        import torch
        from chronos.chronos_bolt import ChronosBoltModelForForecasting
        from transformers import T5Config

        config = T5Config(
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            initializer_factor=0.05,  # upstream's 1.0 makes huge random forecasts
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            architectures=["ChronosBoltModelForForecasting"],
        )
        config.chronos_pipeline_class = "ChronosBoltPipeline"
        config.chronos_config = {
            "context_length": 256,
            "prediction_length": 64,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            "use_reg_token": True,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(ChronosBoltModelForForecasting(config), TINY)

    def sites(self) -> Mapping[Role, str]:
        """The encoder's self-attention, the decoder's cross-attention, and both feed-forwards.

        The decoder's self-attention is left out: it sees one token, so its q and k get no
        gradient. The names match with and without our `model.`, so that a saved adapter fits
        upstream's own class too.
        """
        attention = (
            r"(?:model\.)?(?:encoder\.block\.\d+\.layer\.0\.SelfAttention"
            r"|decoder\.block\.\d+\.layer\.1\.EncDecAttention)\."
        )
        feed_forward = (
            r"(?:model\.)?(?:encoder\.block\.\d+\.layer\.1|decoder\.block\.\d+\.layer\.2)"
            r"\.DenseReluDense\."
        )
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
            "from chronos import ChronosBoltPipeline\n"
            'model = ChronosBoltPipeline.from_pretrained("FOLDER")'
        )

    def for_graph(self) -> None:
        """Plain attention: the fused form has no counterpart in a graph."""
        eager_attention(self.network)

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Upstream's pinball loss: mean over levels and series, sum over the horizon."""
        target = target_rows(batch, self._steps_per_pass)
        with self._running(through, batch):
            loss: Tensor = self.model(context=rows(batch), target=target).loss
        return loss

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Quantiles at the model's levels.

        Beyond one pass, each quantile is fed back as a path of its own, and the quantiles of all
        paths are pooled with equal weight: the recursion of `ChronosBoltPipeline.predict`.
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
        """Context tokens after the last block of the encoder, without the register.

        Tokens without an observed sample are 0: upstream computes them but lets no other see them.
        """
        with self._running(through, batch):
            hidden, _, _, visible = self.model.encode(context=rows(batch))
        tokens, shape = data_tokens(batch, self.spec), batch.values.shape[:2]
        states = hidden[:, :tokens].unflatten(0, shape)
        shown = visible[:, :tokens].bool().unflatten(0, shape)
        return Encoded(states.masked_fill(~shown[..., None], 0.0), shown)

    def _one_pass(self, batch: Batch, through: Through) -> Tensor:
        """Quantiles (B, C, Q, h) of one pass."""
        with self._running(through, batch):
            quantiles: Tensor = self.model(context=rows(batch)).quantile_preds
        return quantiles.reshape(*batch.values.shape[:2], *quantiles.shape[1:])

    def _running(self, through: Through, batch: Batch) -> AbstractContextManager[None]:
        return self._site.run(through, batch, data_tokens(batch, self.spec))
