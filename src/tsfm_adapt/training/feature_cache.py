"""Caches the inputs of a head (features) on disk, where nothing before the head trains.

A row is computed when a batch first needs it. So the first epoch costs the same as without a
cache, a killed run keeps its rows, and a run of less than an epoch computes only what it draws.
The name of a store is a hash of everything that features depend on; old stores can be removed at
any time.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tsfm_adapt._util.cache import cache_folder, code_of
from tsfm_adapt.batches import collate

if TYPE_CHECKING:
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
    from tsfm_adapt.signals.windows import WindowArrays, Windows

_OF_FREE_DISK = 0.4  # a store that may grow beyond this share is not begun
_PLACES = 1 << 20  # windows whose places are hashed at once
_VALUES, _CHECKS, _ABOUT = "features.npy", "checksums.npy", "meta.json"

_W = TypeVar("_W", bound="Windows")


def with_cached_features(
    model: AdaptedModel, recipe: Recipe, windows: _W, progress: Progress
) -> _W:
    """Wraps windows so that `gather` also returns cached head inputs.

    Returns them as they are where something before the head trains, or the recipe has
    `feature_cache: false`.

    Args:
        model: the model whose features are cached; training its head does not change them.
        recipe: of the model.
        windows: of any kind.
        progress: shows once why features cannot be cached; they are then computed each time.
    """
    if not (recipe.train.feature_cache and model.frozen_before_head and len(windows)):
        return windows
    folder = cache_folder() / "features" / _key(model, recipe, windows)
    return windows.with_features(_CachedFeatures(model, folder, windows, progress))


class _CachedFeatures:
    """Features (B, ...) of windows by their rows in the whole list: from the store, or computed.

    Whatever happens to the store, the features come: the run does not depend on it.
    """

    def __init__(
        self, model: AdaptedModel, folder: Path, windows: Windows, progress: Progress
    ) -> None:
        self._model = model
        self._folder = folder
        self._rows = len(windows.whole)
        self._used = len(windows)
        self._progress = progress
        self._store: _Store | None = None
        self._given_up = False
        if folder.exists():
            self._open()

    def __call__(self, rows: IntArray, arrays: WindowArrays) -> FloatArray:
        if self._store is None:
            features = self._computed(arrays)
            self._begin(features.shape[1:])
            self._keep(rows, features)
            return features
        features, known = self._store.read(rows)
        if not known.all():
            unknown = np.flatnonzero(~known)
            features[unknown] = self._computed(_only(arrays, unknown))
            self._keep(rows[unknown], features[unknown])
        return features

    def _computed(self, arrays: WindowArrays) -> FloatArray:
        import torch

        device = next(self._model.parameters()).device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            features = self._model.features(collate(arrays).to(device))
        values: FloatArray = features.float().cpu().numpy()
        return values

    def _keep(self, rows: IntArray, features: FloatArray) -> None:
        if self._store is None or self._given_up:
            return
        try:
            self._store.write(rows, features)
        except OSError as error:
            self._give_up(f"cannot be kept in '{self._folder}': {error}")

    def _open(self) -> None:
        try:
            self._store = _Store(self._folder, self._rows)
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._progress.say(f"features in '{self._folder}' are broken ({error}); begun anew")
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, shape: tuple[int, ...]) -> None:
        """Opens the store, new where there is none; gives up where it cannot be."""
        if self._given_up:
            return
        try:
            if not self._folder.exists():
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                needed = 4 * self._used * int(np.prod(shape))
                free = shutil.disk_usage(self._folder.parent).free
                if needed > _OF_FREE_DISK * free:
                    self._give_up(
                        f"would take {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB that are free"
                    )
                    return
                _create(self._folder, self._rows, shape)
            self._store = _Store(self._folder, self._rows)
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._give_up(f"cannot be kept in '{self._folder}': {error}")

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        self._progress.say(f"features {reason}. They are computed again each time.")


class _Store:
    """Rows (N, ...) float32 in files, of which some are known.

    A row is known where its checksum fits. Processes may then write at once, and a row that a
    crash left half written is computed again. Rows are read from a memory map, but written through
    a file: on a full disk a write to a map would end the process.

    Raises:
        OSError: a file is missing or not readable.
        ValueError: a file is broken.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        self._folder = folder
        self._values: np.memmap[Any, Any] = np.load(folder / _VALUES, mmap_mode="r")
        self._checks: np.memmap[Any, Any] = np.load(folder / _CHECKS, mmap_mode="r")
        expected = (rows, *about["shape"])
        if self._values.shape != expected or self._checks.shape != (rows,):
            raise ValueError(f"{self._values.shape} instead of {expected}")

    def read(self, rows: IntArray) -> tuple[FloatArray, BoolArray]:
        """Features (B, ...), and which of them are known (B,)."""
        features = np.ascontiguousarray(self._values[rows])
        checksums = np.array([_checksum(row) for row in features], dtype=np.uint32)
        return features, checksums == self._checks[rows]

    def write(self, rows: IntArray, features: FloatArray) -> None:
        """Keeps features; each row before its checksum."""
        whole = np.ascontiguousarray(features, dtype=np.float32)
        size = 4 * int(np.prod(whole.shape[1:]))
        checksums = [_checksum(row).to_bytes(4, sys.byteorder) for row in whole]
        _put(self._folder / _VALUES, self._values.offset, size, rows, [r.tobytes() for r in whole])
        _put(self._folder / _CHECKS, self._checks.offset, 4, rows, checksums)


