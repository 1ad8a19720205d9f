"""Hooks that let adapters act on the tokens of an encoder made of blocks.

Registered once when a backbone is built, without effect unless a pass is active. The active pass
is a context variable, so threads and nested forwards do not see each other's. Hooks sit on the
encoder and its blocks only, never inside a block: under gradient checkpointing those would run
again in the backward pass, when no pass is active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tsfm_adapt.backbones.base import overwritten, per_series

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Through
    from tsfm_adapt.batches import Batch


@dataclass(frozen=True)
class _Pass:
    site: Site
    through: Through
    batch: Batch
    data_tokens: int  # the leading tokens of the encoder's rows that belong to the context
    prompts: list[int]  # [how many leading tokens of a row are prompts], once layer 0 inserted any
    read: int | None  # trailing tokens whose last states the caller reads; None = all


_ACTIVE: ContextVar[_Pass | None] = ContextVar("active pass", default=None)

# Extends the encoder's keyword arguments (masks, positions) by N leading prompt tokens.
Extend = Callable[[dict[str, Any], int], dict[str, Any]]


class Site:
    """Where prompts enter and leave an encoder, and where data tokens can be mixed.

    The encoder takes its tokens (B*C, L, D) as `inputs_embeds`, and its blocks take them as first
    argument; rows are ordered by window, then by channel. A subclass may lay them out otherwise.
    """

    def __init__(self, encoder: nn.Module, blocks: Sequence[nn.Module], extend: Extend) -> None:
        self._extend = extend
        encoder.register_forward_pre_hook(self._enter, with_kwargs=True)
        encoder.register_forward_hook(self._leave)
        for layer, block in enumerate(blocks):
            block.register_forward_pre_hook(_BlockHook(self, layer))

    @contextmanager
    def run(
        self, through: Through, batch: Batch, data_tokens: int, read: int | None = None
    ) -> Iterator[None]:
        """Activates `through` for the forwards inside the block."""
        token = _ACTIVE.set(_Pass(self, through, batch, data_tokens, [], read))
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    def active(self) -> _Pass | None:
        """The pass that runs through this site now."""
        current = _ACTIVE.get()
        return current if current is not None and current.site is self else None

    def rows(self, series: Tensor) -> Tensor:
        """Tokens (B, C, n, D) in the encoder's layout."""
        return series.flatten(0, 1)

    def series(self, rows: Tensor, batch: Batch) -> Tensor:
        """Tokens in the encoder's layout as (B, C, n, D)."""
        tokens: Tensor = rows.unflatten(0, batch.values.shape[:2])
        return tokens

    def _enter(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        import torch

        current = self.active()
        if current is None:
            return None
        embeddings = kwargs["inputs_embeds"]
        data = self.series(embeddings[:, : current.data_tokens], current.batch)
        prompts = current.through.prefix(current.batch, 0, data)
        if prompts is None:
            return None
        rows = self.rows(per_series(prompts, current.batch)).to(embeddings.dtype)
        current.prompts.append(rows.shape[1])
        extended = self._extend(dict(kwargs), rows.shape[1])
        return args, extended | {"inputs_embeds": torch.cat([rows, embeddings], dim=1)}

    def _leave(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        current = self.active()
        if current is None or not current.prompts:
            return None
        output.last_hidden_state = output.last_hidden_state[:, current.prompts[0] :]
        return output


class _BlockHook:
    """Before block `layer`: deep prompts overwrite those inserted, data tokens are mixed."""

    def __init__(self, site: Site, layer: int) -> None:
        self._site = site
        self._layer = layer

    def __call__(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        import torch

        current = self._site.active()
        if current is None:
            return None
        site = self._site
        hidden: Tensor = args[0]  # (B*C, N+L, D)
        inserted = current.prompts[0] if current.prompts else 0
        head, tail = hidden[:, :inserted], hidden[:, inserted + current.data_tokens :]
        data = hidden[:, inserted : inserted + current.data_tokens]
        grid = site.series(data, current.batch)  # (B, C, P, D)
        if self._layer > 0 and inserted:
            deep = current.through.prefix(current.batch, self._layer, grid)
            if deep is not None:
                deeper = per_series(deep, current.batch).to(hidden.dtype)
                before = site.series(head, current.batch)  # (B, C, N, D)
                head = site.rows(overwritten(before, deeper, self._layer))
        mixed = current.through.tokens(grid, self._layer)
        if mixed is grid and head.shape[1] == 0:
            return None
        return torch.cat([head, site.rows(mixed), tail], dim=1), *args[1:]
