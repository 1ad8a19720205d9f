"""Chronos-T5: forecasts as sequences of tokens, each channel a separate series.

Ansari et al., "Chronos: Learning the Language of Time Series", arXiv 2403.07815. A sample divided
by the mean absolute value of its context falls into one of 4093 bins, and a T5 model of
`transformers` continues the sequence; the tokenizer is that of `chronos-forecasting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.backbones._chronos import (
    data_tokens,
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
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import T5ForConditionalGeneration

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "amazon/chronos-t5-tiny": "apache-2.0",
    "amazon/chronos-t5-mini": "apache-2.0",
    "amazon/chronos-t5-small": "apache-2.0",
    "amazon/chronos-t5-base": "apache-2.0",
    "amazon/chronos-t5-large": "apache-2.0",
}

EMBEDDED_CONTEXT = 512  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)
NO_GRAPH = "its forecasts are drawn token by token"  # ONNX

Prediction = Literal["sampled", "expected"]

_NO_LABEL = -100  # what cross-entropy ignores


class Config(BackboneConfig):
    """`backbone: {name: chronos_t5}`."""

    name: Literal["chronos_t5"] = "chronos_t5"
    samples: int = Field(default=20, ge=1, description="sample paths of a sampled forecast")
    prediction: Prediction = Field(
        default="sampled",
        description="'sampled' draws sample paths, as upstream does; 'expected' follows one "
        "deterministic path, each step feeding back its expected value: repeatable and many times "
        "cheaper, but later steps ignore the spread of earlier ones, so that their prediction "
        "intervals are too narrow",
    )

    def _load(self, weights: bool) -> ChronosT5:
        """Loads the checkpoint through upstream's own class."""
        from transformers import T5Config, T5ForConditionalGeneration

        model = load(
            self, T5Config, T5ForConditionalGeneration, "T5ForConditionalGeneration", weights
        )
        _check(self.checkpoint, model.config)
        return ChronosT5(model, self.checkpoint, self.samples, self.prediction)

    def _tiny(self) -> ChronosT5:
        return ChronosT5.tiny(samples=self.samples, prediction=self.prediction)


