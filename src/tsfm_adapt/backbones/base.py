"""The contracts of pretrained networks, and the hooks through which adapters act in them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.components import constants, names, require
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast


TINY = "tiny"  # the checkpoint that is `Encoder.tiny`
RANDOM = f"the backbone's weights are RANDOM (checkpoint: {TINY}): what it predicts means nothing"


class Through(Protocol):
    """The hooks of adapters inside a backbone; layers count the blocks of its encoder from 0."""

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:
        """Prompt tokens before block `layer`; None = leave as it is.

        Layer 0 inserts N tokens, deeper layers overwrite the first of those, as many as are
        given: (N, D), (B, N, D) or (B, C, N, D).

        Args:
            batch: that passes through; beyond one pass of the model, with what was fed back.
            layer: number of the block.
            tokens: the data tokens (B, C, P, D) that they will stand before; of layer 0 as they
                enter, before any adapter acts on them. Arbitrary where not observed.
        """

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """The data tokens (B, C, P, D) that enter block `layer`, changed or not.

        Prompts, registers, padding and tokens of the future are withheld and put back.
        """


def per_series(prompts: Tensor, batch: Batch) -> Tensor:
    """Prompts (N, D), (B, N, D) or (B, C, N, D) as (B, C, N, D)."""
    windows, channels = batch.values.shape[:2]
    if prompts.ndim == 2:
        return prompts.expand(windows, channels, -1, -1)
    return prompts if prompts.ndim == 4 else prompts[:, None].expand(-1, channels, -1, -1)


def overwritten(prompts: Tensor, deeper: Tensor, layer: int) -> Tensor:
    """Prompts (..., N, D) before block `layer`, the first n of them replaced by (..., n, D)."""
    import torch

    kept = prompts.shape[-2] - deeper.shape[-2]
    if kept < 0:
        raise ValueError(
            f"before block 0 there were {prompts.shape[-2]} prompts, but {deeper.shape[-2]} "
            f"before block {layer}. Deeper layers overwrite prompts, they insert none."
        )
    return torch.cat([deeper, prompts[..., deeper.shape[-2] :, :]], dim=-2) if kept else deeper


class _Plain:
    """The hooks of no adapter: tokens stay as they are, and there are no prompts."""

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        return tokens


PLAIN: Through = _Plain()

Role = Literal["attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"]
NativeTask = str  # the name of a task, of this package or another


@dataclass(frozen=True)
class BackboneSpec:
    """Properties of a loaded backbone; lengths in samples."""

    name: str
    checkpoint: str  # Hub id, folder, 'embedded' or 'tiny'
    licence: str
    width: int  # D
    layers: int  # blocks of the encoder, the layers of `Through`
    patch: int
    max_context: int
    joint_channels: bool  # True = one window's channels see each other
    causal: bool
    # tasks with a pretrained head: what the class derives from, and the file's `NATIVE_TASKS`
    native_tasks: frozenset[NativeTask] = frozenset()
    input_gradients: bool = True  # forecasts carry gradients to the context; statistics do not

    @property
    def non_commercial(self) -> bool:
        """Whether the weights may not be used commercially."""
        return non_commercial(self.licence)

    @property
    def random_weights(self) -> bool:
        """True where nothing was pretrained, of which `RANDOM` warns."""
        return self.checkpoint == TINY


@dataclass(frozen=True)
class Encoded:
    """Tokens of a context: the last hidden states of the encoder, with gradients."""

    tokens: Tensor  # (B, C, P, D); 0 where not observed
    token_observed: Tensor  # (B, C, P) bool: at least one sample of the token was observed


class Encoder(ABC):
    """A pretrained network that turns the context of a batch into tokens.

    All that adapters of weights and tokens, and all heads, need. Guarantees, tested by
    `tests/contracts/encoder.py` for every backbone:

    - samples that are not observed cannot change any output;
    - scaling is internal and undone: batches and forecasts are in the data's units;
    - base weights change only through an adapter;
    - the same input and seed give the same output in eval mode;
    - gaps, all-missing and constant channels and short contexts give finite outputs and gradients.

    `network` holds the upstream model under the name `model`, in a plain module: peft then injects
    into every family the same way, and the saved names are those of upstream's own class.
    """

    spec: BackboneSpec
    network: nn.Module
    no_graph = ""  # why an ONNX graph of fixed shapes cannot hold it: the file's `NO_GRAPH`

    @classmethod
    @abstractmethod
    def tiny(cls, seed: int = 0) -> Encoder:
        """A model of at most 200 000 random parameters, for tests and dry runs."""

    @abstractmethod
    def sites(self) -> Mapping[Role, str]:
        """Role -> regular expression over the module names of `network`, for weight adapters.

        Roles that upstream fuses into one layer (qkv) have the same expression.
        """

    @abstractmethod
    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Tokens of the context only, with gradients."""

    @abstractmethod
    def save(self, folder: Path) -> str:
        """Writes the weights in upstream's checkpoint layout, which `Config(checkpoint=)` reads.

        Returns:
            Python code that loads it as `model` by upstream's own class; FOLDER stands for its
            path.
        """

    def channel_attention(self, batch: Batch, through: Through = PLAIN) -> Tensor | None:  # noqa: ARG002
        """Attention weights between channels while a batch is encoded.

        A file whose class has such attention says `CHANNEL_ATTENTION = True`.

        Returns:
            (blocks, B, P, C, C), mean over heads; row i sums to 1 and holds the weights with
            which channel i attends to each. None = no attention layer is between channels alone.
        """
        return None

    def for_graph(self) -> None:  # noqa: B027
        """Switches to forms of its layers that an ONNX graph of fixed shapes can hold.

        Outputs stay equal up to rounding.
        """


