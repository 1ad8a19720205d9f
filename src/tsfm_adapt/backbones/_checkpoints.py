"""Checkpoints on disk and on the Hub: where they are, and whether they fit a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm_adapt.backbones import embedded
from tsfm_adapt.errors import EnvironmentProblem, RecipeError, TsfmAdaptError

if TYPE_CHECKING:
    from torch import nn


def locate(name: str, checkpoint: str) -> str:
    """Resolves `backbone.checkpoint` to an absolute folder or a Hub id.

    Raises:
        RecipeError: the folder does not exist or lacks a file.
    """
    if checkpoint == "embedded":
        folder = embedded.FOLDER / name
        if not folder.is_dir():
            included = sorted(path.parent.name for path in embedded.FOLDER.glob("*/config.json"))
            raise RecipeError(
                f"backbone.checkpoint: no weights of {name} come with this version, only those of "
                f"{', '.join(included)}. Give a Hub id, or a folder in upstream's own layout."
            )
    elif Path(checkpoint).expanduser().is_dir():
        folder = Path(checkpoint).expanduser().resolve()
    elif checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/", "~")):
        return checkpoint
    else:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' is neither 'embedded' nor 'tiny', nor a "
            "folder that exists, nor a Hub id of the form 'organisation/name'."
        )
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [] if "config.json" in present else ["config.json"]
    if not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in present):
        missing.append("model.safetensors")
    if missing:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' lacks {' and '.join(missing)} "
            f"(found: {', '.join(sorted(present)) or 'nothing'}). "
            "Give a folder in upstream's own layout, as written by save_pretrained."
        )
    return str(folder)


def fetch(source: str, name: str, revision: str | None) -> Path:
    """Path of one file of a checkpoint; downloaded if it is on the Hub.

    Raises:
        OSError: there is no such file, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    if Path(source).is_dir():
        return Path(source) / name
    return Path(hf_hub_download(source, name, revision=revision))


def complete(checkpoint: str, report: Mapping[str, Collection[object]]) -> None:
    """Raises where weights are missing, which upstream would silently fill with random ones.

    Args:
        checkpoint: as in the recipe.
        report: what `from_pretrained(..., output_loading_info=True)` returned beside the model.

    Raises:
        RecipeError: weights are missing or have another shape.
    """
    lacking = [*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])]
    if lacking:
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' lacks {len(lacking)} of the model's weights, "
            f"first {lacking[0]}. Its config.json and weights do not belong together; fetch both "
            "again."
        )


def fits(checkpoint: str, file: Path, network: nn.Module) -> None:
    """Raises where a weights file does not fit the network; reads names and shapes only.

    Raises:
        RecipeError: weights are missing, too many, or have another shape.
    """
    from safetensors import safe_open

    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    with safe_open(file, framework="pt") as weights:
        shapes = {
            name: tuple(weights.get_slice(name).get_shape())
            for name in weights.keys()  # noqa: SIM118  # not a mapping
        }
    complete(
        checkpoint,
        {
            "missing_keys": [name for name in expected if name not in shapes],
            "mismatched_keys": [n for n in expected if shapes.get(n, expected[n]) != expected[n]],
        },
    )
    if unknown := sorted(shapes.keys() - expected.keys()):
        raise RecipeError(
            f"backbone.checkpoint: '{checkpoint}' has {len(unknown)} weights that its config.json "
            f"leaves no place for, first {unknown[0]}. Fetch both files again."
        )


def unavailable(name: str, checkpoint: str, error: Exception) -> TsfmAdaptError:
    """The error for a checkpoint that upstream's class could not load."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    text = f"backbone.checkpoint: '{checkpoint}' could not be loaded as {name}: {reason} "
    if checkpoint == "embedded" or Path(checkpoint).expanduser().is_dir():
        return RecipeError(f"{text}Write the folder again with save_pretrained.")
    return EnvironmentProblem(
        f"{text}Check the id and the connection (HF_HUB_OFFLINE must be unset), download it "
        "beforehand, or use checkpoint: embedded."
    )
