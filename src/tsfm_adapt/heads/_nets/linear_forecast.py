"""All tokens of a channel at once to its next samples, every channel alike."""

from __future__ import annotations

from torch import Tensor, nn


class LinearForecast(nn.Module):
    """Scaled quantiles (..., Q, H) of tokens (..., P*D), side by side.

    Args:
        inputs: P*D.
        quantiles: Q.
        horizon: H.
        dropout: on the tokens, in training.
    """

    def __init__(self, *, inputs: int, quantiles: int, horizon: int, dropout: float) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, quantiles * horizon)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., Q, H)."""
        samples: Tensor = self.linear(self.dropout(tokens)).unflatten(-1, (self.quantiles, -1))
        return samples