class Forecaster(Encoder):
    """An encoder with a pretrained forecasting head; "forecast" is in its `native_tasks`.

    Guarantees, tested by `tests/contracts/forecaster.py`.
    """

    @abstractmethod
    def loss(self, batch: Batch, through: Through = PLAIN) -> Tensor:
        """Scalar native training loss in scaled space, only where targets are observed.

        A target longer than one pass of the model is cut to it.
        """

    @abstractmethod
    def forecast(self, batch: Batch, steps: int, through: Through = PLAIN) -> Forecast:
        """The native head's forecast of any number of steps.

        Differentiable in the parameters; what an autoregressive model feeds back is detached.
        """


class Reconstructor(Encoder):
    """An encoder pretrained to fill in hidden samples; "impute" is in its `native_tasks`.

    Guarantees, tested by `tests/contracts/reconstructor.py`.
    """

    @abstractmethod
    def reconstruct(self, batch: Batch, hidden: Tensor, through: Through = PLAIN) -> Forecast:
        """The native head's estimate of every context sample (B, C, T), shown or not.

        Args:
            batch: at most `max_context` samples.
            hidden: (B, C, T) bool; True = withheld like a sample that was not observed; it
                cannot change any output.
            through: adapters that take part.
        """


def pretrained_for(task: NativeTask) -> tuple[str, ...]:
    """Names of the backbones with a pretrained head for a task; none of them is imported."""
    return tuple(name for name in names("backbone") if task in _literal(name, "NATIVE_TASKS", ()))


def with_channel_attention() -> tuple[str, ...]:
    """Names of the backbones with attention between channels; none of them is imported."""
    return tuple(name for name in names("backbone") if _literal(name, "CHANNEL_ATTENTION", False))


def exportable_as_graph() -> tuple[str, ...]:
    """Names of the forecasting backbones that ONNX can hold; none of them is imported."""
    return tuple(name for name in pretrained_for("forecast") if not _literal(name, "NO_GRAPH", ""))


def require_forecaster(backbone: Encoder, purpose: str) -> Forecaster:
    """The backbone itself, where it can forecast.

    Args:
        backbone: of any kind.
        purpose: what needs the forecast, as the subject of the error's first sentence.

    Raises:
        RecipeError: it has no forecasting head.
    """
    if not isinstance(backbone, Forecaster):
        raise _no_native_head(backbone, purpose, "forecast")
    return backbone


