"""One vector a channel from its tokens, and what instance normalisation took away from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsfm_adapt.heads.base import Pooling, pooled

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch

Merge = Literal["concat", "mean"]

STATISTICS = 3  # a channel: mean, logarithm of the standard deviation, share observed


def vectors(
    encoded: Encoded, batch: Batch, pooling: Pooling, merge: Merge, with_statistics: bool
) -> Tensor:
    """One vector a window from pooled tokens, (B, C * F) or (B, F).

    Args:
        encoded: tokens (B, C, P, D).
        batch: the same windows and channels.
        pooling: of a channel's tokens; not auto, which `resolved` replaces.
        merge: channels side by side, or the mean of those that show something.
        with_statistics: adds `statistics` to each channel.
    """
    import torch

    from tsfm_adapt.heads._nets.channels import merged

    assert pooling != "auto"
    parts = pooled(encoded, pooling).float()
    if with_statistics:
        parts = torch.cat([parts, statistics(batch)], dim=-1)
    return merged(parts, encoded.token_observed.any(2), merge)


def weights(width: int, channels: int, merge: Merge, with_statistics: bool) -> list[float]:
    """The standard deviation (F,) that each number of `vectors` is scaled to in train.

    1, but with statistics the tokens of a channel together weigh as much as one statistic: the
    three would be lost among hundreds under one penalty.
    """
    share = width**-0.5 if with_statistics else 1.0
    one = [share] * width + [1.0] * (STATISTICS * with_statistics)
    return one * (channels if merge == "concat" else 1)


def vectors_key(pooling: Pooling, merge: Merge, with_statistics: bool) -> str:
    """`Head.cache_key` of heads whose features are `vectors`."""
    return f"vectors {pooling} {merge} {with_statistics}"


def flagged(encoded: Encoded) -> Tensor:
    """All tokens (B, C, P, D + 1) float32; the last number is 1 where a token is observed."""
    import torch

    seen = encoded.token_observed[..., None]
    return torch.cat([torch.where(seen, encoded.tokens, 0.0), seen], dim=-1).float()


def statistics(batch: Batch) -> Tensor:
    """Mean, logarithm of the standard deviation, share observed of each channel: (B, C, 3).

    Backbones standardise each window, so that tokens do not hold its mean and standard deviation.
    Both are in the data's units, and 0 where a channel has no observed sample.
    """
    import torch

    seen = batch.observed
    count = seen.sum(-1)
    values = torch.where(seen, batch.values, 0.0).double()
    mean = values.sum(-1) / count.clamp(min=1)
    centred = torch.where(seen, values - mean[..., None], 0.0)
    deviation = (centred.square().sum(-1) / count.clamp(min=1)).sqrt()
    spread = torch.where(count > 0, (deviation + 1e-3).log(), 0.0)
    share = count / seen.shape[-1]
    return torch.stack([mean, spread, share], dim=-1).float()
