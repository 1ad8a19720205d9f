"""AdaLoRA: low-rank updates that share a budget of ranks by importance, layers through peft.

Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv
2303.10512: W + (alpha / rank) P diag(lambda) Q, with lambda zero at the start. P and Q are pulled
to orthonormal columns and rows; the budget of triplets (P_i, lambda_i, Q_i) falls, and those of
least importance lose their lambda. Here P and Q start orthonormal, where the paper draws small
Gaussian numbers that the penalty would first have to pull there, and the penalty is a mean over
the matrices, not a sum, so that its weight does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tsfm_adapt.adapters._injection import (
    InjectedAdapter,
    SitesConfig,
    injected,
    matching,
)
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch


class Config(SitesConfig):
    """`adapters: [{name: adalora}]`."""

    name: Literal["adalora"] = "adalora"
    init_rank: int = Field(default=12, ge=1, description="of every matrix at the start")
    target_rank: int = Field(default=8, ge=1, description="mean over the matrices at the end")
    alpha: float = Field(
        default=16.0, gt=0, description="update scale; alpha / init_rank multiplies P lambda Q"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    tinit: float = Field(default=0.1, ge=0, lt=1, description="share of the steps before pruning")
    tfinal: float = Field(default=0.5, ge=0, lt=1, description="share of the steps after pruning")
    interval: int = Field(default=10, ge=1, description="steps between two allocations of ranks")
    beta1: float = Field(default=0.85, gt=0, lt=1, description="smoothing of the sensitivity")
    beta2: float = Field(default=0.85, gt=0, lt=1, description="smoothing of its uncertainty")
    orthogonality: float = Field(default=0.1, ge=0, description="weight of the penalty")

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.target_rank > self.init_rank:
            raise ValueError(
                f"target_rank: {self.target_rank} is above init_rank {self.init_rank}; the budget "
                "only falls"
            )
        if self.tinit + self.tfinal >= 1:
            raise ValueError(
                f"tinit + tfinal: {self.tinit:g} + {self.tfinal:g} leaves no step to prune in; "
                "they are shares of the steps and sum to less than 1"
            )
        return self

    def build(self) -> AdaLora:
        """AdaLoRA with the recipe's values."""
        return AdaLora(self)


