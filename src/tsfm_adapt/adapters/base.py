"""The contract of adapters: change weights, or act on a batch on its way through the model.

The stages, in order: `signal` maps the channels of the context, `prefix` inserts prompt tokens
before a block, `tokens` changes data tokens before a block, `restore` maps the forecast back.
`penalty` adds to the training loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, model_validator

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt._util.renamed import warn_renamed, written
from tsfm_adapt.errors import CannotMerge, RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.windows import Windows


@dataclass(frozen=True)
class Setting:
    """What an adapter knows of the data when it is attached."""

    channels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()  # of train, where every split has the same: a split by time
    in_place: tuple[str, ...] | None = None  # latent series that replace the channels

    @property
    def encoded(self) -> tuple[str, ...]:
        """Names of the series that the backbone encodes: channels, or what replaces them."""
        return self.channels if self.in_place is None else self.in_place

    def after(self, adapters: Iterable[Adapter]) -> Setting:
        """The same with the channels that the adapters put in place of the data's."""
        names = self.channels
        for adapter in adapters:
            names = adapter.encoded(names)
        return replace(self, in_place=names)


class Adapter(ABC):
    """An adaptation method, attached to one backbone. Override only the stages it uses.

    Guarantees, tested by `tests/contracts/adapter.py` for every adapter:

    - after `attach`, exactly the adapter's own tensors have `requires_grad`;
    - every one of them receives a gradient from the first loss;
    - training leaves the base weights bit-identical, unless the adapter trains base weights.
    """

    name: str
    injects = False  # True = peft replaces layers, and freezes everything else: attached first
    changes_channels = False  # True = `signal` and `restore` map channels to others and back
    corrects_forecast = False  # True = trains parameters that only `restore` uses
    per_subject = False  # True = has parameters for each subject of train
    renews_prompts = False  # True = deep prompts: `prefix` returns new tokens for every block
    identity_at_start = True  # True = an untrained adapter changes no output
    module: nn.Module | None = None  # the adapter's own parameters and buffers, made by `attach`

    @abstractmethod
    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Creates the adapter's parameters, or marks those of the backbone that train.

        Raises:
            RecipeError: the adapter does not fit this backbone or these channels, or would train
                nothing.
        """

    def encoded(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the series that `signal` makes of these channels."""
        return channels

    def fit(self, train: Windows) -> None:  # noqa: B027
        """Computes statistics of the training split into buffers of `module`.

        Not called for a saved model: its buffers come with it.
        """

    def signal(self, batch: Batch) -> Batch:
        """The batch that the backbone is given: channels mapped to others, target removed."""
        return batch

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002
        """Prompt tokens before block `layer`, or None; shapes as in `backbones.base.Through`."""
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        """The data tokens (B, C, P, D) before block `layer`, changed or as they are."""
        return tokens

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:  # noqa: ARG002
        """Maps a forecast of the series that `signal` made back to the data's channels.

        Args:
            forecast: of the series that the backbone was given.
            batch: as it was given to `signal`.
        """
        return forecast

    def channel_attention(self) -> Mapping[str, nn.Module]:
        """The modules in which channels attend to each other, by where they stand; {} = none.

        Each is called with tokens (B, C, P, D), and its `attention(tokens)` gives (B, P, C, C):
        how much each channel attends to each, rows sum to 1, mean over heads.
        """
        return {}

    def penalty(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Scalar added to the training loss of a batch as given to `signal`; None = nothing."""
        return None

    def stepped(self, step: int, steps: int) -> None:  # noqa: B027
        """Called after each optimiser step, 1 to `steps`, before gradients are cleared."""

    def state(self) -> dict[str, Tensor]:
        """State beyond the weights that a resumed run needs, by name."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Restores a saved `state`."""

    def merge(self, backbone: Encoder) -> None:  # noqa: ARG002
        """Folds the adapter into the base weights; outputs agree to a relative 1e-4.

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
    def present(cls, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """An entry of a recipe with the settings of earlier versions under their present names.

        Warns of each. A setting that has both names keeps them, and is refused as unknown.
        """
        own: dict[str, JsonValue] = {}
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
