"""What an adapter may do: change weights, or act on a batch at five stages of its way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from tsfm_adapt.errors import CannotMerge

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Backbone
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.windows import Windows


@dataclass(frozen=True)
class Setting:
    """What an adapter may know of the data when its parameters are put in place."""

    channels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()  # of train, where every part has the same: a split by time
    in_place: tuple[str, ...] | None = None  # what adapters put in place of the channels

    @property
    def encoded(self) -> tuple[str, ...]:
        """The names of the series that the backbone is given for a window."""
        return self.channels if self.in_place is None else self.in_place


class Adapter(ABC):
    """A small trainable part. Override only the stages it touches.

    Guarantees, tested by `tests/contracts/adapter.py` for every adapter:

    - after `attach`, exactly the adapter's own tensors have `requires_grad`;
    - every one of them receives a gradient from the first loss;
    - training leaves the base weights bit-identical, unless the adapter trains base weights.
    """

    name: str
    injects = False  # True = attach goes through peft, which freezes everything else: runs first
    changes_channels = False  # True = `signal` and `restore` map channels to others and back
    corrects_forecast = False  # True = what it trains acts in `restore`, on the data's channels
    per_subject = False  # True = has parameters for each subject of train
    renews_prompts = False  # True = `prefix` gives as many prompts before every block as at first
    identity_at_start = True  # True = untrained, it changes no output
    module: nn.Module | None = None  # parts of our own, created by `attach`

    @abstractmethod
    def attach(self, backbone: Backbone, setting: Setting) -> None:
        """Puts the adapter's parameters in place.

        Raises:
            RecipeError: the adapter does not fit this backbone or these channels, or would train
                nothing.
        """

    def encoded(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """What `signal` makes of these channels, by name."""
        return channels

    def fit(self, train: Windows) -> None:  # noqa: B027
        """Computes what is fitted, not trained, into buffers of `module`; train only.

        Not called for a saved model: its buffers come with it.
        """

    def signal(self, batch: Batch) -> Batch:
        """The batch as the backbone will see it."""
        return batch

    def prefix(self, batch: Batch, layer: int) -> Tensor | None:  # noqa: ARG002
        """Prompt tokens before a block; see `backbones.base.Through`."""
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        """Data tokens (B, C, P, D) before a block."""
        return tokens

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:  # noqa: ARG002
        """Undoes on the forecast what `signal` did to this batch's channels."""
        return forecast

    def penalty(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """What the adapter adds to the loss of a batch as given to `signal`, in training mode."""
        return None

    def stepped(self, step: int, steps: int) -> None:  # noqa: B027
        """Told after each of the optimiser's `steps`, counted from 1, gradients still in place."""

    def state(self) -> dict[str, Tensor]:
        """What `stepped` has gathered, by name: a resumed run needs it beside the weights."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Takes up a `state` of a run that was killed."""

    def merge(self, backbone: Backbone) -> None:  # noqa: ARG002
        """Folds the adapter into the base weights, equal to a relative 1e-4.

        Raises:
            CannotMerge: no change of the base weights is equivalent.
        """
        raise CannotMerge(
            f"adapter '{self.name}' acts on activations: no change of the base weights is "
            "equivalent. Export the bundle instead."
        )


class AdapterConfig(BaseModel, ABC):
    """One entry of the recipe's `adapters`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str
    lr: float | None = Field(
        default=None, gt=0, description="learning rate of this adapter; None = train.lr"
    )

    @abstractmethod
    def build(self) -> Adapter:
        """The adapter, not yet attached."""
