"""Chronos-T5's tokens: bins of values, and sample paths that a decoder continues.

Ansari et al., "Chronos: Learning the Language of Time Series", arXiv 2403.07815. Runs on the
tokenizer of `chronos-forecasting` and the decoder of `transformers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

# Quantile levels of the expected path's forecast, those of Chronos-2; others are interpolated.
LEVELS = (0.01, *(twentieth / 20 for twentieth in range(1, 20)), 0.99)


class Bins:
    """Quantisation of values: each token but the special ones is a bin of scaled values.

    Args:
        settings: a `ChronosConfig`, untyped upstream.
        tokenizer: that `settings` creates.
    """

    def __init__(self, settings: Any, tokenizer: Any) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._warp = _warpers(settings)

    def draw(self, logits: Tensor) -> Tensor:
        """One sampled token (rows, paths) each, as in `generate`; never EOS."""
        logits[..., self._settings.eos_token_id] = -torch.inf
        scores: Tensor = self._warp(None, logits.flatten(0, 1))
        return torch.multinomial(scores.softmax(-1), 1).view(logits.shape[:2])

    def nearest(self, logits: Tensor) -> Tensor:
        """The token (rows, paths) whose bin holds the expected value."""
        boundaries: Tensor = self._tokenizer.boundaries.to(logits.device)
        index = torch.bucketize(self.mean(self.probabilities(logits)), boundaries, right=True)
        first: int = self._settings.n_special_tokens
        return index + first

    def values(self, tokens: Tensor, scale: Tensor) -> Tensor:
        """Tokens as values (rows, paths, h) in the data's units, on the CPU."""
        values: Tensor = self._tokenizer.output_transform(tokens.cpu(), scale)
        return values

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each bin, special tokens left out, untruncated."""
        first, end = self._settings.n_special_tokens + 1, self._settings.n_tokens
        return logits[..., first:end].float().softmax(-1)

    def mean(self, bins: Tensor) -> Tensor:
        """Expected values in scaled space; in full precision under autocast too."""
        with torch.autocast(bins.device.type, enabled=False):
            return bins @ self.centers(bins.device)

    def centers(self, device: torch.device) -> Tensor:
        centers: Tensor = self._tokenizer.centers.to(device)
        return centers

    def quantiles(self, bins: Tensor) -> Tensor:
        """Values (..., Q) at `LEVELS` of a distribution over bins (..., V), uniform in a bin."""
        centers = self.centers(bins.device)
        levels = torch.tensor(LEVELS, device=bins.device).expand(*bins.shape[:-1], -1).contiguous()
        reached = bins.cumsum(dim=-1)
        index = torch.searchsorted(reached, levels).clamp(max=len(centers) - 1)
        above, mass = reached.gather(-1, index), bins.gather(-1, index)
        # Rounding of the sum may place a level slightly outside its bin.
        share = (1 - (above - levels) / mass.clamp(min=1e-12)).clamp(0, 1)
        return centers[index] + (share - 0.5) * (centers[1] - centers[0])


class PathDecoder:
    """Decodes several paths of tokens for each series from the encoder's states of it.

    Args:
        model: whose decoder is used.
    """

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        self._model = model

    def rolled_out(
        self,
        states: Tensor,
        visible: Tensor,
        steps: int,
        paths: int,
        pick: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Tokens (rows, paths, steps), each picked from its step's logits (rows, paths, V)."""
        import torch
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens = [self._start(len(states), paths, states.device)]
        for _ in range(steps):
            logits = self._logits(tokens[-1], states, visible, cache)
            tokens.append(pick(logits[:, :, -1].float())[..., None])
        return torch.cat(tokens[1:], dim=-1)

    def retraced(self, tokens: Tensor, states: Tensor, visible: Tensor) -> Tensor:
        """Logits (rows, paths, h, V) of every step, given the tokens before it, with gradients."""
        start = self._start(len(tokens), tokens.shape[1], tokens.device)
        return self._logits(torch.cat([start, tokens[..., :-1]], dim=-1), states, visible)

    def _logits(
        self,
        tokens: Tensor,  # (rows, paths, L)
        states: Tensor,
        visible: Tensor,
        cache: Any = None,  # of transformers; keys and values of earlier tokens
    ) -> Tensor:
        """Logits (rows, paths, L, V) of the decoder.

        Upstream's stack, but the paths of one series share the keys and values of its encoder
        states, which one row a path would hold once for each.
        """
        from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

        decoder, shape = self._model.decoder, tokens.shape[1:]
        hidden = decoder.dropout(decoder.embed_tokens(tokens.flatten(0, 1)))
        together = hidden.unflatten(0, tokens.shape[:2]).flatten(1, 2)
        context_mask = create_bidirectional_mask(
            config=decoder.config,
            inputs_embeds=together,
            attention_mask=visible,
            encoder_hidden_states=states,
        )
        path_mask = None  # one token after all others sees them all
        if cache is None:
            path_mask = create_causal_mask(
                config=decoder.config,
                inputs_embeds=hidden,
                attention_mask=None,
                past_key_values=None,
            )
        bias = context_bias = None  # made in the first block, shared by the others
        for block in decoder.block:
            own, context, feed_forward = block.layer
            hidden, bias, _ = own(
                hidden, attention_mask=path_mask, position_bias=bias, past_key_values=cache
            )
            together, context_bias, _ = context(
                hidden.unflatten(0, tokens.shape[:2]).flatten(1, 2),
                key_value_states=states,
                attention_mask=context_mask,
                position_bias=context_bias,
                past_key_values=cache,
            )
            hidden = feed_forward(together.unflatten(1, shape).flatten(0, 1))
        hidden = decoder.dropout(decoder.final_layer_norm(hidden))
        if self._model.config.scale_decoder_outputs:
            hidden = hidden * self._model.config.d_model**-0.5
        logits: Tensor = self._model.lm_head(hidden).unflatten(0, tokens.shape[:2])
        return logits

    def _start(self, series: int, paths: int, device: torch.device) -> Tensor:
        token = self._model.config.decoder_start_token_id
        return torch.full((series, paths, 1), token, device=device)


def _warpers(settings: Any) -> Any:  # of chronos and transformers, untyped
    """The steps of `generate` on logits before sampling, in its order."""
    from transformers import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList()
    if settings.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1.0:
        warpers.append(TopPLogitsWarper(settings.top_p))
    return warpers
