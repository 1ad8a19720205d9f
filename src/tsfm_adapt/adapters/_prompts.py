"""Shared by prompt adapters: the size of data tokens before each block, and which are observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch

Depth = Literal["shallow", "deep"]

# Standard deviation of untrained prompts, as a share of the size of the data tokens beside them.
INIT_STD = 0.1


class _Measuring:
    """A `Through` that records the size of the tokens before every block."""

    def __init__(self) -> None:
        self.sizes: list[Tensor] = []

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002
        return None

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        self.sizes.append(tokens.float().square().mean().sqrt())
        return tokens


def token_sizes(backbone: Encoder) -> Tensor:
    """Root mean square of the data tokens before each block (layers,), of a made-up window.

    Three waves that last eight patches; 1 on the meta device, where nothing can be computed.
    """
    import torch

    from tsfm_adapt.batches import Batch

    spec = backbone.spec
    device = next(backbone.network.parameters()).device
    if device.type == "meta":
        return torch.ones(spec.layers, device=device)
    samples = min(spec.max_context, max(8 * spec.patch, 64))
    time = torch.linspace(0, 1, samples, device=device)
    values = torch.stack([torch.sin(2 * torch.pi * cycles * time) for cycles in (1, 3, 10)])[None]
    batch = Batch(
        values=values,
        observed=torch.ones_like(values, dtype=torch.bool),
        target=None,
        target_observed=None,
        start_s=torch.zeros(1, dtype=torch.float64, device=device),
        rate_hz=1.0,
        channels=("1", "3", "10"),
        subjects=("waves",),
    )
    measuring = _Measuring()
    with torch.no_grad():
        backbone.encode(batch, measuring)
    return torch.stack(measuring.sizes)


def token_observed(backbone: Encoder, batch: Batch, tokens: int) -> Tensor:
    """Which tokens have at least one observed sample, (B, C, P) bool.

    In every family the last token ends with the context.

    Args:
        backbone: that made the tokens.
        batch: of which they were made.
        tokens: P.
    """
    from torch.nn.functional import pad

    length = tokens * backbone.spec.patch
    observed = batch.observed[..., -backbone.spec.max_context :][..., -length:]
    padded = pad(observed, (length - observed.shape[-1], 0), value=False)
    shown: Tensor = padded.unflatten(-1, (tokens, -1)).any(-1)
    return shown
