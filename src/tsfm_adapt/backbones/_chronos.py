"""Shared by the Chronos families: loading, and batches as rows with NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt.backbones._checkpoints import complete, locate, unavailable
from tsfm_adapt.backbones.base import (
    BackboneConfig,
    BackboneSpec,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # What upstream raises for missing settings or settings of a wrong type.
    invalid = (TypeError, ValueError, AttributeError, StrictDataclassError)
    source = locate(recipe.name, recipe.checkpoint)
    silent: AbstractContextManager[None] = nullcontext()
    if Path(source).is_dir():
        silent = _without_progress_bars()
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
        with silent:  # a bar is for downloads
            model, report = model_class.from_pretrained(
                source, revision=recipe.revision, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, RuntimeError, SafetensorError, *invalid) as error:
        raise unavailable(recipe.name, recipe.checkpoint, error) from error
    complete(recipe.checkpoint, report)
    return model


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Hides progress bars of `transformers` and of the Hub; their switches are put back."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils.logging import (
        disable_progress_bar,
        enable_progress_bar,
        is_progress_bar_enabled,
    )

    if not is_progress_bar_enabled():
        yield
        return
    hidden_on_hub = are_progress_bars_disabled()
    disable_progress_bar()  # of both packages
    try:
        yield
    finally:
        enable_progress_bar()
        if hidden_on_hub:
            disable_progress_bars()


def rows(batch: Batch) -> Tensor:
    """The context as rows (B*C, T), one a series, NaN where not observed, as upstream expects."""
    return batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1)


def target_rows(batch: Batch, steps: int) -> Tensor:
    """The first `steps` of each target (B*C, H), NaN where not observed."""
    assert batch.target is not None
    assert batch.target_observed is not None
    target = batch.target.masked_fill(~batch.target_observed, float("nan"))
    return target.flatten(0, 1)[:, :steps]


def data_tokens(batch: Batch, spec: BackboneSpec) -> int:
    """P, the number of context tokens in the encoder."""
    return ceil(min(batch.values.shape[-1], spec.max_context) / spec.patch)


def detach_statistics(instance_norm: nn.Module) -> None:
    """Detaches the instance norm's mean and standard deviation; gradients pass the values only.

    Upstream's means over observed samples give every sample of a series NaN where one was missed
    or padded, and so does the standard deviation of a constant series. No output changes.
    """

    def with_detached(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(args) > 1 or not args[0].requires_grad:
            return args  # scaled by earlier statistics, or without gradients
        _, loc_scale = module.forward(args[0].detach())
        return args[0], loc_scale

    instance_norm.register_forward_pre_hook(with_detached)


def extend(arguments: dict[str, Any], prompts: int) -> dict[str, Any]:
    """The encoder's arguments for `prompts` visible leading tokens.

    Positions need nothing: Chronos-2 counts them anew, Bolt's bias is relative.
    """
    import torch

    mask = arguments["attention_mask"]
    visible = mask.new_ones(mask.shape[0], prompts)
    return arguments | {"attention_mask": torch.cat([visible, mask], dim=1)}
