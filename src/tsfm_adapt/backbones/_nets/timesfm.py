"""TimesFM 2.5 in other sizes than the published one, and its checkpoint folder.

Upstream's class fixes its sizes, so its own config.json does not state them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from timesfm.timesfm_2p5.timesfm_2p5_torch import TimesFM_2p5_200M_torch_module


class Sizes(BaseModel):
    """What `write` puts under "tsfm_adapt" in config.json; defaults are the published sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: PositiveInt = 1280
    layers: PositiveInt = 20
    heads: PositiveInt = 16
    output_patch: PositiveInt = 128  # samples of one pass
    quantile_steps: PositiveInt = 1024  # samples of the continuous quantile head
    max_context: PositiveInt = 16384


def untrained(sizes: Sizes) -> TimesFM_2p5_200M_torch_module:
    """A random network with open norms; upstream's zeros would close every block."""
    from torch.nn.init import ones_

    model = network(sizes)
    for name, parameter in model.named_parameters():
        if name.endswith("ln.scale"):
            ones_(parameter)
    return model


def write(model: TimesFM_2p5_200M_torch_module, folder: Path) -> Sizes:
    """Saves weights and sizes as a checkpoint folder; upstream's names, float32.

    Upstream's own class loads it where the sizes, which are returned, are those of the published
    model.
    """
    from safetensors.torch import save_file

    layer = model.config.stacked_transformers.transformer
    sizes = Sizes(
        width=layer.model_dims,
        layers=model.config.stacked_transformers.num_layers,
        heads=layer.num_heads,
        output_patch=model.config.output_patch_len,
        quantile_steps=model.config.output_quantile_len,
        max_context=model.config.context_limit,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.dumps({"tsfm_adapt": sizes.model_dump()}, indent=2)
    (folder / "config.json").write_text(settings + "\n", encoding="utf-8")
    return sizes


def network(sizes: Sizes) -> TimesFM_2p5_200M_torch_module:
    """Upstream's network in other sizes; it reads them from a class attribute."""
    from timesfm.configs import (
        ResidualBlockConfig,
        StackedTransformersConfig,
        TransformerConfig,
    )
    from timesfm.timesfm_2p5.timesfm_2p5_base import TimesFM_2p5_200M_Definition
    from timesfm.timesfm_2p5.timesfm_2p5_torch import TimesFM_2p5_200M_torch_module

    class Definition(TimesFM_2p5_200M_Definition):  # type: ignore[misc]  # untyped upstream
        context_limit = sizes.max_context

    published = Definition()
    width, columns = sizes.width, 1 + len(published.quantiles)
    layer = TransformerConfig(
        model_dims=width,
        hidden_dims=width,
        num_heads=sizes.heads,
        attention_norm="rms",
        feedforward_norm="rms",
        qk_norm="rms",
        use_bias=False,
        use_rotary_position_embeddings=True,
        ff_activation="swish",
        fuse_qkv=True,
    )

    class Sized(TimesFM_2p5_200M_torch_module):  # type: ignore[misc]  # untyped upstream
        config = Definition(
            output_patch_len=sizes.output_patch,
            output_quantile_len=sizes.quantile_steps,
            tokenizer=ResidualBlockConfig(
                2 * published.input_patch_len, width, width, use_bias=True, activation="swish"
            ),
            stacked_transformers=StackedTransformersConfig(sizes.layers, layer),
            output_projection_point=ResidualBlockConfig(
                width, width, columns * sizes.output_patch, use_bias=False, activation="swish"
            ),
            output_projection_quantiles=ResidualBlockConfig(
                width, width, columns * sizes.quantile_steps, use_bias=False, activation="swish"
            ),
        )

    return Sized()


def sizes_of(checkpoint: str, settings: Any) -> Sizes:
    """The sizes stated in config.json, the published ones where it states none.

    Raises:
        RecipeError: they cannot be sizes of this model.
    """
    stated = settings.get("tsfm_adapt", {}) if isinstance(settings, dict) else settings
    try:
        sizes = Sizes.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("tsfm_adapt", *(str(part) for part in first["loc"])))
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is not a timesfm model: {where} in its "
            f"config.json: {first['msg']}. Give a folder as upstream or `write` saved it."
        ) from error
    return sizes
