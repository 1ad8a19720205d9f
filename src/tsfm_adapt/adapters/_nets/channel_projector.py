"""The maps between the channels of the data and latent ones; C channels, K latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The spread of a latent at the start is e^(-2), about 0.14.
_LOG_VARIANCE = -4.0


class Projection(nn.Module):
    """What was fitted on train, as buffers, and what is trained: differences from it.

    The encoder's weight is the principal directions, the decoder's their transpose, each plus a
    trained difference that starts at zero, so that weight decay leads back to them.
    """

    mean: Tensor  # (C,)
    deviation: Tensor  # (C,)
    directions: Tensor  # (K, C), orthonormal rows

    def __init__(
        self, *, channels: int, latents: int, encodes: bool, varies: bool, device: torch.device
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, device=device))
        self.register_buffer("deviation", torch.ones(channels, device=device))
        self.register_buffer("directions", torch.eye(latents, channels, device=device))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device))

        self.encoder = zeros(latents, channels) if encodes else None
        self.log_variance = zeros(latents, channels) if varies else None
        self.log_variance_bias = (
            nn.Parameter(torch.full((latents,), _LOG_VARIANCE, device=device)) if varies else None
        )
        self.decoder = zeros(channels, latents)
        self.bias = zeros(channels)

    def encoded(self, standardised: Tensor) -> Tensor:
        """Means of the latents (B, K, T) of standardised channels (B, C, T)."""
        weight = self.directions
        if self.encoder is not None:
            weight = weight + self.encoder
        return _mixed(weight, standardised)

    def log_variances(self, standardised: Tensor) -> Tensor:
        """Logarithms of the latents' variances (B, K, T)."""
        assert self.log_variance is not None
        assert self.log_variance_bias is not None
        mixed = _mixed(self.log_variance, standardised) + self.log_variance_bias[:, None]
        return mixed.clamp(-12.0, 6.0)

    @property
    def decoding(self) -> Tensor:
        """The decoder's weight (C, K)."""
        weight: Tensor = self.directions.mT + self.decoder
        return weight


def _mixed(weight: Tensor, series: Tensor) -> Tensor:
    """(K, C) times (B, C, T), in the precision of the data under autocast too."""
    with torch.autocast(series.device.type, enabled=False):
        return weight @ series
