"""The two surrogates of each channel and the mixture that they share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Surrogates(nn.Module):
    """a x + g(x) and -b x + g(x); g(x) is 0 at the start."""

    mean: Tensor  # (C,), fitted
    deviation: Tensor  # (C,), fitted

    def __init__(self, channels: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, device=device))
        self.register_buffer("deviation", torch.ones(channels, device=device))
        self.log_a = nn.Parameter(torch.zeros(channels, device=device))
        self.log_b = nn.Parameter(torch.zeros(channels, device=device))
        self.enter = nn.Linear(channels, width, device=device)
        self.leave = nn.Linear(width, channels, device=device)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, channels: Tensor) -> Tensor:
        """Standardised channels (B, C, T) as 2C surrogates (B, 2C, T)."""
        with torch.autocast(channels.device.type, enabled=False):
            hidden = nn.functional.silu(self.enter(channels.mT))
            mixture = self.leave(hidden).mT
            a, b = self.log_a.exp()[:, None], self.log_b.exp()[:, None]
            return torch.cat([a * channels + mixture, mixture - b * channels], dim=1)
