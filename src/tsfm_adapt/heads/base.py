"""The contract of heads: from a context's tokens to classes, a forecast or a reconstruction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt._util.frozen import Frozen

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import BackboneSpec, Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

HeadTask = str  # the name of a task, of this package or another


Pooling = Literal["auto", "mean", "last", "max"]  # of the tokens of a channel


@dataclass(frozen=True)
class Outputs:
    """What a head estimates, and of how much; lengths in samples."""

    context: int  # T
    rate_hz: float
    horizon: int = 0  # H; 0 where the task has none
    classes: tuple[str, ...] = ()  # K names
    multilabel: bool = False  # any of the classes, instead of exactly one
    class_weights: tuple[float, ...] = ()  # (K,) in the loss; () = all 1


@dataclass(frozen=True)
class Plan:
    """What a head knows when it is attached; lengths in samples."""

    channels: int  # C that are encoded, after adapters that change the channels
    tokens: int  # P of a context
    width: int  # D
    patch: int  # samples of a token
    causal: bool  # a token attends to earlier ones only
    data_channels: int  # C of the data
    context: int  # T
    horizon: int = 0  # H; 0 where the task has none
    classes: tuple[str, ...] = ()  # K names
    multilabel: bool = False  # any of the classes, instead of exactly one
    class_weights: tuple[float, ...] = ()  # (K,) in the loss; () = all 1
    base_sha256: str = ""  # of the backbone's weights

    @classmethod
    def of(
        cls,
        outputs: Outputs,
        tokens: Sequence[int],
        spec: BackboneSpec,
        *,
        data_channels: int,
        base_sha256: str,
    ) -> Plan:
        """The plan of a head behind an encoder.

        Args:
            outputs: what the head estimates.
            tokens: the shape (B, C, P, D) of a context's tokens.
            spec: of the encoder.
            data_channels: how many the data has.
            base_sha256: of the encoder's weights.
        """
        _, channels, count, width = tokens
        return cls(
            channels=channels,
            tokens=count,
            width=width,
            patch=spec.patch,
            causal=spec.causal,
            data_channels=data_channels,
            context=outputs.context,
            horizon=outputs.horizon,
            classes=outputs.classes,
            multilabel=outputs.multilabel,
            class_weights=outputs.class_weights,
            base_sha256=base_sha256,
        )


@dataclass(frozen=True)
class Probe:
    """What one window shows of an encoder and of what trains in it."""

    shape: tuple[int, ...]  # (B, C, P, D) of the tokens
    reached: frozenset[str]  # names of trainable parameters that the tokens depend on


def probe_encoder(
    encode: Callable[[Batch], Encoded], window: Batch, trainable: Mapping[str, nn.Parameter]
) -> Probe:
    """Sends a window through an encoder and a gradient back.

    Args:
        encode: of a model in eval mode, adapters included.
        window: of noise, since the gradient of special values may be 0.
        trainable: parameters by name.
    """
    import torch

    with torch.enable_grad():
        tokens = encode(window).tokens
    gradients: Sequence[Tensor | None] = [None] * len(trainable)
    if trainable and tokens.requires_grad:
        gradients = torch.autograd.grad(tokens.sum(), list(trainable.values()), allow_unused=True)
    pairs = zip(trainable, gradients, strict=True)
    return Probe(tuple(tokens.shape), frozenset(name for name, g in pairs if g is not None))


@dataclass(frozen=True)
class SavedHead:
    """What a bundle holds of a head."""

    tensors: Mapping[str, Tensor]  # trained and fitted, by their names in `Head.module`
    base_sha256: str  # of the base weights that they were trained on


class Head(ABC):
    """A small network on the encoder's tokens, untrained when it is attached.

    Guarantees, tested by `tests/contracts/head.py` for every head:

    - its output depends on observed values only;
    - every tensor of `module` that requires a gradient receives one from the first loss;
    - `features` holds no trainable parameter: where nothing before it trains either, features are
      computed once and kept (`training/feature_cache.py`).
    """

    name: str
    config: HeadConfig
    module: nn.Module  # created by `attach`; fitted numbers are buffers of it

    @abstractmethod
    def attach(self, plan: Plan, device: torch.device) -> None:
        """Creates `module`.

        Raises:
            RecipeError: the head does not fit the backbone or the windows.
        """

    @property
    def cache_key(self) -> str:
        """Key that, with the inputs, determines the output of `features`.

        Here every setting but the learning rate; a head that knows better has a shorter key, so
        that others that read the same can use what was computed for it.
        """
        kind = type(self)
        settings = self.config.model_dump_json(exclude={"lr"})
        return f"{kind.__module__}.{kind.__qualname__} {settings}"

    @property
    def shared(self) -> str | None:
        """Folder of the bundle or run that some of the head's tensors come from; None = none."""
        return None

    def take_shared(self, saved: SavedHead) -> None:
        """Copies tensors of another head in; called once, after `attach`, where `shared` is set.

        Not called for a saved model: its bundle holds them.

        Raises:
            RecipeError: the tensors are of another head, another size or another base.
        """
        raise NotImplementedError(f"head {self.name} takes no tensors of others")

    @abstractmethod
    def features(self, encoded: Encoded, batch: Batch) -> Tensor:
        """The head's input, (B, ...) float32; a fixed function of its arguments.

        Args:
            encoded: of the batch as the adapters changed it.
            batch: the same; its channels are those that were encoded.
        """


