"""The adapted model: a backbone with adapters around and inside it, and a head behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tsfm_adapt.adapters.base import (
    Setting,
    attach_adapters,
    check_order,
    freeze_unreached,
    uses_native_loss,
)
from tsfm_adapt.backbones.base import (
    Encoded,
    per_series,
    require_forecaster,
    require_reconstructor,
    weights_sha256,
)
from tsfm_adapt.batches import Batch, context_batch
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads.base import (
    ClassHead,
    ForecastHead,
    Head,
    Plan,
    ReconstructionHead,
    probe_encoder,
)
from tsfm_adapt.heads.base import Outputs as Outputs  # what tasks give a model
from tsfm_adapt.signals.statistics import moments

if TYPE_CHECKING:
    from tsfm_adapt.adapters.base import Adapter
    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.windows import Windows

# A context whose standard deviation is below this share of the channel's in train is flat: the
# loss in the model's scaled space explodes there, so such series are left out of training.
FLAT = 1e-3

# For tasks other than forecasting: gives a model's estimate of a batch's target, and a mask of
# what it estimates, both in the target's shape.
Estimate = Callable[["AdaptedModel", "Batch"], tuple["Forecast", Tensor]]


class AdaptedModel(nn.Module):
    """A backbone with adapters, and a head where its pretrained one is not used.

    With no adapters and no head it is the backbone zero-shot. Calling it gives the training loss,
    so that a data-parallel wrapper sees one forward.

    Args:
        backbone: freshly built; its weights are frozen here, then adapters are attached.
        adapters: in the order of the recipe.
        deviation: (C,) each channel's standard deviation in train, data units; NaN = unknown.
        setting: what adapters of channels or subjects need to know.
        rates: each adapter's learning rate; None = the recipe's `train.lr`.
        estimate: of the target, for the training loss; None = forecasts.
        head: put on the encoder's tokens, after the adapters.
        outputs: what the head estimates; None without a head.
        head_rate: the head's learning rate; None = the recipe's `train.lr`.

    Raises:
        RecipeError: an adapter or the head does not fit, or none of several trains anything.
    """

    deviation: Tensor
    module_of_head: nn.Module | None  # of `head`, under the name that saved weights have

    def __init__(
        self,
        backbone: Encoder,
        adapters: Sequence[Adapter] = (),
        deviation: Tensor | None = None,
        *,
        setting: Setting | None = None,
        rates: Sequence[float | None] = (),
        estimate: Estimate | None = None,
        head: Head | None = None,
        outputs: Outputs | None = None,
        head_rate: float | None = None,
    ) -> None:
        super().__init__()
        check_order(adapters)
        self.base_sha256 = weights_sha256(backbone.network)
        self.setting = (setting or Setting()).after(adapters)
        trained_by = attach_adapters(backbone, adapters, self.setting)
        self.backbone = backbone
        self.adapters = tuple(adapters)
        self.head = head
        self._estimate = estimate
        self.network = backbone.network
        self.modules_of_adapters = nn.ModuleList(a.module for a in adapters if a.module)
        self.register_module("module_of_head", None)
        self.register_buffer(
            "deviation", torch.zeros(0) if deviation is None else deviation, persistent=False
        )
        if head is not None:
            assert outputs is not None
            self._attach_head(head, outputs, trained_by)
        rate_of = dict(zip(map(id, adapters), rates or [None] * len(adapters), strict=True))
        self._rates = {
            name: rate_of[id(trained_by[id(p)])] if id(p) in trained_by else head_rate
            for name, p in self.trainable().items()
        }
        if adapters and head is None and not self._rates:
            names = ", ".join(adapter.name for adapter in adapters)
            raise RecipeError(
                f"adapters: [{names}] trains zero parameters of {backbone.spec.name}. "
                "Choose sites that exist on it, or adapters: [] for zero-shot."
            )
        self.eval()

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Trainable parameters as parameter groups of an optimiser, one for each learning rate.

        Args:
            rate: learning rate of adapters without one in the recipe.
        """
        by_rate: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.trainable().items():
            by_rate.setdefault(self._rates.get(name) or rate, []).append(parameter)
        return [{"params": parameters, "lr": own} for own, parameters in by_rate.items()]

    def fit(self, train: Windows) -> None:
        """Fits adapters and a reconstruction head to the training windows, before training."""
        for adapter in self.adapters:
            adapter.fit(train)
        others = any(adapter.changes_channels for adapter in self.adapters)
        if isinstance(self.head, ReconstructionHead) and not others:
            known = moments(train.recordings)
            level, scale = (torch.from_numpy(each).float() for each in (known.mean, known.scale))
            self.head.fit(level, scale)

    def fitted(self) -> dict[str, Tensor]:
        """Tensors fitted on train, by name: buffers of adapters and head, standard deviations."""
        buffers = dict(self.modules_of_adapters.named_buffers(prefix="modules_of_adapters"))
        if self.module_of_head is not None:
            buffers |= dict(self.module_of_head.named_buffers(prefix="module_of_head"))
        return {"deviation": self.deviation, **buffers}

    def tensors_before_head(self) -> dict[str, Tensor]:
        """All parameters and buffers that a head's features may depend on, by name."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        if self.module_of_head is None:
            return tensors
        head = {
            *map(id, self.module_of_head.parameters()),
            *map(id, self.module_of_head.buffers()),
        }
        return {name: tensor for name, tensor in tensors.items() if id(tensor) not in head}

    @property
    def frozen_before_head(self) -> bool:
        """Whether the head's inputs stay constant in training, so that they can be cached."""
        if self.head is None:
            return False
        return not any(tensor.requires_grad for tensor in self.tensors_before_head().values())

    def train(self, mode: bool = True) -> AdaptedModel:
        """Training mode; dropout stays off where nothing before the head trains."""
        super().train(mode)
        if mode and self.frozen_before_head:
            self.network.eval()
            self.modules_of_adapters.eval()
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name: all that a checkpoint needs beside the base weights."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    def load_trainable(self, state: Mapping[str, Tensor]) -> None:
        """Loads the saved parameters of `trainable()`.

        Raises:
            RecipeError: the names or shapes are not those of this model.
        """
        current = self.trainable()
        different = sorted(current.keys() ^ state.keys()) or [
            name for name in current if current[name].shape != state[name].shape
        ]
        if different:
            raise RecipeError(
                f"the saved weights do not fit this model: {len(different)} tensors differ, "
                f"first {different[0]}. Use the recipe that the weights were trained with."
            )
        with torch.no_grad():
            for name, parameter in current.items():
                parameter.copy_(state[name])

    def states(self) -> dict[str, dict[str, Tensor]]:
        """State of the adapters beside their parameters, by their position in the recipe."""
        states = {str(position): a.state() for position, a in enumerate(self.adapters)}
        return {position: state for position, state in states.items() if state}

    def load_states(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restores a saved `states()`."""
        for position, state in states.items():
            self.adapters[int(position)].load_state(state)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; penalties of adapters are part of it in training mode.

        Raises:
            RecipeError: there is no head, and the backbone has no loss of its own.
        """
        if isinstance(self.head, ClassHead):
            return self._loss_of_classes(self.head, batch)
        batch = self._without_flat(batch)
        stages, seen = self._signalled(batch)
        penalty = self._penalty(stages)
        if uses_native_loss(
            self.adapters, headed=self.head is not None, estimated=self._estimate is not None
        ):
            backbone = require_forecaster(self.backbone, "a training loss without a head")
            return backbone.loss(seen, self) + penalty
        return self._loss_of_estimate(batch, stages, seen) + penalty

    def forecast(self, batch: Batch, steps: int) -> Forecast:
        """The forecast of the next `steps` samples, data units; the target is not looked at.

        Raises:
            RecipeError: there is no head, and the backbone has none that forecasts.
        """
        stages, seen = self._signalled(batch.without_target())
        return self._restored(self._forecast(seen, steps), stages)

    def reconstruct(self, batch: Batch) -> Forecast:
        """The estimate of every context sample from the observed ones, data units.

        By the head, or by the backbone's own where the model has none that reconstructs.

        Raises:
            RecipeError: there is no head, and the backbone has none that reconstructs.
        """
        stages, seen = self._signalled(batch.without_target())
        if isinstance(self.head, ReconstructionHead):
            filled = self.head.reconstruct(self._features(self.head, seen), seen)
        else:
            backbone = require_reconstructor(self.backbone, "a reconstruction without a head")
            nothing = torch.zeros_like(seen.observed)  # beyond what is not observed
            filled = backbone.reconstruct(seen, nothing, self)
        return self._restored(filled, stages)

    def encode(self, batch: Batch) -> Encoded:
        """Tokens of the context, adapters included."""
        return self.backbone.encode(self._signalled(batch.without_target())[1], self)

    def features(self, batch: Batch) -> Tensor:
        """Inputs of the head, (B, ...) float32."""
        assert self.head is not None
        return self._features(self.head, self._signalled(batch.without_target())[1])

    def logits(self, batch: Batch) -> Tensor:
        """Logits (B, K) of a classification head."""
        assert isinstance(self.head, ClassHead)
        return self.head.logits(self.features(batch))

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:
        """Prompts of all adapters before block `layer`, concatenated; None = there are none.

        Deep prompts come first: every block overwrites the first prompts.
        """
        ordered = sorted(self.adapters, key=lambda adapter: not adapter.renews_prompts)
        prompts = [p for a in ordered if (p := a.prefix(batch, layer, tokens)) is not None]
        if len(prompts) <= 1:
            return prompts[0] if prompts else None
        return torch.cat([per_series(prompt, batch) for prompt in prompts], dim=2)

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """Data tokens before block `layer` after the mixers of all adapters."""
        for adapter in self.adapters:
            tokens = adapter.tokens(tokens, layer)
        return tokens

    def _attach_head(
        self, head: Head, outputs: Outputs, trained_by: Mapping[int, Adapter]
    ) -> None:
        """Freezes what adapters train outside the encoder, then attaches the head."""
        channels, subjects = self.setting.channels, self.setting.subjects[:1] or ("",)
        device = next(self.network.parameters()).device
        with torch.random.fork_rng(devices=[]):
            noise = torch.randn(1, len(channels), outputs.context, device=device)
            window = context_batch(noise, outputs.rate_hz, channels, subjects)
            probe = probe_encoder(self.eval().encode, window, self.trainable())
        idle = freeze_unreached(
            self.trainable(), probe.reached, trained_by, restores=not isinstance(head, ClassHead)
        )
        for adapter in idle:
            if not adapter.changes_channels:  # which may be done by what is fitted alone
                raise RecipeError(
                    f"adapters: {adapter.name} trains nothing that the tokens of "
                    f"{self.backbone.spec.name}'s encoder depend on, and head {head.name} reads "
                    "those. Leave it out, or choose sites in the encoder."
                )
        plan = Plan.of(
            outputs,
            probe.shape,
            self.backbone.spec,
            data_channels=len(channels),
            base_sha256=self.base_sha256,
        )
        head.attach(plan, device)
        self.module_of_head = head.module

    def _loss_of_classes(self, head: ClassHead, batch: Batch) -> Tensor:
        """The head's loss of a batch whose target are classes."""
        assert batch.target is not None
        stages, seen = self._signalled(batch.without_target())
        logits = head.logits(self._features(head, seen))
        return head.loss(logits, batch.target) + self._penalty(stages)

    def _loss_of_estimate(self, batch: Batch, stages: Sequence[Batch], seen: Batch) -> Tensor:
        """The loss of the task's estimate of the target, errors divided by `_scale`.

        Args:
            batch: in the data's channels.
            stages: the batch before each adapter's `signal`.
            seen: the batch as the adapters changed it.
        """
        assert batch.target is not None
        assert batch.target_observed is not None
        learned = batch.target_observed
        if self._estimate is None:
            forecast = self._forecast(seen.without_target(), batch.target.shape[-1])
            restored = self._restored(forecast, stages)
        else:
            restored, estimated = self._estimate(self, batch)
            learned = learned & estimated
        scale = self._scale(batch).clamp(min=1e-6)
        return restored.loss(batch.target, learned, scale[..., None])

    def _forecast(self, seen: Batch, steps: int) -> Forecast:
        """The forecast of a batch that adapters changed, not yet restored."""
        if isinstance(self.head, ForecastHead):
            return self.head.forecast(self._features(self.head, seen), seen, steps)
        backbone = require_forecaster(self.backbone, "a forecast without a head")
        return backbone.forecast(seen, steps, self)

    def _features(self, head: Head, seen: Batch) -> Tensor:
        """The head's inputs for a batch that adapters changed; cached ones where there are."""
        if seen.features is not None:
            return seen.features
        return head.features(self.backbone.encode(seen, self), seen)

    def _penalty(self, stages: Sequence[Batch]) -> Tensor | float:
        """Penalties of the adapters in training mode, each of the batch before its `signal`."""
        pairs = zip(self.adapters, stages, strict=True) if self.training else ()
        penalties = [adapter.penalty(stage) for adapter, stage in pairs]
        return sum((term for term in penalties if term is not None), start=0.0)

    def _signalled(self, batch: Batch) -> tuple[list[Batch], Batch]:
        """The batch before each adapter's `signal`, and the batch for the backbone."""
        stages = []
        for adapter in self.adapters:
            stages.append(batch)
            batch = adapter.signal(batch)
        return stages, batch

    def _restored(self, forecast: Forecast, stages: Sequence[Batch]) -> Forecast:
        for adapter, batch in zip(reversed(self.adapters), reversed(stages), strict=True):
            forecast = adapter.restore(forecast, batch)
        return forecast

    def _without_flat(self, batch: Batch) -> Batch:
        """The batch with the targets of flat contexts not observed, see `FLAT`."""
        known = self.deviation if self.deviation.numel() else batch.values.new_full((), torch.nan)
        return batch.without_flat(self._scale(batch), FLAT * torch.nan_to_num(known, nan=0.0))

    def _scale(self, batch: Batch) -> Tensor:
        """Standard deviation (B, C) of each context, by which errors are divided.

        A reconstruction head also learns channels without an observed sample: there it is that of
        train.
        """
        of_context = batch.deviation()
        if not isinstance(self.head, ReconstructionHead) or not self.deviation.numel():
            return of_context
        known = torch.nan_to_num(self.deviation, nan=0.0)
        return torch.where(batch.observed.any(-1), of_context, known)


def device_for(accelerator: str) -> torch.device:
    """The device for scoring and prediction, by a recipe's `train.accelerator`."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
