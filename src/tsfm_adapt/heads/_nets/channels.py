"""One vector a window, from one a channel."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def merged(parts: Tensor, shown: Tensor, merge: Literal["concat", "mean"]) -> Tensor:
    """(B, C * F) or (B, F).

    Args:
        parts: (B, C, F), 0 where a channel has no observed token.
        shown: (B, C), whether a channel has any observed token.
        merge: side by side, or the mean of those that have any.
    """
    if merge == "concat":
        return parts.flatten(1)
    return parts.sum(1) / shown.sum(1, keepdim=True).clamp(min=1)
