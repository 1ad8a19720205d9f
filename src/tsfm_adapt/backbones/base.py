"""What every backbone guarantees, and how adapters take part while a batch passes through it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tsfm_adapt.backbones import embedded
from tsfm_adapt.components import require
from tsfm_adapt.errors import EnvironmentProblem, RecipeError, TsfmAdaptError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast


TINY = "tiny"  # the checkpoint that is `Backbone.tiny`
RANDOM = f"the backbone's weights are RANDOM (checkpoint: {TINY}): what it predicts means nothing"


class Through(Protocol):
    """What adapters do to tokens inside a backbone. Layers count the blocks of its encoder."""

    def prefix(self, batch: Batch, layer: int) -> Tensor | None:
        """Prompt tokens before block `layer`; None = leave as it is.

        Layer 0 inserts N tokens, deeper layers overwrite the first of those, as many as are
        given: (N, D), (B, N, D) or (B, C, N, D).
        """

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """The data tokens (B, C, P, D) before block `layer`, changed or as they are.

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
    """Leaves everything as it is."""

    def prefix(self, batch: Batch, layer: int) -> Tensor | None:  # noqa: ARG002
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        return tokens


PLAIN: Through = _Plain()

Role = Literal["attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"]
NativeTask = Literal["forecast", "impute"]


@dataclass(frozen=True)
class BackboneSpec:
    """What a loaded backbone is and can do; lengths in samples."""

    name: str
    checkpoint: str  # Hub id, folder, 'embedded' or 'tiny'
    licence: str
    width: int  # D
    layers: int  # blocks of the encoder, the layers of `Through`
    patch: int
    max_context: int
    joint_channels: bool  # True = one window's channels see each other
    causal: bool
    native_tasks: frozenset[NativeTask]  # tasks with a pretrained head
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
    """Hidden states of the context, with gradients."""

    tokens: Tensor  # (B, C, P, D); 0 where not observed
    token_observed: Tensor  # (B, C, P) bool: at least one sample of the token was measured


class Backbone(ABC):
    """A pretrained model behind one contract.

    Guarantees, tested by `tests/contracts/backbone.py` for every backbone:

    - values that are not observed cannot change any output;
    - scaling is internal and undone: batches and forecasts are in the data's units;
    - base weights change only through an adapter;
    - the same input and seed give the same output in eval mode;
    - gaps, all-missing and constant channels and short contexts give finite outputs and gradients.

    `network` holds the upstream model under the name `model`, in a plain module: peft then injects
    into every family the same way, and the saved names are those of upstream's own class.
    """

    spec: BackboneSpec
    network: nn.Module
    no_graph = ""  # why no graph of fixed shapes (ONNX) can hold it; "" = one can

    @classmethod
    @abstractmethod
    def tiny(cls, seed: int = 0) -> Backbone:
        """A model of at most 200 000 random parameters, for tests and dry runs."""

    @abstractmethod
    def sites(self) -> Mapping[Role, str]:
        """Role -> regular expression over the module names of `network`, for weight adapters.

        Roles that upstream fuses into one layer (qkv) have the same expression.
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

    @abstractmethod
    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """Tokens of the context only, with gradients."""

    @abstractmethod
    def save(self, folder: Path) -> str:
        """Writes the weights as upstream lays a checkpoint out; `Config(checkpoint=)` reads it.

        Returns:
            Python that loads it as `model` by upstream's own class, FOLDER for where it lies.
        """

    def channel_attention(self, batch: Batch, through: Through = PLAIN) -> Tensor | None:  # noqa: ARG002
        """How much each channel attends to each while a batch is encoded.

        Returns:
            (blocks, B, P, C, C), mean over heads; each row sums to 1 and says where one channel
            looks. None = this backbone has no attention between channels alone.
        """
        return None

    def for_graph(self) -> None:  # noqa: B027
        """Switches to forms of its layers that a graph of fixed shapes can hold.

        Forecasts stay equal up to rounding.
        """


class ReconstructingBackbone(Backbone):
    """A backbone pretrained to fill in what was hidden from it; `native_tasks` holds "impute"."""

    @abstractmethod
    def reconstruct(self, batch: Batch, hidden: Tensor, through: Through = PLAIN) -> Forecast:
        """The native head's estimate of every context sample (B, C, T), shown or not.

        Args:
            batch: at most `max_context` samples.
            hidden: (B, C, T) bool; what is True is withheld like a sample that was not measured,
                and cannot change any output.
            through: adapters that take part.
        """


class BackboneConfig(BaseModel, ABC):
    """The recipe's `backbone`: which model and which weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str
    checkpoint: str = Field(
        default="embedded",
        description="'embedded' (small, trained on synthetic series), a Hub id, a folder, or "
        "'tiny' (random weights, for tests and dry runs)",
    )
    revision: str | None = Field(default=None, description="Hub revision; None = the newest")

    def build(self, *, weights: bool = True) -> Backbone:
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
    def _load(self, weights: bool) -> Backbone:
        """The backbone of a checkpoint other than 'tiny'; without weights on the meta device."""

    @abstractmethod
    def _tiny(self) -> Backbone:
        """`Backbone.tiny` of seed 0 with the recipe's settings, on torch's default device."""


