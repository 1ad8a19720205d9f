"""The adapted model: backbone and adapters in the order in which data passes through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tsfm_adapt.backbones.base import per_series
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from tsfm_adapt.adapters.base import Adapter
    from tsfm_adapt.backbones.base import Backbone
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

# A context that deviates less than this share of the channel's deviation in train is flat: the
# loss in the model's scaled space explodes there, so such series do not train.
FLAT = 1e-3


class AdaptedModel(nn.Module):
    """A backbone with its adapters attached.

    With no adapters it is the backbone zero-shot. Calling it gives the training loss, so that a
    data-parallel wrapper sees one forward.

    Args:
        backbone: freshly built; its weights are frozen here, then adapters are attached.
        adapters: in the order of the recipe.
        deviation: (C,) each channel's standard deviation in train, data units; NaN = unknown.

    Raises:
        RecipeError: an adapter does not fit, or none of several trains anything.
    """

    deviation: Tensor

    def __init__(
        self, backbone: Backbone, adapters: Sequence[Adapter] = (), deviation: Tensor | None = None
    ) -> None:
        super().__init__()
        self.base_sha256 = weights_sha256(backbone.network)
        backbone.network.requires_grad_(False)
        for adapter in sorted(adapters, key=lambda adapter: not adapter.injects):
            adapter.attach(backbone)
        self.backbone = backbone
        self.adapters = tuple(adapters)
        self.network = backbone.network
        self.modules_of_adapters = nn.ModuleList(a.module for a in adapters if a.module)
        self.register_buffer(
            "deviation", torch.zeros(0) if deviation is None else deviation, persistent=False
        )
        if adapters and not self.trainable():
            names = ", ".join(adapter.name for adapter in adapters)
            raise RecipeError(
                f"adapters: [{names}] trains zero parameters of {backbone.spec.name}. "
                "Choose sites that exist on it, or adapters: [] for zero-shot."
            )
        self.eval()

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

    def forward(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""
        batch = self._without_flat(batch)
        seen = batch
        for adapter in self.adapters:
            seen = adapter.signal(seen)
        if not any(adapter.changes_channels for adapter in self.adapters):
            return self.backbone.loss(seen, self)
        assert batch.target is not None
        assert batch.target_observed is not None
        forecast = self._restored(
            self.backbone.forecast(seen.without_target(), batch.target.shape[-1], self)
        )
        scale = _deviation(batch.values, batch.observed).clamp(min=1e-6)
        return forecast.loss(batch.target, batch.target_observed, scale[..., None])

    def forecast(self, batch: Batch, steps: int) -> Forecast:
        """The forecast of the next `steps` samples, data units; the target is not looked at."""
        seen = batch.without_target()
        for adapter in self.adapters:
            seen = adapter.signal(seen)
        return self._restored(self.backbone.forecast(seen, steps, self))

    def prefix(self, batch: Batch, layer: int) -> Tensor | None:
        """The prompts of all adapters, one after another."""
        prompts = [p for a in self.adapters if (p := a.prefix(batch, layer)) is not None]
        if len(prompts) <= 1:
            return prompts[0] if prompts else None
        return torch.cat([per_series(prompt, batch) for prompt in prompts], dim=2)

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """The data tokens through the mixers of all adapters."""
        for adapter in self.adapters:
            tokens = adapter.tokens(tokens, layer)
        return tokens

    def _restored(self, forecast: Forecast) -> Forecast:
        for adapter in reversed(self.adapters):
            forecast = adapter.restore(forecast)
        return forecast

    def _without_flat(self, batch: Batch) -> Batch:
        """The batch with the targets of flat contexts unobserved."""
        assert batch.target_observed is not None
        known = self.deviation if self.deviation.numel() else batch.values.new_full((), torch.nan)
        floor = FLAT * torch.nan_to_num(known, nan=0.0)
        level = torch.where(batch.observed, batch.values.abs(), 0.0).amax(-1)
        rounding = 1e-6 * level  # what a constant seems to deviate in float32
        flat = _deviation(batch.values, batch.observed) <= floor + rounding  # (B, C)
        return replace(batch, target_observed=batch.target_observed & ~flat[..., None])


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


def _deviation(values: Tensor, observed: Tensor) -> Tensor:
    """Standard deviation (B, C) over observed samples; 0 where none is."""
    count = observed.sum(-1).clamp(min=1)
    mean = torch.where(observed, values, 0.0).sum(-1) / count
    centred = torch.where(observed, values - mean[..., None], 0.0)
    return (centred.square().sum(-1) / count).sqrt()