class AdaLora(InjectedAdapter):
    """Low-rank updates at the backbone's sites, whose ranks are allocated while training."""

    name = "adalora"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self._layers: list[Any] = []  # peft's, untyped there
        self._averages: dict[str, Tensor] = {}  # sensitivity and uncertainty of each tensor
        self._kept: Tensor | None = None  # (matrices, init_rank) bool, once the budget is final

    def peft_config(self, backbone: Encoder, pattern: str) -> Any:
        """AdaLoRA of peft, whose own allocation of ranks is not used.

        Raises:
            RecipeError: `init_rank` is above the smaller side of a matrix.
        """
        from peft import AdaLoraConfig

        layers = matching(backbone, pattern)
        name = min(layers, key=lambda name: min(layers[name].weight.shape))
        rows, columns = layers[name].weight.shape
        rank = self.config.init_rank
        if rank > min(rows, columns):
            raise RecipeError(
                f"adapters.adalora.init_rank: {rank} is above the smaller side of "
                f"{name}, {rows} x {columns}. Use at most {min(rows, columns)}."
            )
        return AdaLoraConfig(
            init_r=rank,
            target_r=self.config.target_rank,
            # peft casts nothing: a fraction is a valid scale though annotated int
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            total_step=1,  # peft wants one; the steps are those of `stepped`
            target_modules=pattern,
        )

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Injects, and starts P and Q with orthonormal columns and rows."""
        from torch import nn

        super().attach(backbone, setting)
        self._layers = [layer for _, layer in injected(backbone)]
        for layer in self._layers:
            # A constant, which peft keeps as a frozen parameter: that would count as a weight
            del layer.ranknum
            layer.ranknum = {"default": float(self.config.init_rank)}
            q, _, p = _triplets(layer)
            if not q.is_meta:
                nn.init.orthogonal_(q)
                nn.init.orthogonal_(p)

    def penalty(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """How far P and Q are from orthonormal; not in validation, which the data alone decide."""
        import torch

        if not self.config.orthogonality or not self._layers[0].training:
            return None
        terms = []
        for layer in self._layers:
            q, _, p = _triplets(layer)
            with torch.autocast(q.device.type, enabled=False):
                unit = torch.eye(self.config.init_rank, device=q.device, dtype=q.dtype)
                terms.append((p.T @ p - unit).square().sum() + (q @ q.T - unit).square().sum())
        return self.config.orthogonality * torch.stack(terms).mean()

    def stepped(self, step: int, steps: int) -> None:
        """Smooths the importances, and prunes where the schedule says so (algorithm 1)."""
        first = round(self.config.tinit * steps)
        last = steps - round(self.config.tfinal * steps)
        if self._kept is None:
            self._smooth()
            if step >= last:
                self._kept = self._most_important(self.config.target_rank * len(self._layers))
            elif step > first and (step - first) % self.config.interval == 0:
                self._prune(self._most_important(self._budget((step - first) / (last - first))))
        if self._kept is not None:
            self._prune(self._kept)

    def state(self) -> dict[str, Tensor]:
        """The smoothed importances and, once they are final, the triplets kept."""
        kept = {} if self._kept is None else {"kept": self._kept}
        return {**self._averages, **kept}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the importances of a run that was killed."""
        device = _triplets(self._layers[0])[1].device
        own = {name: tensor.to(device) for name, tensor in state.items()}
        self._kept = own.pop("kept", None)
        self._averages = own

    def _budget(self, progress: float) -> int:
        """Triplets that all matrices share, falling with the cube (equation 12)."""
        start, end = self.config.init_rank, self.config.target_rank
        return int(len(self._layers) * (end + (start - end) * (1 - progress) ** 3))

    def _smooth(self) -> None:
        """Exponential averages of |w dL/dw| and of how much it varies (equations 9, 10)."""
        import torch

        with torch.no_grad():
            for number, layer in enumerate(self._layers):
                for part, weight in zip("qlp", _triplets(layer), strict=True):
                    assert weight.grad is not None
                    name, other = f"{number}.{part}.sensitivity", f"{number}.{part}.uncertainty"
                    # Not finite where a gradient overflowed and mixed precision left the step out
                    now = (weight * weight.grad).abs().nan_to_num(0.0, posinf=0.0)
                    mean = self._smoothed(name, now, self.config.beta1)
                    self._smoothed(other, (now - mean).abs(), self.config.beta2)

    def _smoothed(self, name: str, now: Tensor, beta: float) -> Tensor:
        before = self._averages.get(name)
        average = (1 - beta) * now if before is None else beta * before.to(now) + (1 - beta) * now
        self._averages[name] = average
        return average

    def _most_important(self, budget: int) -> Tensor:
        """The triplets (matrices, init_rank) that stay: the sum of their parts' scores is high.

        The score of an entry is sensitivity times uncertainty (equation 11), that of a row of Q or
        a column of P the mean over its entries (equation 8).
        """
        import torch

        scores = []
        for number in range(len(self._layers)):
            q, value, p = (
                self._averages[f"{number}.{part}.sensitivity"]
                * self._averages[f"{number}.{part}.uncertainty"]
                for part in "qlp"
            )
            scores.append(value[:, 0] + q.mean(1) + p.mean(0))
        flat = torch.cat(scores)
        kept = torch.zeros_like(flat, dtype=torch.bool)
        kept[torch.argsort(flat, descending=True, stable=True)[:budget]] = True
        return kept.view(len(self._layers), self.config.init_rank)

    def _prune(self, kept: Tensor) -> None:
        import torch

        with torch.no_grad():
            for layer, stays in zip(self._layers, kept, strict=True):
                value = _triplets(layer)[1]
                value.masked_fill_(~stays[:, None].to(value.device), 0.0)


def _triplets(layer: Any) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """Q (rank, in), lambda (rank, 1) and P (out, rank) of one of peft's layers."""
    return layer.lora_A["default"], layer.lora_E["default"], layer.lora_B["default"]