def licence(checkpoint: str, licences: Mapping[str, str]) -> str:
    """That of a checkpoint's weights: SPDX or the licence's own name; 'unknown' if nothing says.

    Args:
        checkpoint: as the recipe has it; of a folder, the head of its model card says it.
        licences: those of the family, by checkpoint.
    """
    published = {name.casefold(): own for name, own in licences.items()} | {TINY: "apache-2.0"}
    return published.get(checkpoint.casefold()) or _said(Path(checkpoint).expanduser())


def non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, by its name."""
    return re.search(r"\bnc\b|non-?commercial", licence.lower()) is not None


def _said(path: Path) -> str:
    """The licence that the model card beside some weights says."""
    card = (path.parent if path.is_file() else path) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if head is None:
        return "unknown"
    said = dict(re.findall(r"^(license|license_name):[ \t]*(\S+)", head[1], re.MULTILINE))
    if said.get("license") == "other":  # the Hub's word for a licence without a short name
        return str(said.get("license_name", "unknown"))
    return str(said.get("license", "unknown"))


def locate(name: str, checkpoint: str) -> str:
    """What upstream's `from_pretrained` is given: an absolute folder or a Hub id.

    Raises:
        RecipeError: the folder does not exist or lacks a file.
    """
    if checkpoint == "embedded":
        folder = embedded.FOLDER / name
        if not folder.is_dir():
            brought = sorted(path.parent.name for path in embedded.FOLDER.glob("*/config.json"))
            raise RecipeError(
                f"backbone.checkpoint: no weights of {name} come with this version, only those of "
                f"{', '.join(brought)}. Give a Hub id, or a folder in upstream's own layout."
            )
    elif Path(checkpoint).expanduser().is_dir():
        folder = Path(checkpoint).expanduser().resolve()
    elif checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/", "~")):
        return checkpoint
    else:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is neither 'embedded' nor 'tiny', nor a "
            "folder that exists, nor a Hub id of the form 'organisation/name'."
        )
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [] if "config.json" in present else ["config.json"]
    if not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in present):
        missing.append("model.safetensors")
    if missing:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' lacks {' and '.join(missing)} "
            f"(found: {', '.join(sorted(present)) or 'nothing'}). "
            "Give a folder in upstream's own layout, as written by save_pretrained."
        )
    return str(folder)


def eager_attention(network: nn.Module) -> None:
    """Lets layers of `transformers` attend by plain products, which every graph can hold."""
    for module in network.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"  # type: ignore[union-attr]


def fetch(source: str, name: str, revision: str | None) -> Path:
    """A file of a checkpoint folder, or of the Hub.

    Raises:
        OSError: there is no such file, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    if Path(source).is_dir():
        return Path(source) / name
    return Path(hf_hub_download(source, name, revision=revision))


def complete(checkpoint: str, report: Mapping[str, Any]) -> None:
    """Stops where upstream would fill weights that the checkpoint lacks with random ones.

    Args:
        checkpoint: as the recipe has it.
        report: what `from_pretrained(..., output_loading_info=True)` returned beside the model.

    Raises:
        RecipeError: weights are missing or have another shape.
    """
    lacking = [*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])]
    if lacking:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' lacks {len(lacking)} of the model's weights, "
            f"first {lacking[0]}. Its config.json and weights do not belong together; fetch both "
            "again."
        )


def fits(checkpoint: str, file: Path, network: nn.Module) -> None:
    """Stops where a weights file is not of this network; reads names and shapes only.

    Raises:
        RecipeError: weights are missing, too many, or have another shape.
    """
    from safetensors import safe_open

    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    with safe_open(file, framework="pt") as weights:
        found = {
            name: tuple(weights.get_slice(name).get_shape())
            for name in weights.keys()  # noqa: SIM118  # not a mapping
        }
    complete(
        checkpoint,
        {
            "missing_keys": [name for name in expected if name not in found],
            "mismatched_keys": [n for n in expected if found.get(n, expected[n]) != expected[n]],
        },
    )
    if unknown := sorted(found.keys() - expected.keys()):
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' has {len(unknown)} weights that its config.json "
            f"leaves no place for, first {unknown[0]}. Fetch both files again."
        )


def unavailable(name: str, checkpoint: str, error: Exception) -> TsfmAdaptError:
    """The error for a checkpoint that upstream's class could not load."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    text = f"backbone.checkpoint: '{checkpoint}' could not be loaded as {name}: {reason} "
    if checkpoint == "embedded" or Path(checkpoint).expanduser().is_dir():
        return RecipeError(f"{text}Write the folder again with save_pretrained.")
    return EnvironmentProblem(
        f"{text}Check the id and the connection (HF_HUB_OFFLINE must be unset), download it "
        "beforehand, or use checkpoint: embedded."
    )
