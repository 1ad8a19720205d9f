"""What Chronos-2 and Chronos-Bolt share: loading, rows with NaN, forecasts fed back."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt.backbones.base import (
    BackboneConfig,
    BackboneSpec,
    complete,
    locate,
    unavailable,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.batches import Batch


def load(
    recipe: BackboneConfig,
    config_class: Any,  # of transformers, untyped
    model_class: Any,  # of chronos, untyped
    architecture: str,
    weights: bool,
) -> Any:
    """Upstream's model of a checkpoint, float32; on the meta device without weights.

    Raises:
        RecipeError: the checkpoint is of another architecture, broken, or lacks weights.
        EnvironmentProblem: a Hub checkpoint cannot be fetched.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    source = locate(recipe.name, recipe.checkpoint)
    if Path(source).is_dir():
        disable_progress_bar()  # a bar is for downloads
    try:
        config = config_class.from_pretrained(source, revision=recipe.revision)
        if architecture not in (config.architectures or ()):
            raise RecipeError(
                f"backbone.checkpoint: '{recipe.checkpoint}' is not a {recipe.name} model: its "
                f"config.json has architectures {config.architectures}. Give one that has "
                f"{architecture}, or the backbone that fits it."
            )
        if not weights:
            with torch.device("meta"):
                return model_class(config)
        model, report = model_class.from_pretrained(
            source, revision=recipe.revision, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise unavailable(recipe.name, recipe.checkpoint, error) from error
    complete(recipe.checkpoint, report)
    return model


def rows(batch: Batch) -> Tensor:
    """One row a series (B*C, T), NaN where not observed: upstream's own notation."""
    return batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1)


def target_rows(batch: Batch, steps: int) -> Tensor:
    """The first `steps` of each target (B*C, H), NaN where not observed."""
    assert batch.target is not None
    assert batch.target_observed is not None
    target = batch.target.masked_fill(~batch.target_observed, float("nan"))
    return target.flatten(0, 1)[:, :steps]


def data_tokens(batch: Batch, spec: BackboneSpec) -> int:
    """P, the encoder's tokens of the context."""
    return ceil(min(batch.values.shape[-1], spec.max_context) / spec.patch)


def continued(batch: Batch, paths: Tensor, max_context: int) -> Batch:
    """Windows repeated once a path, each continued by its own path (B, paths, C, h).

    A batch that was continued before has one window a path already.
    """
    import torch

    repeats = 1 if batch.size == paths.shape[0] * paths.shape[1] else paths.shape[1]
    added = paths.flatten(0, 1)
    observed = [
        batch.observed.repeat_interleave(repeats, dim=0),
        torch.ones_like(added, dtype=torch.bool),
    ]
    values = torch.cat([batch.values.repeat_interleave(repeats, dim=0), added], dim=-1)
    cut = max(0, values.shape[-1] - max_context)
    return replace(
        batch,
        values=values[..., cut:],
        observed=torch.cat(observed, dim=-1)[..., cut:],
        start_s=batch.start_s.repeat_interleave(repeats) + cut / batch.rate_hz,
        subjects=tuple(subject for subject in batch.subjects for _ in range(repeats)),
    )


def extend(arguments: dict[str, Any], prompts: int) -> dict[str, Any]:
    """The encoder's arguments for `prompts` visible leading tokens.

    Positions need nothing: Chronos-2 counts them anew, Bolt's bias is relative.
    """
    import torch

    mask = arguments["attention_mask"]
    visible = mask.new_ones(mask.shape[0], prompts)
    return arguments | {"attention_mask": torch.cat([visible, mask], dim=1)}
