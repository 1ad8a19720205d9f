"""Where a bundle lies, and what it holds of a head, for those that need no whole model of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads.base import SavedHead

if TYPE_CHECKING:
    from torch import Tensor

CARD = "bundle.json"  # written last: it makes a folder a bundle
TRAINED = "modules.safetensors"  # every trained tensor that is not peft's
FITTED = "fitted.safetensors"  # what was fitted on train

_HEAD = "module_of_head."  # how the names of a head's tensors begin


def bundle_in(folder: Path) -> Path | None:
    """The bundle that a run's folder holds, or that the folder itself is; None = neither."""
    places = (folder / "bundle", folder)
    return next((place for place in places if (place / CARD).is_file()), None)


def saved_head(folder: Path) -> SavedHead:
    """The head in a bundle or run that `head.shared` names.

    Raises:
        RecipeError: the folder is neither, or a file of it cannot be read.
    """
    bundle = bundle_in(folder)
    if bundle is None:
        raise RecipeError(
            f"head.shared: '{folder}' is no bundle, it has no {CARD}. Give the folder of a "
            "bundle or run that was trained with label_queries."
        )
    return SavedHead(_head_tensors(bundle), _base_sha256(bundle))


def _base_sha256(bundle: Path) -> str:
    try:
        return str(json.loads((bundle / CARD).read_bytes())["base_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(bundle / CARD, error) from error


def _head_tensors(bundle: Path) -> dict[str, Tensor]:
    """Trained and fitted tensors, by their names in the head's module."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    for file in (TRAINED, FITTED):
        if not (bundle / file).is_file():
            continue
        try:
            with safe_open(bundle / file, framework="pt") as tensors:
                names = [name for name in tensors.keys() if name.startswith(_HEAD)]  # noqa: SIM118
                found |= {name.removeprefix(_HEAD): tensors.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise _unreadable(bundle / file, error) from error
    return found


def _unreadable(file: Path, error: Exception) -> RecipeError:
    return RecipeError(f"head.shared: '{file}' cannot be read ({error}). Save the bundle again.")
