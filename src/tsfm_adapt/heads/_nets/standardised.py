"""Linear layers on features that are standardised by their statistics in train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsfm_adapt.signals.recording import FloatArray

_CHUNK = 512  # windows pooled at once


class Standardised(nn.Module):
    """Features (B, F) standardised by mean and standard deviation of train, kept as buffers.

    Args:
        weights: (F,) the standard deviation that each is scaled to in train.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(weights)))
        self.register_buffer("deviation", torch.ones(len(weights)))
        self._weights = torch.tensor(weights, dtype=torch.float64)

    def standardise(self, features: FloatArray) -> FloatArray:
        """Computes mean and standard deviation of features (N, F); returns them standardised.

        Those that never vary become 0.
        """
        single = torch.from_numpy(features)
        known = single.double()
        deviation = known.std(0, correction=0)
        varies = deviation > 1e-6 * (known.mean(0).abs() + 1)
        self.mean.copy_(known.mean(0))
        self.deviation.copy_(torch.where(varies, deviation / self._weights, torch.inf))
        result: FloatArray = self.scaled(single.to(self.mean.device)).cpu().numpy()
        return result

    def scaled(self, features: Tensor) -> Tensor:
        """(B, F)."""
        return (features - self.mean) / self.deviation


class StandardisedLinear(Standardised):
    """Logits (B, K) by a linear layer that trains.

    Args:
        weights: (F,) see `Standardised`.
        outputs: K.
        dropout: on the standardised features, in training.
        pool: makes features (B, F) of what comes in; None = they come in so.
    """

    def __init__(
        self,
        weights: Sequence[float],
        outputs: int,
        dropout: float,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__(weights)
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(len(weights), outputs)

    def pooled(self, features: FloatArray) -> FloatArray:
        """(N, F) of what comes in, (N, ...), by the pool as it is now."""
        if self.pool is None:
            return features
        device = self.mean.device
        with torch.no_grad():
            parts = [self.pool(p.to(device)) for p in torch.from_numpy(features).split(_CHUNK)]
        result: FloatArray = torch.cat(parts).cpu().numpy()
        return result

    def start_from(self, weight: FloatArray, bias: FloatArray) -> None:
        """Puts a fitted classifier (K, F), (K,) of standardised features in the layer's place."""
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight))
            self.linear.bias.copy_(torch.from_numpy(bias))

    def forward(self, features: Tensor) -> Tensor:
        """(B, K)."""
        if self.pool is not None:
            features = self.pool(features)
        logits: Tensor = self.linear(self.dropout(self.scaled(features)))
        return logits


class FittedLinear(Standardised):
    """Logits (B, K) by a layer that was fitted: its weight and bias are buffers.

    Args:
        weights: (F,) see `Standardised`.
        outputs: K.
    """

    weight: Tensor  # (K, F)
    bias: Tensor  # (K,)

    def __init__(self, weights: Sequence[float], outputs: int) -> None:
        super().__init__(weights)
        self.register_buffer("weight", torch.zeros(outputs, len(weights)))
        self.register_buffer("bias", torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, K)."""
        return F.linear(self.scaled(features), self.weight, self.bias)
