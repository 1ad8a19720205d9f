"""Embeddings of a recipe's windows as a table: one vector per window and channel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.evaluation.tables import start_in, times_in, zone_of
from tsfm_adapt.heads.base import Pooling, pooled, resolved
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe.files import dumps, load, loads
from tsfm_adapt.recipe.parts import SPLITS, prepare
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.run import load as load_run
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.missingness import HiddenWindows
from tsfm_adapt.signals.recording import BoolArray, FloatArray
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import SplitName

if TYPE_CHECKING:
    import pyarrow

_OF_A_RUN = ("data", "task", "evaluate", "train.accelerator")  # what may differ from the training


@dataclass(frozen=True)
class Embedded:
    """The size of a table of embeddings."""

    rows: int
    windows: int
    subjects: int
    width: int  # D, numbers per vector


def embed(
    source: Path,
    out: Path,
    part: SplitName | Literal["all"] = "all",
    pooling: Pooling = "auto",
    sets: Sequence[str] = (),
    progress: Progress | None = None,
) -> Embedded:
    """Writes the embeddings of windows as Parquet, atomically.

    Columns subject, recording, part, origin_s (end of the context, seconds from the recording's
    start), time (the same as a date, in the recordings' zone; null where there is none), channel,
    label (where windows have classes), and embedding, D float32; null where the window shows
    nothing of the channel. The schema's metadata name backbone, checkpoint and pooling. Windows
    are laid out as in the test set; a task that hides values hides none here.

    Args:
        source: a run or bundle: its trained model; or a recipe: its backbone, unadapted.
        out: the file to write.
        part: a split of the recipe, or all of them.
        pooling: of a channel's tokens.
        sets: overrides `key=value`; of a run those of data, task and evaluate.
        progress: where progress is shown; None = on standard error.

    Raises:
        RecipeError: the recipe is not readable or does not fit its backbone.
        DataError: the run has no trained weights, or the splits have no window.
        EnvironmentProblem: the file cannot be written.
    """
    progress = progress or Progress()
    model, recipe = _opened(source, sets)
    with progress.step("reading recordings"):
        windows = _windows(recipe, SPLITS if part == "all" else (part,))
    number = sum(map(len, windows.values()))
    if number == 0:
        raise _no_window(part)
    spec = model.backbone.spec
    if spec.random_weights:
        progress.say(RANDOM)
    how = resolved(pooling, spec.causal)
    zone = zone_of([r for own in windows.values() for r in own.recordings])  # one for all parts
    metadata = _metadata(model, recipe, next(iter(windows.values())), how)
    rows, width, subjects, size = 0, 0, set(), recipe.evaluate.batch_size
    model.to(device_for(recipe.train.accelerator))
    with _writing(out) as write, progress.work("embed", number) as meter:
        for name, own in windows.items():
            for index in own.batches(size):
                batch = own.take(index)
                vectors, shown = _vectors(model, batch, how)
                table = _table(batch, name, vectors, shown, _channels(model), zone)
                write(table.replace_schema_metadata(metadata))
                rows, width = rows + table.num_rows, vectors.shape[-1]
                subjects |= {own.subject_names[s] for s in batch.subjects}
                meter.advance(len(batch))
    return Embedded(rows, number, len(subjects), width)


def _no_window(part: SplitName | Literal["all"]) -> DataError:
    if part == "all":
        return DataError("embed: no split has a window. Give longer recordings.")
    message = f"embed: the {part} split has no window. Choose another split."
    return DataError(message, remedy="part=all")


def _metadata(
    model: AdaptedModel, recipe: Recipe, windows: Windows, pooling: Pooling
) -> dict[str, str]:
    """The metadata of the table: what made the vectors, and of which windows."""
    spec, rate_hz = model.backbone.spec, recipe.data.rate_hz
    return {
        "backbone": spec.name,
        "checkpoint": spec.checkpoint,
        "adapters": ", ".join(adapter.name for adapter in model.adapters),
        "pooling": pooling,
        "rate_hz": f"{rate_hz:.17g}",
        "context_s": f"{windows.spec.context / rate_hz:.17g}",
        "synthetic": str(recipe.data.reader.synthetic).lower(),
    }


def _opened(source: Path, sets: Sequence[str]) -> tuple[AdaptedModel, Recipe]:
    """The model of a run's folder or of a recipe's file, in eval mode, and the recipe."""
    if source.is_dir():
        foreign = [entry for entry in sets if not entry.strip().startswith(_OF_A_RUN)]
        if foreign:
            raise RecipeError(
                f"sets {foreign[0]}: a run's model is as it was trained; only "
                f"{', '.join(_OF_A_RUN)} can differ. Give a recipe to embed with another "
                "backbone.",
                argument="sets",
            )
        model, trained = load_run(source)
        recipe = loads(dumps(trained), sets, source=str(source)) if sets else trained
        if recipe.data.channels.keys() != trained.data.channels.keys():
            raise RecipeError(
                f"data.channels: the run was trained on {', '.join(trained.data.channels)}, not "
                f"on {', '.join(recipe.data.channels)}. Keep them."
            )
    else:
        recipe = load(source, sets)
        model = AdaptedModel(recipe.backbone.build())
    recipe.task.build().check(model.backbone.spec, recipe.data.rate_hz, headed=True)
    return model, recipe


def _windows(recipe: Recipe, names: Sequence[SplitName]) -> dict[SplitName, Windows]:
    """All windows of some splits, laid out as in the test set."""
    task, prepared = recipe.task.build(), prepare(recipe)
    windows: dict[SplitName, Windows] = {}
    for name in names:
        own = task.windows(prepared.recordings[name], recipe.data.rate_hz, "test")
        hides = isinstance(own, HiddenWindows)
        windows[name] = Windows(own.recordings, own.spec) if hides else own
    return windows


def _vectors(model: AdaptedModel, windows: Windows, how: Pooling) -> tuple[FloatArray, BoolArray]:
    """Vectors (N, C, D) float32, and whether the window shows anything of the channel (N, C)."""
    import torch

    from tsfm_adapt.batches import collate

    assert how != "auto"
    device = next(model.parameters()).device
    with torch.inference_mode():
        batch = collate(windows.gather(np.arange(len(windows)))).to(device)
        encoded = model.encode(batch)
        vectors: FloatArray = pooled(encoded, how).float().cpu().numpy()
        shown: BoolArray = encoded.token_observed.any(2).cpu().numpy()
    return vectors, shown


def _channels(model: AdaptedModel) -> list[str]:
    """The names of the channels that are encoded: the data's, or an adapter's own."""
    if any(adapter.changes_channels for adapter in model.adapters):
        return list(model.setting.encoded)
    return []


def _table(
    windows: Windows,
    part: SplitName,
    vectors: FloatArray,
    shown: BoolArray,
    latent: Sequence[str],
    zone: str | None,
) -> pyarrow.Table:
    """The rows of some windows, channel by channel."""
    import pyarrow

    number, channels, width = vectors.shape
    first = windows.recordings[0]
    names = list(latent) or list(first.channels)
    recordings = [windows.recordings[index] for index in windows.recording]
    origin_s = (windows.start + windows.spec.context) / first.rate_hz
    starts = np.array([start_in(r, zone).astype("datetime64[ms]") for r in recordings])
    times = starts + np.round(origin_s * 1000).astype("timedelta64[ms]")
    each = np.repeat(np.arange(number), channels)  # (N * C,)
    offsets = np.concatenate([[0], np.cumsum(np.where(shown.ravel(), width, 0))])
    kept = vectors.reshape(-1, width)[shown.ravel()].ravel()
    columns: dict[str, Any] = {  # arrays of pyarrow, which is untyped
        "subject": pyarrow.array([recordings[i].subject for i in each]),
        "recording": pyarrow.array([recordings[i].id for i in each]),
        "part": pyarrow.array([part] * len(each)),
        "origin_s": pyarrow.array(origin_s[each]),
        "time": times_in(times[each], zone),
        "channel": pyarrow.array(names * number),
    }
    if isinstance(windows, LabelledWindows):
        classes, holds = windows.labelling.classes, windows.classes_of
        names_of = [
            [name for name, is_so in zip(classes, row, strict=True) if is_so] for row in holds
        ]
        if windows.labelling.multilabel:
            kind = pyarrow.list_(pyarrow.string())
            columns["label"] = pyarrow.array([names_of[i] for i in each], kind)
        else:
            columns["label"] = pyarrow.array([names_of[i][0] for i in each])
    columns["embedding"] = pyarrow.ListArray.from_arrays(
        pyarrow.array(offsets, pyarrow.int32()),
        pyarrow.array(kept, pyarrow.float32()),
        mask=pyarrow.array(~shown.ravel()),
    )
    return pyarrow.table(columns)


@contextmanager
def _writing(path: Path) -> Iterator[Any]:  # Any: a function from tables, of untyped pyarrow
    """Takes tables of one schema; the file has its name once the block ends well."""
    import pyarrow.parquet

    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writers: list[Any] = []  # the one writer, once the first table shows the schema

    def write(table: pyarrow.Table) -> None:
        if not writers:
            writers.append(pyarrow.parquet.ParquetWriter(draft, table.schema))
        writers[0].write_table(table)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield write
        for writer in writers:
            writer.close()
        draft.replace(path)
    except OSError as error:
        raise atomic.unwritable(path, error) from error
    finally:
        for writer in writers:
            with suppress(Exception):
                writer.close()
        with suppress(OSError):
            draft.unlink(missing_ok=True)
