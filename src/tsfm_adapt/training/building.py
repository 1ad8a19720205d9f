"""Builds the model of a recipe: assembled, with fitted parts fitted, not yet trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.base import RANDOM, Encoder
from tsfm_adapt.batches import collate
from tsfm_adapt.heads.base import ClassHead, Head, Labelled
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe.parts import PreparedData
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.training.bundle_files import saved_head
from tsfm_adapt.training.feature_cache import with_cached_features

# At most so many windows of train are read to fit a head, evenly spaced, and so many bytes kept.
FITTED_ON = 20_000
FITTED_BYTES = 2e9


def build(recipe: Recipe, prepared: PreparedData, progress: Progress) -> AdaptedModel:
    """Builds the untrained model of a recipe; random parts depend on the seed only."""
    train = prepared.windows["train"]
    model = assembled(recipe, prepared.deviation, prepared.shared_subjects, train)
    spec = model.backbone.spec
    if spec.random_weights:
        progress.say(RANDOM)
    if spec.non_commercial:
        progress.say(f"weights '{spec.checkpoint}' are {spec.licence}: not for commercial use")
    model.fit(train)
    _fit_head_on_cached_features(model, recipe, train, progress)
    return model


def unadapted(recipe: Recipe) -> Recipe:
    """The recipe without adapters and head: the backbone zero-shot."""
    return recipe.model_copy(update={"adapters": (), "head": None})


def reference(
    recipe: Recipe, prepared: PreparedData, head: Head, progress: Progress
) -> AdaptedModel:
    """A fitted head on the frozen backbone, for tasks that no backbone is pretrained for."""
    plain = unadapted(recipe)
    train = prepared.windows["train"]
    model = assembled(plain, prepared.deviation, prepared.shared_subjects, train, head)
    _fit_head_on_cached_features(model, plain, train, progress)
    return model


def assembled(
    recipe: Recipe,
    deviation: FloatArray | None,
    subjects: tuple[str, ...],
    train: Windows | None = None,
    head: Head | None = None,
    backbone: Encoder | None = None,
) -> AdaptedModel:
    """Assembles a recipe's model with nothing fitted or trained.

    Args:
        recipe: validated.
        deviation: (C,) of each channel in train; None = unknown.
        subjects: those that adapters may have parameters for.
        train: windows to learn from; None where a saved model is assembled.
        head: instead of the recipe's.
        backbone: freshly built; None = built here, with its weights.
    """
    backbone = backbone or recipe.backbone.build()
    known = None if deviation is None else torch.as_tensor(deviation, dtype=torch.float32)
    task, rate_hz = recipe.task.build(), recipe.data.rate_hz
    task.check(backbone.spec, rate_hz, headed=head is not None or recipe.head is not None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if head is None and recipe.head is not None:
            head = recipe.head.build()
        return AdaptedModel(
            backbone,
            [entry.build() for entry in recipe.adapters],
            known,
            setting=Setting(tuple(recipe.data.channels), subjects),
            rates=[entry.lr for entry in recipe.adapters],
            estimate=task.estimate(),
            head=head,
            outputs=None if head is None else task.outputs(rate_hz, train),
            head_rate=None if recipe.head is None else recipe.head.lr,
        )


def parameter_counts(model: AdaptedModel) -> tuple[int, int]:
    """Numbers of trainable and of all parameters, those of adapters and head included."""
    every = sum(parameter.numel() for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.trainable().values()), every


def share(head: Head) -> None:
    """Gives an attached head the tensors of another that its recipe asks for.

    Raises:
        RecipeError: there is no such bundle, or what it holds does not fit.
    """
    if head.shared is not None:
        head.take_shared(saved_head(Path(head.shared).expanduser()))


def fit_head(model: AdaptedModel, train: Windows, batch_size: int, progress: Progress) -> None:
    """Gives a head what it shares, and fits a classification head on the features of train."""
    if model.head is not None:
        share(model.head)
    if not isinstance(model.head, ClassHead):
        return
    device = next(model.parameters()).device

    def read(windows: Windows, index: IntArray) -> tuple[FloatArray, BoolArray]:
        batch = collate(windows.gather(index)).to(device)
        assert batch.target is not None
        return model.features(batch).float().cpu().numpy(), batch.target.cpu().numpy() > 0

    def given() -> Labelled:
        with torch.inference_mode():
            each = read(train, np.arange(1))[0].nbytes
            windows = train.evenly_spaced(min(FITTED_ON, max(1, int(FITTED_BYTES // each))))
            features, targets = [], []
            with progress.work("features", len(windows)) as meter:
                for index in windows.batches(batch_size):
                    feature, target = read(windows, index)
                    features.append(feature)
                    targets.append(target)
                    meter.advance(len(index))
        return Labelled(np.concatenate(features), np.concatenate(targets), windows.subjects)

    model.head.fit(given)


def _fit_head_on_cached_features(
    model: AdaptedModel, recipe: Recipe, train: Windows, progress: Progress
) -> None:
    """Fits on the device that will train; the model is left on the processor."""
    model.to(device_for(recipe.train.accelerator))
    windows = with_cached_features(model, recipe, train, progress)
    fit_head(model, windows, recipe.evaluate.batch_size, progress)
    model.to("cpu")