class ClassHead(Head):
    """A head that classifies windows."""

    plan: Plan

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """(B, K) from features."""

    def fit(self, given: Callable[[], Labelled]) -> None:
        """Computes statistics, or all weights, from the training split into buffers of `module`.

        Args:
            given: returns the features of train; not called where nothing is fitted.
        """

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, binary for each class where several may hold; weighted by class.

        Args:
            logits: (B, K).
            target: (B, K) of 0 and 1.
        """
        from torch.nn import functional as F

        weights = logits.new_tensor(self.plan.class_weights or [1.0] * len(self.plan.classes))
        if not self.plan.multilabel:
            return F.cross_entropy(logits, target.argmax(-1), weight=weights)
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K) in [0, 1]; they add up to 1 unless several classes may hold."""
        return logits.sigmoid() if self.plan.multilabel else logits.softmax(-1)


@dataclass(frozen=True)
class Labelled:
    """The features of windows whose class is known."""

    features: FloatArray  # (N, ...)
    classes: BoolArray  # (N, K)
    subjects: IntArray  # (N,) windows of one subject are not independent


class ForecastHead(Head):
    """A head that forecasts a fixed horizon."""

    @abstractmethod
    def forecast(self, features: Tensor, batch: Batch, steps: int) -> Forecast:
        """The next `steps` samples, at most `Plan.horizon`, in the units of `batch`."""


class ReconstructionHead(Head):
    """A reconstruction head: estimates every sample of its window, of empty channels too."""

    @abstractmethod
    def fit(self, level: Tensor, deviation: Tensor) -> None:
        """Takes the scale of channels without an observed sample in a window.

        Not called where an adapter replaces the data's channels.

        Args:
            level: (C,) mean of each channel in train, data units.
            deviation: (C,) standard deviation, positive.
        """

    @abstractmethod
    def reconstruct(self, features: Tensor, batch: Batch) -> Forecast:
        """An estimate of every context sample (B, C, T), in the units of `batch`."""


class HeadConfig(Frozen, ABC):
    """The recipe's `head`."""

    task: ClassVar[HeadTask]  # the task that it is for
    name: str
    lr: float | None = Field(
        default=None, gt=0, description="learning rate of the head; None = train.lr"
    )

    @abstractmethod
    def build(self) -> Head:
        """The head, not yet attached."""


def resolved(pooling: Pooling, causal: bool) -> Pooling:
    """What `auto` means: the last token of a causal encoder, else the mean."""
    if pooling != "auto":
        return pooling
    return "last" if causal else "mean"


def pooled(encoded: Encoded, how: Literal["mean", "last", "max"]) -> Tensor:
    """Pooled tokens (B, C, D) of each channel, over observed tokens; 0 where a channel has none.

    Args:
        encoded: tokens (B, C, P, D).
        how: the mean or maximum over the observed tokens, or the last of them.
    """
    import torch

    seen = encoded.token_observed[..., None]  # (B, C, P, 1)
    if how == "mean":
        total = torch.where(seen, encoded.tokens, 0.0).sum(2)
        return total / seen.sum(2).clamp(min=1)
    if how == "max":
        highest = encoded.tokens.masked_fill(~seen, -torch.inf).amax(2)
        return torch.where(seen.any(2), highest, 0.0)
    number = torch.arange(seen.shape[2], device=seen.device)[:, None]
    last = torch.where(seen, number, -1).amax(2, keepdim=True)  # (B, C, 1, 1)
    picked = encoded.tokens.gather(
        2, last.clamp(min=0).expand(-1, -1, 1, encoded.tokens.shape[-1])
    )
    return torch.where(last >= 0, picked, 0.0).squeeze(2)
