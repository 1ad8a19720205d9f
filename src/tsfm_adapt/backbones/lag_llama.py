"""Lag-Llama: sample paths drawn step by step, a Student-t for each sample from lagged ones.

Rasul et al., "Lag-Llama: Towards Foundation Models for Probabilistic Time Series Forecasting",
arXiv 2310.08278. The network is written here, since upstream is not a package and does not run
beside current gluonts; the published `lag-llama.ckpt` loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    Role,
    Through,
    licence,
    overwritten,
    per_series,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones._nets.lag_llama import LagLlamaNet
    from tsfm_adapt.backbones._nets.lag_llama_futures import Start
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

LICENCES: Mapping[str, str] = {
    "embedded": "apache-2.0",
    "time-series-foundation-models/Lag-Llama": "apache-2.0",
}

EMBEDDED_CONTEXT = 1124  # samples; for lists, which build no model
NATIVE_TASKS: tuple[NativeTask, ...] = ("forecast",)
NO_GRAPH = "its forecasts are drawn sample by sample"  # ONNX

PUBLISHED = "lag-llama.ckpt"  # the file on the Hub


class Config(BackboneConfig):
    """`backbone: {name: lag_llama}`."""

    name: Literal["lag_llama"] = "lag_llama"
    checkpoint: str = Field(
        default="embedded",
        description="'embedded' (small, trained on synthetic series), a Hub id, a folder with "
        "config.json and model.safetensors or with lag-llama.ckpt, such a file itself, or "
        "'tiny' (random weights, for tests and dry runs)",
    )
    context: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="samples that become tokens, and steps predicted before the tokens move on; "
        "earlier samples are seen through the lags. Upstream trained with 32",
    )
    samples: int = Field(default=20, ge=1, description="sample paths of a forecast")
    rope_factor: float | None = Field(
        default=None,
        ge=1,
        description="positions are divided by it; upstream advises (context + horizon) / 32 for "
        "contexts beyond 32. None = as the checkpoint has it",
    )

    def _load(self, weights: bool) -> LagLlama:
        """Loads a folder of ours, or upstream's checkpoint without executing its pickle."""
        import torch
        from safetensors import SafetensorError

        from tsfm_adapt.backbones._nets.lag_llama import LagLlamaNet
        from tsfm_adapt.backbones._nets.lag_llama_file import read

        source = self._source()
        try:
            settings, state = read(source)
        except (OSError, SafetensorError) as error:
            raise unavailable(self.name, self.checkpoint, error) from error
        except ValueError as error:
            raise self._refused(error) from error
        try:
            with torch.device("meta"):
                net = LagLlamaNet(settings, self.rope_factor)
        except ValueError as error:
            raise self._refused(error) from error
        expected = net.state_dict()
        complete(
            self.checkpoint,
            {
                "missing_keys": [name for name in expected if name not in state],
                "mismatched_keys": [
                    name
                    for name in expected
                    if name in state and state[name].shape != expected[name].shape
                ],
            },
        )
        if unknown := sorted(state.keys() - expected.keys()):
            raise self._refused(f"it has {len(unknown)} weights too many, first {unknown[0]}")
        if weights:
            kept = {name: state[name].to(torch.float32) for name in expected}
            net.load_state_dict(kept, assign=True)
        return LagLlama(net, self.checkpoint, self.context, self.samples)

    def _tiny(self) -> LagLlama:
        return LagLlama.tiny(
            context=self.context, samples=self.samples, rope_factor=self.rope_factor
        )

    def _source(self) -> Path:
        """The folder with config.json and weights, or the `.ckpt`."""
        path = Path(self.checkpoint).expanduser()
        if path.suffix == ".ckpt" or path.is_file():
            if not path.is_file():
                raise RecipeError(
                    f"backbone.checkpoint: there is no file '{self.checkpoint}'. Give a .ckpt "
                    "of Lag-Llama, a folder, or a Hub id."
                )
            return path
        if self.checkpoint != "embedded" and path.is_dir() and not (path / "config.json").exists():
            published = path / PUBLISHED
            if published.is_file():
                return published
        source = locate(self.name, self.checkpoint)
        return Path(source) if Path(source).is_dir() else self._fetched(source)

    def _fetched(self, repository: str) -> Path:
        """The published file of a Hub id."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            return Path(hf_hub_download(repository, PUBLISHED, revision=self.revision))
        except (OSError, HfHubHTTPError, HFValidationError) as error:
            raise unavailable(self.name, self.checkpoint, error) from error

    def _refused(self, reason: object) -> RecipeError:
        return RecipeError(
            f"backbone.checkpoint: '{self.checkpoint}' is not a lag_llama model: it {reason}. "
            "Give upstream's lag-llama.ckpt, or a folder that this backbone's save_pretrained "
            "wrote."
        )


class LagLlama(Forecaster):
    """Lag-Llama; the last `context` samples are tokens, prompts stand before them.

    - `spec.max_context` counts all samples that a forecast uses: the tokens and what their lags
      reach back to (32 + 1092), over which the scale is computed too. What a window does not
      reach back to counts as not observed.
    - The network has no mask. A value that was not observed counts as the median, 0 after
      scaling; upstream puts a 0 in the data's units instead, which for a temperature is a dozen
      ranges below anything observed.
    - The median and the logarithm of the scale are inputs, in the data's units, so that a forecast
      does not simply follow a change of units.
    - Steps of one pass read the context once; later ones attend to its keys and values, as in
      training by teacher forcing. After `context` steps the tokens move on, and so does the
      scale.
    """

    no_graph = NO_GRAPH

    def __init__(self, net: LagLlamaNet, checkpoint: str, context: int, samples: int) -> None:
        from torch import nn

        from tsfm_adapt.backbones._nets.lag_llama_futures import Futures

        self.model = net
        self.network = nn.ModuleDict({"model": net}).eval()
        self.spec = BackboneSpec(
            name="lag_llama",
            checkpoint=checkpoint,
            licence=licence(checkpoint, LICENCES),
            width=net.width,
            layers=net.settings["n_layer"],
            patch=1,
            max_context=context + net.reach,
            joint_channels=False,
            causal=True,
            native_tasks=frozenset(NATIVE_TASKS),
        )
        self._futures = Futures(net)
        self._context = context
        self._samples = samples

    @classmethod
    def tiny(
        cls,
        seed: int = 0,
        context: int = 24,
        samples: int = 10,
        rope_factor: float | None = None,
    ) -> LagLlama:
        """Two layers of width 32, the published lags, 24 tokens, 10 samples."""
        import torch

        from tsfm_adapt.backbones._nets.lag_llama import LAGS, LagLlamaNet

        settings = {"n_layer": 2, "n_head": 2, "n_embd_per_head": 16, "lags_seq": LAGS}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(LagLlamaNet(settings, rope_factor), TINY, context, samples)

    def sites(self) -> Mapping[Role, str]:
        """Attention and feed-forward of every block; keys and values share one layer."""
        block = r"(?:model\.)?transformer\.h\.\d+\."
        return {
            "attn.q": block + r"attn\.q_proj",
            "attn.k": block + r"attn\.kv_proj",
            "attn.v": block + r"attn\.kv_proj",
            "attn.out": block + r"attn\.c_proj",
            "mlp.in": block + r"mlp\.c_fc[12]",
            "mlp.out": block + r"mlp\.c_proj",
        }

    def save(self, folder: Path) -> str:
        """Upstream's `lag-llama.ckpt`, with sizes and weights only."""
        from tsfm_adapt.backbones._nets.lag_llama_file import write_checkpoint

        sizes = {n: v for n, v in self.model.settings.items() if n != "architectures"}
        factor = self.model.rope_factor  # the recipe's, if it has one
        sizes["rope_scaling"] = None if factor == 1 else {"type": "linear", "factor": factor}
        sizes["context_length"] = self._context
        write_checkpoint(folder / PUBLISHED, sizes, self.model.state_dict())
        return (
            "import torch\n"
            "from gluonts.torch.distributions import StudentTOutput\n"
            "from lag_llama.model.module import LagLlamaModel  # of upstream's repository\n"
            'saved = torch.load("FOLDER/lag-llama.ckpt", weights_only=True)\n'
            'sizes = saved["hyper_parameters"]["model_kwargs"]\n'
            "model = LagLlamaModel(**sizes, distr_output=StudentTOutput())\n"
            'weights = {n.removeprefix("model."): w for n, w in saved["state_dict"].items()}\n'
            "model.load_state_dict(weights)"
        )

    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Negative log-likelihood of the scaled targets, teacher-forced, mean over observed ones.

        Upstream counts the context's own samples as targets too; here only the batch's targets
        count, up to `context` of them. One that was not observed is the median where later steps
        look back at it.
        """
        import torch

        assert batch.target is not None
        assert batch.target_observed is not None
        target = batch.target.flatten(0, 1)[:, : self._context]
        observed = batch.target_observed.flatten(0, 1)[:, : self._context]
        start = self._read(batch, through, target.shape[-1])
        scaled = torch.where(observed, (target - start.loc) / start.scale, 0.0)
        predicted = self._futures.teacher_forced(start, scaled[:, None])
        log_prob = predicted.log_prob(scaled[:, None])[:, 0]
        total = torch.where(observed, log_prob, 0.0).sum()
        return -total / observed.sum().clamp(min=1)

    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """Sample paths, each fed back to itself; from torch's global generator.

        Differentiable through each step's location, scale and degrees of freedom, given the
        samples before it.
        """
        import torch

        from tsfm_adapt.forecasts import SampleForecast

        pieces: list[Tensor] = []  # (B, S, C, h) each
        unrolled = batch.without_target()
        while (done := sum(piece.shape[-1] for piece in pieces)) < steps:
            if pieces:
                unrolled = continued(unrolled, pieces[-1].detach(), self.spec.max_context)
            paths = self._samples if not pieces else 1
            sampled = self._one_pass(unrolled, min(self._context, steps - done), paths, through)
            pieces.append(sampled.reshape(batch.size, self._samples, *sampled.shape[2:]))
        return SampleForecast(torch.cat(pieces, dim=-1).transpose(0, 1))

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """States of the context's last samples, one token each, after the last norm.

        Those of samples that were not observed are 0, though later tokens do see them.
        """
        start = self._read(batch, through, 0)
        states = start.states.unflatten(0, batch.values.shape[:2])
        shown = batch.observed[..., -states.shape[2] :]
        return Encoded(states.masked_fill(~shown[..., None], 0.0), shown)

    def _one_pass(self, batch: Batch, steps: int, paths: int, through: Through) -> Tensor:
        """Sample paths (B, paths, C, h) of at most `context` steps, in the data's units."""
        import torch

        start = self._read(batch, through, steps)
        with torch.no_grad():
            uniforms, scaled = self._futures.sample(start, steps, paths)
        if torch.is_grad_enabled():
            # One more pass over the finished paths. Its values are those sampled, up to rounding.
            drawn = self._futures.teacher_forced(start, scaled).draw(uniforms)
            scaled = scaled + (drawn - drawn.detach())
        values = start.loc[:, None] + start.scale[:, None] * scaled  # (B*C, S, h)
        sample_paths: Tensor = values.unflatten(0, batch.values.shape[:2]).transpose(1, 2)
        return sample_paths

    def _read(self, batch: Batch, through: Through, steps: int) -> Start:
        """Scales and encodes the context; adds calendar features of `steps` more samples."""
        import torch

        from tsfm_adapt.backbones._nets.lag_llama_futures import Start
        from tsfm_adapt.backbones._nets.lag_llama_inputs import robust_scale, time_features

        net, shape = self.model, batch.values.shape[:2]
        length = batch.values.shape[-1]
        kept = min(length, self.spec.max_context)
        observed = batch.observed.flatten(0, 1)[:, -kept:]
        values = batch.values.flatten(0, 1)[:, -kept:].masked_fill(~observed, 0.0)
        loc, scale = robust_scale(values, observed)
        scaled = torch.where(observed, (values - loc) / scale, 0.0)
        tokens = min(length, self._context)
        series = torch.nn.functional.pad(scaled, (net.reach + tokens - kept, 0))
        time = time_features(
            batch.start_s, length - tokens, tokens + max(steps - 1, 0), batch.rate_hz
        ).repeat_interleave(shape[1], dim=0)
        embedded = net.embed(series, loc, scale, time[:, :tokens])
        states, memory = net.context(*_acted_on(embedded, through, batch))
        states = states[:, -tokens:]  # without prompts
        parameters = net.param_proj(states[:, -1:])
        return Start(series, loc, scale, time, tokens, states, memory, parameters)


def _acted_on(tokens: Tensor, through: Through, batch: Batch) -> tuple[Tensor, Any]:
    """Tokens (R, N + P, D) with prompts in front, and the adapters' hook before each block."""
    import torch

    def prompts_at(layer: int, grid: Tensor) -> Tensor | None:
        prompts = through.prefix(batch, layer, grid)
        return None if prompts is None else per_series(prompts, batch).flatten(0, 1).to(tokens)

    prompts = prompts_at(0, tokens.unflatten(0, batch.values.shape[:2]))
    inserted = 0 if prompts is None else prompts.shape[1]

    def before(hidden: Tensor, layer: int) -> Tensor:
        head, data = hidden[:, :inserted], hidden[:, inserted:]
        grid = data.unflatten(0, batch.values.shape[:2])  # (B, C, P, D)
        if layer and inserted and (deep := prompts_at(layer, grid)) is not None:
            head = overwritten(head, deep, layer)
        return torch.cat([head, through.tokens(grid, layer).flatten(0, 1)], dim=1)

    return tokens if prompts is None else torch.cat([prompts, tokens], dim=1), before
