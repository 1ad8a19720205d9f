"""Paired errors of models on the same windows: `predictions/paired.npz` of a run."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsfm_adapt._util import atomic
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import FloatArray


@dataclass(frozen=True)
class Paired:
    """The errors of models on the same windows."""

    mase: FloatArray  # (C,) MASE scale, data units; NaN = undefined
    block: int  # consecutive rows that share samples
    models: Mapping[str, Mapping[str, NDArray[Any]]]  # by model: arrays of `Scoring.kept`


def write(path: Path, paired: Paired) -> None:
    """Writes the file, atomically."""
    arrays: dict[str, NDArray[Any]] = {"mase": paired.mase, "block": np.array(paired.block)}
    for model, kept in paired.models.items():
        arrays |= {f"{model}/{name}": array for name, array in kept.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its second parameter is a flag
    atomic.write_bytes(path, buffer.getvalue())


def read(path: Path) -> Paired:
    """Reads a file of `write`.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        mase, block = arrays.pop("mase"), int(arrays.pop("block"))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{path}' is missing or broken, so that its run cannot be compared. "
            "Score the run again: tsfm-adapt evaluate RUN"
        ) from error
    models: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        model, _, kept = name.rpartition("/")
        models.setdefault(model, {})[kept] = array
    return Paired(mase, block, models)
