"""A linear layer on features that are standardised by what they were in train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsfm_adapt.signals.recording import FloatArray


class StandardisedLinear(nn.Module):
    """Logits (B, K) of features (B, F).

    Args:
        inputs: F.
        outputs: K.
        dropout: on the standardised features, in training.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, outputs)

    def standardise(self, features: FloatArray) -> None:
        """Takes mean and deviation from features (N, F); those that never vary become 0."""
        known = torch.from_numpy(features).double()
        deviation = known.std(0, correction=0)
        varies = deviation > 1e-6 * (known.mean(0).abs() + 1)
        self.mean.copy_(known.mean(0))
        self.deviation.copy_(torch.where(varies, deviation, torch.inf))

    def forward(self, features: Tensor) -> Tensor:
        """(B, K)."""
        scaled = (features - self.mean) / self.deviation
        logits: Tensor = self.linear(self.dropout(scaled))
        return logits
