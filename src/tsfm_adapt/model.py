"""The adapted model: backbone and adapters in the order in which data passes through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tsfm_adapt.adapters._mixing import moments
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.base import Encoded, ReconstructingBackbone, per_series
from tsfm_adapt.batches import Batch
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads.base import ClassHead, FillingHead, ForecastHead, Head, Plan

if TYPE_CHECKING:
    from tsfm_adapt.adapters.base import Adapter
    from tsfm_adapt.backbones.base import Backbone
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.windows import Windows

# A context that deviates less than this share of the channel's deviation in train is flat: the
# loss in the model's scaled space explodes there, so such series do not train.
FLAT = 1e-3

# A model's estimate of a batch's target, and which of the target it estimates: both in the
# target's shape, for tasks other than forecasting.
Estimate = Callable[["AdaptedModel", "Batch"], tuple["Forecast", Tensor]]


@dataclass(frozen=True)
class Outputs:
    """What a head is asked for, and of how much; lengths in samples."""

    context: int  # T
    rate_hz: float
    horizon: int = 0
    classes: tuple[str, ...] = ()
    multilabel: bool = False
    class_weights: tuple[float, ...] = ()


class AdaptedModel(nn.Module):
    """A backbone with its adapters, and a head where the backbone's own does not do.

    With no adapters and no head it is the backbone zero-shot. Calling it gives the training loss,
    so that a data-parallel wrapper sees one forward.

    Args:
        backbone: freshly built; its weights are frozen here, then adapters are attached.
        adapters: in the order of the recipe.
        deviation: (C,) each channel's standard deviation in train, data units; NaN = unknown.
        setting: what adapters of channels or subjects need to know.
        rates: each adapter's learning rate; None = the recipe's `train.lr`.
        estimate: of the target, for the training loss; None = forecasts, and the backbone's own
            loss where the adapters leave its forecast as it is.
        head: put on the encoder's tokens, after the adapters.
        outputs: what the head is asked for; None without a head.
        head_rate: the head's learning rate; None = the recipe's `train.lr`.

    Raises:
        RecipeError: an adapter or the head does not fit, or none of several trains anything.
    """

    deviation: Tensor

    def __init__(
        self,
        backbone: Backbone,
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
        self._estimate = estimate
        self.base_sha256 = weights_sha256(backbone.network)
        backbone.network.requires_grad_(False)
        injecting = [adapter.name for adapter in adapters if adapter.injects]
        if len(injecting) > 1:
            raise RecipeError(
                f"adapters: {' and '.join(injecting)} both take the place of the same layers. "
                "Keep one of them."
            )
        _check_order(adapters)
        self.setting = setting or Setting()
        given = self.setting.channels
        for adapter in adapters:
            given = adapter.encoded(given)
        self.setting = replace(self.setting, in_place=given)
        rate_of: dict[int, float | None] = {}  # by id of the parameter
        own_rates = rates or [None] * len(adapters)
        pairs = zip(adapters, own_rates, strict=True)
        trained_by: dict[int, Adapter] = {}
        for adapter, rate in sorted(pairs, key=lambda pair: not pair[0].injects):
            backbone.network.requires_grad_(False)  # what is on after `attach` is this adapter's
            adapter.attach(backbone, self.setting)
            own = {} if adapter.module is None else dict(adapter.module.named_parameters())
            named = {**own, **dict(backbone.network.named_parameters())}
            switched_on = {name: p for name, p in named.items() if p.requires_grad}
            shared = [name for name, p in switched_on.items() if id(p) in trained_by]
            if shared:
                other = trained_by[id(switched_on[shared[0]])]
                raise RecipeError(
                    f"adapters: {other.name} and {adapter.name} both train {len(shared)} tensors, "
                    f"first {shared[0]}. Keep one of them, or restrict them to different layers."
                )
            for parameter in switched_on.values():
                trained_by[id(parameter)] = adapter
                rate_of[id(parameter)] = rate
        for parameter in backbone.network.parameters():
            parameter.requires_grad_(id(parameter) in trained_by)
        self.backbone = backbone
        self.adapters = tuple(adapters)
        self.network = backbone.network
        self.modules_of_adapters = nn.ModuleList(a.module for a in adapters if a.module)
        self.head = head
        if head is not None:
            assert outputs is not None
            self._attach(head, outputs, trained_by)
            rate_of |= {id(p): head_rate for p in head.module.parameters()}
        self.register_buffer(
            "deviation", torch.zeros(0) if deviation is None else deviation, persistent=False
        )
        self._rates = {name: rate_of[id(p)] for name, p in self.trainable().items()}
        if adapters and head is None and not self.trainable():
            names = ", ".join(adapter.name for adapter in adapters)
            raise RecipeError(
                f"adapters: [{names}] trains zero parameters of {backbone.spec.name}. "
                "Choose sites that exist on it, or adapters: [] for zero-shot."
            )
        self.eval()

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The trainable parameters as an optimiser's groups, one a learning rate.

        Args:
            rate: of the adapters that have none of their own.
        """
        by_rate: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.trainable().items():
            by_rate.setdefault(self._rates.get(name) or rate, []).append(parameter)
        return [{"params": parameters, "lr": own} for own, parameters in by_rate.items()]

    def fit(self, train: Windows) -> None:
        """Lets adapters, and a head that fills, compute what they fit, on train only."""
        for adapter in self.adapters:
            adapter.fit(train)
        others = any(adapter.changes_channels for adapter in self.adapters)
        if isinstance(self.head, FillingHead) and not others:
            self.head.fit(*moments(train))

    def fitted(self) -> dict[str, Tensor]:
        """What was fitted on train, by name: buffers of the adapters, each channel's deviation."""
        buffers = dict(self.modules_of_adapters.named_buffers(prefix="modules_of_adapters"))
        if self.head is not None:
            buffers |= dict(self.module_of_head.named_buffers(prefix="module_of_head"))
        return {"deviation": self.deviation, **buffers}

    @property
    def frozen_before_head(self) -> bool:
        """Whether a head reads what no training changes, so that it may be computed once."""
        return self.head is not None and all(
            name.startswith("module_of_head.") for name in self.trainable()
        )

    def train(self, mode: bool = True) -> AdaptedModel:
        """Training mode, without dropout where nothing before the head trains."""
        super().train(mode)
        if mode and self.frozen_before_head:
            self.network.eval()
            self.modules_of_adapters.eval()
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: all that a checkpoint needs beyond the base."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    def load_trainable(self, state: Mapping[str, Tensor]) -> None:
        """Copies a saved `trainable()` in.

        Raises:
            RecipeError: the names or shapes are not those of this model.
        """
        own = self.trainable()
        different = sorted(own.keys() ^ state.keys()) or [
            name for name in own if own[name].shape != state[name].shape
        ]
        if different:
            raise RecipeError(
                f"the saved weights do not fit this model: {len(different)} tensors differ, "
                f"first {different[0]}. Use the recipe that the weights were trained with."
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

    def states(self) -> dict[str, dict[str, Tensor]]:
        """What the adapters gathered while training, by their position."""
        states = {str(position): a.state() for position, a in enumerate(self.adapters)}
        return {position: state for position, state in states.items() if state}

    def load_states(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Gives the adapters a saved `states()` back."""
        for position, state in states.items():
            self.adapters[int(position)].load_state(state)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; penalties of adapters are part of it in training mode."""
        if isinstance(self.head, ClassHead):
            assert batch.target is not None
            stages, seen = self._signalled(batch.without_target())
            logits = self.head.logits(self._features(self.head, seen))
            return self.head.loss(logits, batch.target) + self._penalty(stages)
        batch = self._without_flat(batch)
        stages, seen = self._signalled(batch)
        penalty = self._penalty(stages)
        plain = not any(a.changes_channels or a.corrects_forecast for a in self.adapters)
        if plain and self._estimate is None and self.head is None:
            return self.backbone.loss(seen, self) + penalty
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
        return restored.loss(batch.target, learned, scale[..., None]) + penalty

    def forecast(self, batch: Batch, steps: int) -> Forecast:
        """The forecast of the next `steps` samples, data units; the target is not looked at."""
        stages, seen = self._signalled(batch.without_target())
        return self._restored(self._forecast(seen, steps), stages)

    def reconstruct(self, batch: Batch) -> Forecast:
        """A head's estimate of every context sample, from the observed ones.

        The backbone's own where the model has no other.
        """
        stages, seen = self._signalled(batch.without_target())
        if isinstance(self.head, FillingHead):
            filled = self.head.reconstruct(self._features(self.head, seen), seen)
        else:
            assert isinstance(self.backbone, ReconstructingBackbone)
            nothing = torch.zeros_like(seen.observed)  # beyond what is not observed
            filled = self.backbone.reconstruct(seen, nothing, self)
        return self._restored(filled, stages)

    def encode(self, batch: Batch) -> Encoded:
        """Tokens of the context, as the adapters leave them."""
        return self.backbone.encode(self._signalled(batch.without_target())[1], self)

    def features(self, batch: Batch) -> Tensor:
        """What the head reads, (B, ...) float32."""
        assert self.head is not None
        return self._features(self.head, self._signalled(batch.without_target())[1])

    def logits(self, batch: Batch) -> Tensor:
        """The head's classes (B, K), before they are probabilities."""
        assert isinstance(self.head, ClassHead)
        return self.head.logits(self.features(batch))

    def prefix(self, batch: Batch, layer: int) -> Tensor | None:
        """The prompts of all adapters, one after another.

        First those that are renewed: deeper layers overwrite the first prompts, the others flow
        on.
        """
        ordered = sorted(self.adapters, key=lambda adapter: not adapter.renews_prompts)
        prompts = [p for a in ordered if (p := a.prefix(batch, layer)) is not None]
        if len(prompts) <= 1:
            return prompts[0] if prompts else None
        return torch.cat([per_series(prompt, batch) for prompt in prompts], dim=2)

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """The data tokens through the mixers of all adapters."""
        for adapter in self.adapters:
            tokens = adapter.tokens(tokens, layer)
        return tokens

    def _attach(self, head: Head, outputs: Outputs, trained_by: Mapping[int, Adapter]) -> None:
        """Attaches the head, and freezes what an adapter trains outside the encoder.

        One window of noise goes through the encoder: it shows the tokens' shape, and what of the
        adapters the tokens depend on.
        """
        device = next(self.network.parameters()).device
        channels = self.setting.channels
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            self.eval()
            noise = torch.randn(1, len(channels), outputs.context, device=device)
            window = Batch(
                values=noise,
                observed=torch.ones_like(noise, dtype=torch.bool),
                target=None,
                target_observed=None,
                start_s=torch.full((1,), torch.nan, dtype=torch.float64, device=device),
                rate_hz=outputs.rate_hz,
                channels=channels,
                subjects=self.setting.subjects[:1] or ("",),
            )
            tokens = self.encode(window).tokens
            trained = self.trainable()
            gradients: Sequence[Tensor | None] = [None] * len(trained)
            if trained and tokens.requires_grad:
                gradients = torch.autograd.grad(
                    tokens.sum(), list(trained.values()), allow_unused=True
                )
        restores = not isinstance(head, ClassHead)  # adapters act on what these say, too
        reached: dict[int, int] = {}  # adapter: tensors that the tokens or the loss depend on
        for parameter, gradient in zip(trained.values(), gradients, strict=True):
            adapter = trained_by[id(parameter)]
            later = restores and (adapter.corrects_forecast or adapter.changes_channels)
            learns = later or gradient is not None
            reached[id(adapter)] = reached.get(id(adapter), 0) + learns
            parameter.requires_grad_(learns)
        for adapter in self.adapters:
            # One that changes channels may do so by what is fitted alone.
            if reached.get(id(adapter)) == 0 and not adapter.changes_channels:
                raise RecipeError(
                    f"adapters: {adapter.name} trains nothing that the tokens of "
                    f"{self.backbone.spec.name}'s encoder depend on, and head {head.name} reads "
                    "those. Leave it out, or choose sites in the encoder."
                )
        _, encoded, number, width = tokens.shape
        plan = Plan(
            channels=encoded,
            tokens=number,
            width=width,
            patch=self.backbone.spec.patch,
            causal=self.backbone.spec.causal,
            data_channels=len(channels),
            base_sha256=self.base_sha256,
            **{name: value for name, value in asdict(outputs).items() if name != "rate_hz"},
        )
        head.attach(plan, device)
        self.module_of_head = head.module

    def _forecast(self, seen: Batch, steps: int) -> Forecast:
        """The head's forecast of a batch as the adapters changed it."""
        if isinstance(self.head, ForecastHead):
            return self.head.forecast(self._features(self.head, seen), seen, steps)
        return self.backbone.forecast(seen, steps, self)

    def _features(self, head: Head, seen: Batch) -> Tensor:
        """The head's features of a batch as the adapters changed it."""
        if seen.features is not None:
            return seen.features
        return head.features(self.backbone.encode(seen, self), seen)

    def _penalty(self, stages: Sequence[Batch]) -> Tensor | float:
        """What the adapters add to the loss in training mode, given what `signal` was given."""
        pairs = zip(self.adapters, stages, strict=True) if self.training else ()
        penalties = [adapter.penalty(stage) for adapter, stage in pairs]
        return sum((term for term in penalties if term is not None), start=0.0)

    def _signalled(self, batch: Batch) -> tuple[list[Batch], Batch]:
        """What each adapter's `signal` was given, and what the backbone is given."""
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
        """The batch with the targets of flat contexts unobserved."""
        assert batch.target_observed is not None
        known = self.deviation if self.deviation.numel() else batch.values.new_full((), torch.nan)
        floor = FLAT * torch.nan_to_num(known, nan=0.0)
        level = torch.where(batch.observed, batch.values.abs(), 0.0).amax(-1)
        rounding = 1e-6 * level  # what a constant seems to deviate in float32
        flat = self._scale(batch) <= floor + rounding  # (B, C)
        return replace(batch, target_observed=batch.target_observed & ~flat[..., None])

    def _scale(self, batch: Batch) -> Tensor:
        """The deviation (B, C) that errors are divided by: of what the context shows.

        A head that fills learns of channels that show nothing too; theirs is that of train.
        """
        shown = _deviation(batch.values, batch.observed)
        if not isinstance(self.head, FillingHead) or not self.deviation.numel():
            return shown
        known = torch.nan_to_num(self.deviation, nan=0.0)
        return torch.where(batch.observed.any(-1), shown, known)


def device_for(accelerator: str) -> torch.device:
    """The device that scores and predicts, for a recipe's `train.accelerator`."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def weights_sha256(network: nn.Module) -> str:
    """Hash over names, shapes and bytes of all weights; equal for equal weights in any file."""
    digest = sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if not tensor.is_meta:
            contiguous = tensor.detach().cpu().contiguous()
            digest.update(contiguous.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_order(adapters: Sequence[Adapter]) -> None:
    """Stops where an adapter of the data's channels would meet others.

    Raises:
        RecipeError: an adapter stands behind one that changes the channels.
    """
    changing = None
    for adapter in adapters:
        if changing and (adapter.changes_channels or adapter.corrects_forecast):
            raise RecipeError(
                f"adapters: {adapter.name} works on the data's channels and stands behind "
                f"{changing}, which puts others in their place. "
                + ("Keep one of them." if adapter.changes_channels else "Put it before.")
            )
        changing = adapter.name if adapter.changes_channels else changing


def _deviation(values: Tensor, observed: Tensor) -> Tensor:
    """Standard deviation (B, C) over observed samples; 0 where none is."""
    count = observed.sum(-1).clamp(min=1)
    mean = torch.where(observed, values, 0.0).sum(-1) / count
    centred = torch.where(observed, values - mean[..., None], 0.0)
    return (centred.square().sum(-1) / count).sqrt()
