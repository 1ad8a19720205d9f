"""Lag-Llama's `.ckpt`, a Lightning pickle: read without running anything in it, and written."""

from __future__ import annotations

import io
import json
import pickle  # its opcodes only; every global that a file names is replaced
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors.torch import load_file
from torch import Tensor


class Inert:
    """Stands for any object of a pickle: takes what unpickling hands over, and does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __call__(self, *_args: object, **_kwargs: object) -> Inert:
        return self

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        """Lists that are not lists."""

    def extend(self, _items: object) -> None:
        """Lists that are not lists."""


# What upstream's own files hold beside tensors and plain values.
KNOWN = (
    "gluonts.torch.modules.loss.NegativeLogLikelihood",
    "gluonts.torch.distributions.studentT.StudentTOutput",
)


class Checkpoint(NamedTuple):
    """The two parts of a Lightning checkpoint that make the network."""

    settings: Mapping[str, Any]  # of upstream's `LagLlamaModel`
    weights: Mapping[str, Tensor]  # without the prefix `model.`


def read_checkpoint(path: Path) -> Checkpoint:
    """Sizes and weights of a file that upstream's Lightning module wrote.

    Torch's own restricted unpickler reads it, with inert stand-ins for upstream's two classes.
    Files of later gluonts name more; those are read with a stand-in for every name but those
    that make tensors.

    Raises:
        ValueError: not such a file.
        OSError: it cannot be read.
    """
    stand_ins = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in KNOWN]
    if not zipfile.is_zipfile(path):
        raise ValueError("is not a checkpoint of torch 1.6 or later, or it was cut short")
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]  # pairs are documented
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):
        content = _read_inert(path)
    hyper = content.get("hyper_parameters") if isinstance(content, dict) else None
    settings = hyper.get("model_kwargs") if isinstance(hyper, dict) else None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(settings, dict) or not isinstance(weights, dict):
        raise ValueError("lacks state_dict or hyper_parameters.model_kwargs of a Lag-Llama")
    tensors = {
        str(name).removeprefix("model."): tensor
        for name, tensor in weights.items()
        if isinstance(tensor, Tensor)
    }
    return Checkpoint(settings, tensors)


def write_checkpoint(
    path: Path, settings: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """A file that upstream's estimator and Lightning read, of tensors and plain values only.

    Args:
        path: of the file.
        settings: arguments of upstream's `LagLlamaModel`; its output distribution is a class and
            stays out.
        weights: by name, without the prefix `model.`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "pytorch-lightning_version": "2.0.0",  # the layout, which Lightning brings up to date
        "epoch": 0,
        "global_step": 0,
        "state_dict": {f"model.{name}": w.detach().cpu().clone() for name, w in weights.items()},
        "hyper_parameters": {"model_kwargs": dict(settings)},
    }
    torch.save(content, path)


class _Storage(NamedTuple):
    """A tensor's memory, as a pickle of torch refers to it."""

    values: Tensor


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: object
) -> Tensor:
    """A tensor from torch's pickled arguments; views beyond the memory raise."""
    return storage.values.as_strided(size, stride, offset)


def _parameter(tensor: Tensor, *_rest: object) -> Tensor:
    return tensor


_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
_TENSORS: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Resolves names without importing: those that make tensors are ours, all others inert."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}/data.pkl")))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        return _TENSORS.get((module, name)) or type(name.rpartition(".")[2], (Inert,), {})

    def persistent_load(self, reference: Any) -> _Storage:
        _, dtype, key, _, _ = reference
        if not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"holds a storage of an unknown kind: {dtype}")
        memory = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
        return _Storage(torch.frombuffer(memory, dtype=dtype) if memory else torch.empty(0))


def _read_inert(path: Path) -> Any:
    """The content of a checkpoint, with inert objects in the place of all but tensors.

    Raises:
        ValueError: broken.
    """

    def refuse(reason: object) -> NoReturn:
        raise ValueError(f"is not a checkpoint that can be read safely: {reason}")

    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                refuse(f"it holds {len(names)} files named data.pkl")
            folder = names[0].rpartition("/")[0]
            order = f"{folder}/byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                refuse("its numbers are big-endian")
            return _Unpickler(archive, folder).load()
    # A crafted pickle can fail in any way that its opcodes can be wrong in.
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
    ) as error:
        refuse(error)


def read(source: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Settings and weights of a folder or a `.ckpt`.

    Raises:
        ValueError: not of this family.
        OSError, SafetensorError: it cannot be read.
    """
    if source.is_file():
        return read_checkpoint(source)
    try:
        settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"has a config.json that is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError("has a config.json that is not an object")
    return settings, load_file(source / "model.safetensors")
