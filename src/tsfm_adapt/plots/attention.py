"""The attention between the channels of a window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt.backbones.base import with_channel_attention
from tsfm_adapt.batches import collate
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.signals.recording import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.windows import Windows


def channel_attention(model: AdaptedModel, windows: Windows) -> dict[str, FloatArray]:
    """How much each channel attends to each, over some windows.

    Args:
        model: with an adapter or a backbone that has attention between channels.
        windows: N of them, read at once.

    Returns:
        For each place in the model (C, C): row i is the attention of channel i, and sums to 1; the
        mean over windows, heads and those tokens of channel i that were measured. A row is NaN
        where the channel was never measured. The adapters' where one has any, else the
        backbone's.

    Raises:
        RecipeError: channels do not attend to each other in this model.
    """
    import torch

    device = next(model.parameters()).device
    batch = collate(windows.gather(np.arange(len(windows)))).to(device)
    mixers = {
        f"{adapter.name}, {place}": mixer
        for adapter in model.adapters
        for place, mixer in adapter.channel_attention().items()
    }
    with torch.inference_mode(), _attended(mixers) as attended:
        shown = model.encode(batch).token_observed
        if not mixers:
            own = model.backbone.channel_attention(batch, model)
            attended |= {
                f"block {block}": each for block, each in enumerate(own if own is not None else ())
            }
    if not attended:
        raise RecipeError(
            f"channel attention: in {model.backbone.spec.name} no channel attends to another, and "
            "no adapter adds attention between channels. Add one that does, or use a backbone "
            f"with attention between channels: {', '.join(with_channel_attention())}."
        )
    return {place: _mean(weights, shown) for place, weights in attended.items()}


@contextmanager
def _attended(mixers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What mixers attend to (B, P, C, C) while the block runs."""
    attended: dict[str, Tensor] = {}

    def hook(place: str) -> Any:  # Any: what `register_forward_pre_hook` takes
        def keep(module: Any, given: tuple[Tensor, ...]) -> None:
            attended[place] = module.attention(given[0])

        return keep

    handles = [mixer.register_forward_pre_hook(hook(place)) for place, mixer in mixers.items()]
    try:
        yield attended
    finally:
        for handle in handles:
            handle.remove()


def _mean(weights: Tensor, shown: Tensor) -> FloatArray:
    """The mean (C, C) of (B, P, C, C) over the tokens (B, C, P) that were measured."""
    measured = shown.transpose(1, 2)[..., None]  # (B, P, C, 1)
    total = (weights * measured).sum((0, 1))
    mean: FloatArray = (total / measured.sum((0, 1))).cpu().numpy()  # 0 / 0 is NaN
    return mean
