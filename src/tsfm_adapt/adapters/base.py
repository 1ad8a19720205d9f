"""What an adapter may do: change weights, or act on a batch at five stages of its way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from tsfm_adapt.errors import CannotMerge, RecipeError
from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt._util.renamed import warn_renamed, written

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Encoder
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

    def after(self, adapters: Iterable[Adapter]) -> Setting:
        """The same with the channels that the adapters put in place of the data's."""
        names = self.channels
        for adapter in adapters:
            names = adapter.encoded(names)
        return replace(self, in_place=names)


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
    def attach(self, backbone: Encoder, setting: Setting) -> None:
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

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002
        """Prompt tokens before a block; see `backbones.base.Through`."""
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        """Data tokens (B, C, P, D) before a block."""
        return tokens

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:  # noqa: ARG002
        """Undoes on the forecast what `signal` did to this batch's channels."""
        return forecast

    def channel_attention(self) -> Mapping[str, nn.Module]:
        """The modules in which channels attend to each other, by where they stand; {} = none.

        Each is called with tokens (B, C, P, D), and its `attention(tokens)` gives (B, P, C, C):
        how much each channel attends to each, rows sum to 1, mean over heads.
        """
        return {}

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

    def merge(self, backbone: Encoder) -> None:  # noqa: ARG002
        """Folds the adapter into the base weights, equal to a relative 1e-4.

        Raises:
            CannotMerge: no change of the base weights is equivalent.
        """
        raise CannotMerge(
            f"adapter '{self.name}' acts on activations: no change of the base weights is "
            "equivalent. Export the bundle instead."
        )


class AdapterConfig(Frozen, ABC):
    """One entry of the recipe's `adapters`."""

    name: str
    lr: float | None = Field(
        default=None, gt=0, description="learning rate of this adapter; None = train.lr"
    )

    @classmethod
    def renamed(cls, key: str, value: Any) -> tuple[str, Any]:
        """A setting of an earlier version's recipe under its present name and value."""
        return key, value

    @classmethod
    def present(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """An entry of a recipe with the settings of earlier versions under their present names.

        Warns of each. A setting that has both names keeps them, and is refused as unknown.
        """
        own: dict[str, Any] = {}
        for key, value in given.items():
            name, present = cls.renamed(key, value)
            if name != key and name in given:
                name, present = key, value
            elif name != key:
                path = f"adapters.{cls.model_fields['name'].default}"
                warn_renamed(
                    f"{path}.{key}: {written(value)}", f"{path}.{name}: {written(present)}"
                )
            own[name] = present
        return own

    @model_validator(mode="before")
    @classmethod
    def _with_present_names(cls, given: Any) -> Any:
        return cls.present(given) if isinstance(given, Mapping) else given

    @abstractmethod
    def build(self) -> Adapter:
        """The adapter, not yet attached."""


def attach_adapters(
    backbone: Encoder, adapters: Sequence[Adapter], setting: Setting
) -> dict[int, Adapter]:
    """Freezes the backbone, then attaches adapters; exactly their parameters train afterwards.

    Args:
        backbone: freshly built.
        adapters: in the order of the recipe; those that go through peft are attached first.
        setting: with the channels that these adapters put in place.

    Returns:
        For each trained parameter, by its `id`, the adapter that trains it.

    Raises:
        RecipeError: an adapter does not fit, two train the same tensors or replace the same
            layers, or one stands behind another that changes its channels.
    """
    trained_by: dict[int, Adapter] = {}
    for adapter in sorted(adapters, key=lambda adapter: not adapter.injects):
        backbone.network.requires_grad_(False)  # what is on after `attach` is this adapter's
        adapter.attach(backbone, setting)
        own = {} if adapter.module is None else dict(adapter.module.named_parameters())
        named = {**own, **dict(backbone.network.named_parameters())}
        trained = {name: p for name, p in named.items() if p.requires_grad}
        if shared := [name for name, p in trained.items() if id(p) in trained_by]:
            other = trained_by[id(trained[shared[0]])]
            raise RecipeError(
                f"adapters: {other.name} and {adapter.name} both train {len(shared)} tensors, "
                f"first {shared[0]}. Keep one of them, or restrict them to different layers."
            )
        trained_by |= {id(parameter): adapter for parameter in trained.values()}
    for parameter in backbone.network.parameters():
        parameter.requires_grad_(id(parameter) in trained_by)
    return trained_by


def freeze_unreached(
    trainable: Mapping[str, nn.Parameter],
    reached: frozenset[str],
    trained_by: Mapping[int, Adapter],
    *,
    restores: bool,
) -> list[Adapter]:
    """Freezes parameters that neither the encoder's tokens nor the loss depend on.

    Args:
        trainable: all of them, by name.
        reached: names of those that the tokens depend on.
        trained_by: as `attach_adapters` returned it.
        restores: whether adapters act on the head's output too, by `restore`.

    Returns:
        The adapters of which nothing is left.
    """
    learning: dict[int, bool] = {}  # by id of the adapter
    for name, parameter in trainable.items():
        adapter = trained_by[id(parameter)]
        later = restores and (adapter.corrects_forecast or adapter.changes_channels)
        parameter.requires_grad_(later or name in reached)
        learning[id(adapter)] = learning.get(id(adapter), False) or parameter.requires_grad
    left_out = {id(adapter): adapter for adapter in trained_by.values()}
    return [left_out[which] for which, learns in learning.items() if not learns]


def check_order(adapters: Sequence[Adapter]) -> None:
    """Stops where two adapters replace the same layers, or act on channels in a wrong order.

    Raises:
        RecipeError: with the names of both.
    """
    injecting = [adapter.name for adapter in adapters if adapter.injects]
    if len(injecting) > 1:
        raise RecipeError(
            f"adapters: {' and '.join(injecting)} both take the place of the same layers. "
            "Keep one of them."
        )
    changing = None
    for adapter in adapters:
        if changing and (adapter.changes_channels or adapter.corrects_forecast):
            raise RecipeError(
                f"adapters: {adapter.name} works on the data's channels and stands behind "
                f"{changing}, which puts others in their place. "
                + ("Keep one of them." if adapter.changes_channels else "Put it before.")
            )
        changing = adapter.name if adapter.changes_channels else changing


def uses_native_loss(
    adapters: Iterable[Adapter], *, headed: bool = False, estimated: bool = False
) -> bool:
    """True where training minimises the backbone's own loss, in its scaled space.

    Elsewhere it minimises the loss of the head or, in the data's units, of the task.

    Args:
        adapters: of the model; those that act on channels or on the forecast need the task's loss.
        headed: whether a head takes the place of the backbone's own.
        estimated: whether the task estimates something else than the next samples.
    """
    acting = any(adapter.changes_channels or adapter.corrects_forecast for adapter in adapters)
    return not (acting or headed or estimated)