class ChronosT5(Forecaster):
    """Chronos-T5; prompts and mixers act on its encoder, and prompts end there.

    Args:
        model: a T5 whose config has a `chronos_config`.
        checkpoint: as the recipe has it.
        samples: sample paths of a forecast.
        prediction: 'sampled' or 'expected', see `forecast`.
    """

    no_graph = NO_GRAPH

    def __init__(
        self,
        model: T5ForConditionalGeneration,
        checkpoint: str,
        samples: int = 20,
        prediction: Prediction = "sampled",
    ) -> None:
        from chronos import ChronosConfig
        from torch import nn

        from tsfm_adapt.backbones._nets.chronos_t5 import Bins, PathDecoder
        from tsfm_adapt.backbones._through import Site

        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        self.samples = samples
        self.prediction = prediction
        settings = ChronosConfig(**model.config.chronos_config)
        self.spec = BackboneSpec(
            name="chronos_t5",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=model.config.d_model,
            layers=len(model.encoder.block),
            patch=1,
            max_context=settings.context_length,
            joint_channels=False,
            causal=False,
            native_tasks=frozenset(NATIVE_TASKS),
            input_gradients=False,  # a token is the number of a bin
        )
        self._tokenizer = settings.create_tokenizer()
        self._bins = Bins(settings, self._tokenizer)
        self._decoder = PathDecoder(model)
        self._steps_per_pass = int(settings.prediction_length)
        self._site = Site(model.encoder, model.encoder.block, extend)

    @classmethod
    def tiny(
        cls, seed: int = 0, samples: int = 20, prediction: Prediction = "sampled"
    ) -> ChronosT5:
        """Two layers of width 32 on either side; 1021 bins, 24 steps a pass."""
        import torch
        from transformers import T5Config, T5ForConditionalGeneration

        config = T5Config(
            vocab_size=1024,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            architectures=["T5ForConditionalGeneration"],
        )
        config.chronos_pipeline_class = "ChronosPipeline"
        config.chronos_config = {
            "tokenizer_class": "MeanScaleUniformBins",
            "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
            "context_length": 256,
            "prediction_length": 24,
            "n_tokens": 1024,
            "n_special_tokens": 2,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "use_eos_token": True,
            "model_type": "seq2seq",
            "num_samples": 20,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(T5ForConditionalGeneration(config), TINY, samples, prediction)

    def sites(self) -> Mapping[Role, str]:
        """Self-attention of both stacks, cross-attention, and both feed-forwards.

        Never `lm_head`: its weight is that of the embeddings, which an update of the one would
        change in the other. The names match with and without our `model.`, so that a saved
        adapter fits upstream's own class too.
        """
        attention = (
            r"(?:model\.)?(?:(?:encoder|decoder)\.block\.\d+\.layer\.0\.SelfAttention"
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
            "mlp.in": feed_forward + r"wi(?:_[01])?",  # two where the activation is gated
            "mlp.out": feed_forward + "wo",
        }

    def save(self, folder: Path) -> str:
        """As upstream saves it."""
        self.model.save_pretrained(folder)
        return (
            "from chronos import ChronosPipeline\n"
            'model = ChronosPipeline.from_pretrained("FOLDER")'
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Upstream's cross-entropy of the tokens: mean over all observed steps of all series.

        A target of a whole pass ends in EOS, which is a label too, as in upstream's training; a
        shorter one does not, nor does one of which nothing was observed. What was not observed is
        fed to the decoder as padding.
        """
        from torch.nn.functional import cross_entropy

        states, visible, scale = self._encoded(batch, through)
        labels = self._labels(batch, scale)
        logits = self.model(
            encoder_outputs=(states,),
            attention_mask=visible,
            decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(labels),
            use_cache=False,
        ).logits
        total = cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=_NO_LABEL,
            reduction="sum",
        )
        return total / (labels != _NO_LABEL).sum().clamp(min=1)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Sample paths, or quantiles along the expected path.

        - sampled: `samples` paths drawn with the checkpoint's temperature, top-k and top-p from
          torch's global generator, in upstream's order. Beyond one pass, the median of the paths
          joins the context: the recursion of `ChronosPipeline.predict`.
        - expected: one path, each step feeding back the token of its expected value; the quantiles
          are those of each step's whole distribution. Beyond one pass, the path joins the context.

        No gradient passes through a token. That of every value is therefore the gradient of its
        step's expected value, given the tokens before it.
        """
        import torch

        from tsfm_adapt.backbones._nets.chronos_t5 import LEVELS
        from tsfm_adapt.forecasts import QuantileForecast, SampleForecast

        one_pass = self._sampled if self.prediction == "sampled" else self._expected
        pieces: list[Tensor] = []  # (S, B, C, h) or (Q, B, C, h)
        passing, remaining = batch, steps
        while True:
            piece, middle = one_pass(passing, min(remaining, self._steps_per_pass), through)
            pieces.append(piece)
            remaining -= piece.shape[-1]
            if remaining <= 0:
                break
            passing = continued(passing, middle[:, None], self.spec.max_context)
        values = torch.cat(pieces, dim=-1)
        if self.prediction == "sampled":
            return SampleForecast(values)
        return QuantileForecast(values.movedim(0, 2), LEVELS)

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Context tokens after the last block of the encoder, without EOS; one a sample."""
        hidden, visible, _ = self._encoded(batch, through)
        tokens, shape = data_tokens(batch, self.spec), batch.values.shape[:2]
        states = hidden[:, :tokens].unflatten(0, shape)
        shown = visible[:, :tokens].unflatten(0, shape)
        return Encoded(states.masked_fill(~shown[..., None], 0.0), shown)

    def _encoded(self, batch: Batch, through: Through) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's states (B*C, T+1, D), which of them are visible, and the scale (B*C,).

        Without an observed sample only EOS is visible and the scale is 1. The scale stays on the
        CPU, where upstream's tokenizer works.
        """
        encoder = self.model.encoder
        device = batch.values.device
        ids, visible, scale = self._tokenizer.context_input_transform(rows(batch).detach().cpu())
        visible = visible.to(device)
        with self._site.run(through, batch, data_tokens(batch, self.spec)):
            states: Tensor = encoder(
                inputs_embeds=encoder.embed_tokens(ids.to(device)), attention_mask=visible
            ).last_hidden_state
        return states, visible, scale

    def _labels(self, batch: Batch, scale: Tensor) -> Tensor:
        """Tokens of the target (B*C, H), and EOS after a whole pass."""
        from torch.nn.functional import pad

        target = target_rows(batch, self._steps_per_pass).cpu()
        steps, whole = target.shape[1], self._steps_per_pass
        padded = pad(target, (0, whole - steps), value=float("nan"))
        ids, known = self._tokenizer.label_input_transform(padded, scale)
        known[:, whole:] &= known[:, :whole].any(dim=1, keepdim=True)  # EOS
        labels: Tensor = ids.masked_fill(~known, _NO_LABEL)
        return (labels if steps == whole else labels[:, :steps]).to(batch.values.device)

    def _sampled(self, batch: Batch, steps: int, through: Through) -> tuple[Tensor, Tensor]:
        """Paths (S, B, C, h) of one pass, and their median (B, C, h), detached."""
        import torch

        states, visible, scale = self._encoded(batch, through)
        with torch.no_grad():
            tokens = self._decoder.rolled_out(
                states, visible, steps, self.samples, self._bins.draw
            )
            paths = self._bins.values(tokens, scale).to(states.device)
        middle = paths.median(dim=1).values  # of an even number the lower one, as upstream
        if self._learns(states):
            expected = self._bins.mean(
                self._bins.probabilities(self._decoder.retraced(tokens, states, visible))
            )
            paths = paths + _gradient_of(expected * scale.to(states.device)[:, None, None])
        shape = batch.values.shape[:2]
        return paths.transpose(0, 1).unflatten(1, shape), middle.unflatten(0, shape)

    def _expected(self, batch: Batch, steps: int, through: Through) -> tuple[Tensor, Tensor]:
        """Quantiles (Q, B, C, h) of one pass, and expected values (B, C, h), detached."""
        import torch

        states, visible, scale = self._encoded(batch, through)
        with torch.no_grad():
            tokens = self._decoder.rolled_out(states, visible, steps, 1, self._bins.nearest)
        bins = self._bins.probabilities(self._decoder.retraced(tokens, states, visible))
        unit = scale.to(bins.device)[:, None]
        expected = self._bins.mean(bins)[:, 0] * unit  # (rows, h)
        quantiles = self._bins.quantiles(bins[:, 0].detach())  # (rows, h, Q)
        values = (quantiles * unit[..., None]).movedim(-1, 0) + _gradient_of(expected)
        shape = batch.values.shape[:2]
        return values.unflatten(1, shape), expected.detach().unflatten(0, shape)

    def _learns(self, states: Tensor) -> bool:
        """Whether gradients are needed; without, the second decoder pass is skipped."""
        import torch

        return torch.is_grad_enabled() and (
            states.requires_grad or any(p.requires_grad for p in self.network.parameters())
        )


def _check(checkpoint: str, config: Any) -> None:
    """Raises unless a T5 config defines how time series become tokens.

    Raises:
        RecipeError: it is a T5 of text, of another tokenizer, or inconsistent.
    """
    from chronos import ChronosConfig

    stated = getattr(config, "chronos_config", None)
    if not isinstance(stated, dict):
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a chronos_t5 model: its config.json has "
            "no chronos_config, so it is a T5 of text. Give an amazon/chronos-t5 checkpoint."
        )
    try:
        settings = ChronosConfig(**stated)
    except (TypeError, AssertionError) as error:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a chronos_t5 model: its chronos_config "
            f"does not fit ({error}). Write the folder again with save_pretrained."
        ) from error
    expected = {"tokenizer_class": "MeanScaleUniformBins", "model_type": "seq2seq"}
    wrong = [f"{name} {stated[name]}" for name, value in expected.items() if stated[name] != value]
    if settings.n_tokens > config.vocab_size:
        wrong.append(f"n_tokens {settings.n_tokens} for a vocabulary of {config.vocab_size}")
    if wrong:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a chronos_t5 model: its chronos_config "
            f"has {', '.join(wrong)}. Give an amazon/chronos-t5 checkpoint."
        )


def _gradient_of(value: Tensor) -> Tensor:
    """0 in value, with the gradient of `value`."""
    return value - value.detach()