def require_reconstructor(backbone: Encoder, purpose: str) -> Reconstructor:
    """The backbone itself, where it can fill in hidden samples.

    Args:
        backbone: of any kind.
        purpose: what needs the reconstruction, as the subject of the error's first sentence.

    Raises:
        RecipeError: it has no reconstruction head.
    """
    if not isinstance(backbone, Reconstructor):
        raise _no_native_head(backbone, purpose, "impute")
    return backbone


class BackboneConfig(Frozen, ABC):
    """The recipe's `backbone`: which model and which weights."""

    name: str
    checkpoint: str = Field(
        default="embedded",
        description="'embedded' (small, trained on synthetic series), a Hub id, a folder, or "
        "'tiny' (random weights, for tests and dry runs)",
    )
    revision: str | None = Field(default=None, description="Hub revision; None = the newest")

    def build(self, *, weights: bool = True) -> Encoder:
        """The backbone in eval mode, float32, on the CPU; torch's random state stays as it is.

        Args:
            weights: False builds the architecture on the meta device, to count parameters.

        Raises:
            RecipeError: the checkpoint does not exist or is not of this family.
            EnvironmentProblem: a package that the family needs is missing, or the Hub cannot be
                reached.
        """
        require("backbone", self.name)

        import torch

        # Upstreams draw random weights before they read a file's, and some print meanwhile.
        with torch.random.fork_rng(devices=[]), redirect_stdout(StringIO()):
            if self.checkpoint != TINY:
                return self._load(weights)
            with nullcontext() if weights else torch.device("meta"):
                return self._tiny()

    @abstractmethod
    def _load(self, weights: bool) -> Encoder:
        """The backbone of a checkpoint other than 'tiny'; without weights on the meta device."""

    @abstractmethod
    def _tiny(self) -> Encoder:
        """`Encoder.tiny` of seed 0 with the recipe's settings, on torch's default device."""


def licence(checkpoint: str, licences: Mapping[str, str]) -> str:
    """Licence of a checkpoint's weights: its SPDX id or name; 'unknown' where none is stated.

    Args:
        checkpoint: as in the recipe; for a folder, its model card is read.
        licences: the licences of the family, by checkpoint.
    """
    published = {name.casefold(): own for name, own in licences.items()} | {TINY: "apache-2.0"}
    return published.get(checkpoint.casefold()) or _licence_in_card(Path(checkpoint).expanduser())


def non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, judged by its name."""
    return re.search(r"\bnc\b|non-?commercial", licence.lower()) is not None


def weights_sha256(network: nn.Module) -> str:
    """Hash over names, shapes and bytes of all weights; equal for equal weights in any file."""
    import torch

    digest = sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if not tensor.is_meta:
            contiguous = tensor.detach().cpu().contiguous()
            digest.update(contiguous.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _no_native_head(backbone: Encoder, purpose: str, task: NativeTask) -> RecipeError:
    pretrained = ", ".join(sorted(backbone.spec.native_tasks)) or "no task, it only encodes"
    return RecipeError(
        f"backbone: {purpose} needs a backbone pretrained for task {task}; "
        f"{backbone.spec.name} is pretrained for {pretrained}. Add a head for the task, or use "
        f"one of {', '.join(pretrained_for(task))}."
    )


def _literal(backbone: str, constant: str, default: Any) -> Any:
    """What a backbone's file assigns to a constant, a literal; `default` where it does not."""
    return constants("backbone", backbone, constant).get(constant, default)


def _licence_in_card(path: Path) -> str:
    """The licence stated in the model card (README.md) beside the weights."""
    card = (path.parent if path.is_file() else path) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if head is None:
        return "unknown"
    stated = dict(re.findall(r"^(license|license_name):[ \t]*(\S+)", head[1], re.MULTILINE))
    if stated.get("license") == "other":  # the Hub's word for a licence without a short name
        return str(stated.get("license_name", "unknown"))
    return str(stated.get("license", "unknown"))


def eager_attention(network: nn.Module) -> None:
    """Switches layers of `transformers` to unfused attention, which every ONNX graph can hold."""
    for module in network.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"  # type: ignore[union-attr]
