"""Queries that stand for classes attend to all tokens; the block between can be shared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads._pooling import flagged
from tsfm_adapt.heads.base import ClassHead, HeadConfig, HeadTask, Labelled, Plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.heads._nets.attention import LabelQueries as Network

_BLOCK = "module_of_head.block."  # its tensors' names in a bundle


class Config(HeadConfig):
    """`head: {name: label_queries}`."""

    task: ClassVar[HeadTask] = "classify"
    name: Literal["label_queries"] = "label_queries"
    probes: int = Field(default=4, ge=1, description="queries a class")
    heads: int = Field(default=4, ge=1, description="of the attention; divides the width")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in the block, in training")
    shared: str | None = Field(
        default=None,
        description="folder of a bundle whose block is taken and frozen; null: trained here",
    )

    def build(self) -> LabelQueries:
        """The head, not yet attached."""
        return LabelQueries(self.probes, self.heads, self.dropout, self.shared)


class LabelQueries(ClassHead):
    """Label queries of FORMED (Huang et al. 2024, arXiv 2410.03794).

    An embedding of its channel is added to every token; k queries a class attend to the observed
    tokens of all channels; a small network makes one number of each, and a class's logit is the
    mean of its k. The block in between knows nothing of channels and classes: with `shared` it
    comes from another bundle, and only embeddings and queries train.

    Unlike there, tokens are normalised before the embedding is added, so that its size fits every
    backbone's.
    """

    name = "label_queries"
    module: Network

    def __init__(self, probes: int, heads: int, dropout: float, shared: str | None) -> None:
        self.probes = probes
        self.heads = heads
        self.dropout = dropout
        self.shared = shared

    def attach(self, plan: Plan, device: torch.device) -> None:
        """Embeddings, queries and the block, which with `shared` awaits `fit` or a bundle."""
        from tsfm_adapt.heads._nets.attention import LabelQueries as Network

        if plan.width % self.heads:
            raise RecipeError(
                f"head.heads: {self.heads} does not divide the {plan.width} numbers of a token. "
                "Choose a divisor of them."
            )
        self.plan = plan
        self.module = Network(
            plan.channels,
            plan.width,
            len(plan.classes),
            self.probes,
            self.heads,
            self.dropout,
            scale=1.0 if self.shared is None else 0.01,
        ).to(device)
        if self.shared is not None:
            self.module.freeze()

    @property
    def reads(self) -> str:
        """What a linear head with attention and without statistics reads too."""
        return "tokens False"

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:  # noqa: ARG002
        """All tokens, (B, C, P, D + 1)."""
        return flagged(encoded)

    def fit(self, given: Callable[[], Labelled]) -> None:  # noqa: ARG002
        """Takes the shared block's tensors from its bundle; nothing is fitted.

        Raises:
            RecipeError: the folder is no bundle of this head, or its block is of another size or
                read the tokens of another base.
        """
        if self.shared is None:
            return
        folder = _bundle(Path(self.shared).expanduser())
        self._take(_block_of(folder))
        base = _base_of(folder)
        if base != self.plan.base_sha256:
            raise RecipeError(
                f"head.shared: the block of '{self.shared}' read the tokens of other base weights "
                f"(sha256 {base[:12]}, the recipe's {self.plan.base_sha256[:12]}), which mean "
                "something else. Give a bundle of the same backbone and checkpoint."
            )

    def logits(self, features: Tensor) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.module(features)
        return logits

    def _take(self, found: dict[str, Tensor]) -> None:
        own = self.module.block.state_dict()
        if different := sorted(own.keys() ^ found.keys()):
            raise RecipeError(
                f"head.shared: '{self.shared}' holds no block of label_queries: {len(different)} "
                f"tensors differ, first {different[0]}. Give a bundle trained with this head."
            )
        if wrong := [name for name in own if own[name].shape != found[name].shape]:
            width = found["norm.weight"].numel()
            raise RecipeError(
                f"head.shared: a block fits one width of tokens only: that of '{self.shared}' is "
                f"{width}, the backbone's {self.plan.width} (first {wrong[0]}). Give a bundle of "
                "the same backbone."
            )
        if int(found["heads"]) != self.heads:
            raise RecipeError(
                f"head.heads: the block of '{self.shared}' has {int(found['heads'])} heads, the "
                f"recipe {self.heads}. Set head.heads: {int(found['heads'])}."
            )
        self.module.block.load_state_dict(found)


def _bundle(folder: Path) -> Path:
    """The folder itself, or the bundle of a run."""
    inner = folder / "bundle" if (folder / "bundle" / "bundle.json").is_file() else folder
    if not (inner / "bundle.json").is_file():
        raise RecipeError(
            f"head.shared: '{folder}' is no bundle, it has no bundle.json. Give the folder of a "
            "bundle or run that was trained with label_queries."
        )
    return inner


def _base_of(folder: Path) -> str:
    """The hash of the base weights that a bundle was trained on."""
    try:
        return str(json.loads((folder / "bundle.json").read_bytes())["base_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"head.shared: '{folder / 'bundle.json'}' cannot be read ({error}). Save the bundle "
            "again."
        ) from error


def _block_of(folder: Path) -> dict[str, Tensor]:
    """The block's tensors in a bundle, trained or itself shared."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    for file in ("modules.safetensors", "fitted.safetensors"):
        if not (folder / file).is_file():
            continue
        try:
            with safe_open(folder / file, framework="pt") as tensors:
                names = [name for name in tensors.keys() if name.startswith(_BLOCK)]  # noqa: SIM118
                found |= {name.removeprefix(_BLOCK): tensors.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise RecipeError(
                f"head.shared: '{folder / file}' cannot be read ({error}). Save the bundle again."
            ) from error
    return found
