"""The numbers of an affine correction; R rows, one a subject or one for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Correction(nn.Module):
    """Scale and shift of each row and channel, and the units that they count in."""

    mean: Tensor  # (C,), fitted
    deviation: Tensor  # (C,), fitted

    def __init__(self, rows: int, channels: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, device=device))
        self.register_buffer("deviation", torch.ones(channels, device=device))
        self.log_scale = nn.Parameter(torch.zeros(rows, channels, device=device))
        # In standard deviations
        self.shift = nn.Parameter(torch.zeros(rows, channels, device=device))