def _create(folder: Path, rows: int, shape: tuple[int, ...]) -> None:
    """An empty store, complete from the moment it has its name."""
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        np.lib.format.open_memmap(draft / _VALUES, "w+", np.float32, (rows, *shape))
        np.lib.format.open_memmap(draft / _CHECKS, "w+", np.uint32, (rows,))
        (draft / _ABOUT).write_text(json.dumps({"shape": shape}), encoding="utf-8")
        with suppress(OSError):  # another process was first
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(path: Path, offset: int, size: int, rows: IntArray, pieces: list[bytes]) -> None:
    with path.open("r+b", buffering=0) as file:
        for row, piece in zip(rows.tolist(), pieces, strict=True):
            file.seek(offset + row * size)
            if file.write(piece) < size:
                raise OSError("the disk is full")


def _checksum(row: FloatArray) -> int:
    """Never 0, which is what a hole in the file holds."""
    return zlib.crc32(row.data) or 1


def _only(arrays: WindowArrays, picked: IntArray) -> WindowArrays:
    """Some of the windows."""
    # Any: `replace` cannot know that arrays stay arrays
    fewer: dict[str, Any] = {
        f.name: value[picked]
        for f in fields(arrays)
        if isinstance(value := getattr(arrays, f.name), np.ndarray)
    }
    return replace(arrays, **fewer, subjects=tuple(arrays.subjects[i] for i in picked))


def _key(model: AdaptedModel, recipe: Recipe, windows: Windows) -> str:
    """The cache key: a hash of everything that the features depend on."""
    import torch

    from tsfm_adapt.model import device_for

    digest = blake2b(digest_size=20)
    assert model.head is not None
    inputs = [
        recipe.backbone.model_dump_json(),
        [adapter.model_dump_json() for adapter in recipe.adapters],
        model.setting,
        model.head.cache_key,
        device_for(recipe.train.accelerator).type,
        torch.get_float32_matmul_precision(),
        [version(package) for package in ("tsfm-adapt", "torch", "transformers", "numpy")],
        code_of(),
    ]
    digest.update(repr(inputs).encode())
    for name, tensor in sorted(model.tensors_before_head().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    digest.update(_content(windows.whole))
    return digest.hexdigest()


def _content(windows: Windows) -> bytes:
    """A hash of what a model sees of windows: values and where they are cut, not file names."""
    digest = blake2b(digest_size=20)
    masks = getattr(windows, "masks", ())
    digest.update(repr((windows.spec.context, masks)).encode())
    for r in windows.recordings:
        about = (r.id, r.subject, r.channels, r.rate_hz, str(r.start), r.samples)
        digest.update(f"{about}{r.values.dtype.str}".encode())
        for block in r.blocks():
            digest.update(np.ascontiguousarray(block).reshape(-1).data)
    for index in windows.batches(_PLACES):
        some = windows.take(index)
        digest.update(some.recording.tobytes() + some.start.tobytes())
    return digest.digest()
