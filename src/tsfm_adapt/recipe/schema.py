"""The recipe: all settings of one run, as a validated, frozen object.

Every section is a pydantic model that forbids unknown keys; `name:` sections take the `Config` of
the component file of that name. `trees.py` reads YAML, `validation.py` explains errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.adapters.base import AdapterConfig
from tsfm_adapt.backbones.base import BackboneConfig
from tsfm_adapt.components import Kind, configs
from tsfm_adapt.heads.base import HeadConfig
from tsfm_adapt.recipe import space, trees
from tsfm_adapt.recipe.search import Search
from tsfm_adapt.recipe.validation import validated
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.tasks.base import Task as TaskBase
from tsfm_adapt.tasks.base import TaskConfig


def _number(value: Any) -> Any:
    """Reads a fraction such as '1/60' as a number; leaves anything else to the field's rule."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ArithmeticError):
            return value
    return value


Number = Annotated[float, BeforeValidator(_number)]


def _any_of(kind: Kind) -> Any:
    """The union of a kind's configs, discriminated by `name`."""
    found = tuple(configs(kind).values())
    if len(found) == 1:
        return found[0]
    return Annotated[Union[found], Field(discriminator="name")]  # noqa: UP007


if TYPE_CHECKING:
    Reader = ReaderConfig
    Backbone = BackboneConfig
    Adapter = AdapterConfig
    Head = HeadConfig
    Task = TaskConfig
else:
    Reader = _any_of("reader")
    Backbone = _any_of("backbone")
    Adapter = _any_of("adapter")
    Head = _any_of("head")
    Task = _any_of("task")


class Section(Frozen):
    """A section of the recipe: frozen, and unknown keys are refused."""


class Channel(Section):
    """A channel with its unit, and its name and unit in the file where they differ."""

    unit: str
    source: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="its name in the file; default the same; of a list, the first name that a "
        "recording has",
    )
    from_unit: str | None = Field(
        default=None, description="the file's unit, where it states none"
    )
    unit_assumed: bool = Field(
        default=False,
        description="from_unit is a guess that nobody confirmed; card and report then say so",
    )


class Cleaning(Section):
    """Rules that mark samples as missing; nothing is fitted, interpolated or carried forward."""

    ranges: dict[str, tuple[Number, Number]] = Field(
        default={}, description="channel: [lowest, highest] plausible value; outside = missing"
    )
    zero_is_missing: tuple[str, ...] = ()
    flatline_s: dict[str, Number] = Field(
        default={}, description="channel: identical values for longer than this are missing, s"
    )
    max_gap_s: Number | None = Field(
        default=None, gt=0, description="cut a recording where nothing is measured for longer, s"
    )


class Split(Section):
    """Train/validation/test split.

    `train`, `val` and `test` are fractions, counts of subjects, or lists of ids. With `predefined`
    only `val` is read: what of the train split's subjects it takes where the data names none.
    """

    by: Literal["subject", "record", "time", "predefined", "lists"] = "subject"
    order: Literal["seed", "name"] = "seed"
    seed: int | None = Field(default=None, ge=0, description="of the order; None = the recipe's")
    train: int | float | tuple[str, ...] = 0.7
    val: int | float | tuple[str, ...] = 0.15
    test: int | float | tuple[str, ...] = 0.15
    allow_duplicates: bool = Field(
        default=False,
        description="go on, with a note, where splits hold copies of the same stretch",
    )


class Data(Section):
    """Recordings: the reader, channels, sampling rate, cleaning and split."""

    reader: Reader
    channels: dict[str, str | Channel] = Field(min_length=1, description="name: unit")
    rate_hz: Number = Field(gt=0)
    resample: Literal["median", "mean", "last"] = "median"
    cleaning: Cleaning = Cleaning()
    split: Split = Split()

    @property
    def assumed_units(self) -> tuple[str, ...]:
        """The channels whose unit is a guess."""
        known = {name: own for name, own in self.channels.items() if isinstance(own, Channel)}
        return tuple(name for name, own in known.items() if own.unit_assumed)

    @model_validator(mode="after")
    def _channels_exist(self) -> Data:
        named = {
            "cleaning.ranges": self.cleaning.ranges,
            "cleaning.zero_is_missing": self.cleaning.zero_is_missing,
            "cleaning.flatline_s": self.cleaning.flatline_s,
        }
        for field, mentioned in named.items():
            unknown = [name for name in mentioned if name not in self.channels]
            if unknown:
                raise ValueError(
                    f"{field} names {', '.join(unknown)}, which data.channels does not have "
                    f"(it has {', '.join(self.channels)})"
                )
        for name, channel in self.channels.items():
            if isinstance(channel, Channel) and channel.unit_assumed and not channel.from_unit:
                raise ValueError(
                    f"channels.{name}: unit_assumed is said of from_unit, which is not given"
                )
        for name, (low, high) in self.cleaning.ranges.items():
            if low >= high:
                raise ValueError(f"cleaning.ranges.{name}: {low:g} is not below {high:g}")
        return self


class Train(Section):
    """Optimisation: AdamW with linear warm-up and cosine decay."""

    steps: int = Field(default=300, ge=1, description="optimiser steps")
    batch_size: int = Field(default=32, ge=1, description="windows a step and accumulation")
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    clip: float | None = Field(default=1.0, gt=0, description="gradient norm")
    accumulate: int = Field(default=1, ge=1, description="batches a step")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    validate_every: int | None = Field(default=None, ge=1, description="steps; default a tenth")
    val_windows: int = Field(default=512, ge=1, description="at most, evenly spaced")
    patience: int | None = Field(
        default=None, ge=1, description="validations without a better loss before stopping"
    )
    checkpoint_every: int = Field(default=50, ge=1, description="steps")
    feature_cache: bool = Field(
        default=True, description="keep a head's features on disk where nothing before it trains"
    )
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"


def _attributes(
    entry: str | dict[str, tuple[float, ...]],
) -> dict[str, tuple[float, ...] | None]:
    return {entry: None} if isinstance(entry, str) else {**entry}


class Evaluate(Section):
    """Scoring on the test set, which is looked at once."""

    max_windows: int = Field(default=2000, ge=1, description="evenly spaced over the test set")
    batch_size: int = Field(default=64, ge=1)
    season_s: Number | None = Field(
        default=None, gt=0, description="adds the seasonal naive baseline with this period, s"
    )
    subgroups: tuple[str | dict[str, tuple[Number, ...]], ...] = Field(
        default=(),
        description="attributes of subjects, or attribute: edges of groups [a, b), [b, c), ...",
    )
    conformal: bool = Field(
        default=True,
        description="calibrate the prediction intervals of `predict` on the validation subjects; "
        "medians and scores stay the model's own",
    )

    @model_validator(mode="after")
    def _subgroups(self) -> Evaluate:
        names = [name for entry in self.subgroups for name in _attributes(entry)]
        if len(set(names)) < len(names):
            raise ValueError("subgroups: each attribute stands once")
        for name, edges in self.grouping.items():
            if edges is not None and (len(edges) < 2 or list(edges) != sorted(set(edges))):
                raise ValueError(f"subgroups.{name}: two edges or more, increasing")
        return self

    @property
    def grouping(self) -> dict[str, tuple[float, ...] | None]:
        """The edges of each attribute of `subgroups`; None = a group for each value."""
        return {name: edges for e in self.subgroups for name, edges in _attributes(e).items()}


class Recipe(Section):
    """A recipe: data, backbone, adapters, head, task, training and evaluation of one run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    seed: int = Field(default=17, ge=0, lt=2**32)
    data: Data
    backbone: Backbone
    adapters: tuple[Adapter, ...] = ()
    head: Head | None = Field(default=None, description="None = the backbone's own")
    task: Task
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    search: Search | None = Field(default=None, description="what `tune` varies")

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        task = self.task.build()
        for split_name in ("train", "val", "test"):
            task.window(self.data.rate_hz, split_name)
        task.check_channels(tuple(self.data.channels))
        self._check_head(task)
        if self.search is not None:
            space.check(self.search, self)
        return self

    def _check_head(self, task: TaskBase) -> None:
        if self.head is None:
            if task.needs_head:
                fitting = [n for n, head in configs("head").items() if head.task == task.name]
                raise ValueError(
                    f"head: no backbone is pretrained to {task.name}; "
                    f"add head: {{name: ...}}, one of {', '.join(fitting)}"
                )
        elif self.head.task != task.name:
            raise ValueError(
                f"head: {self.head.name} is for task {self.head.task}, the recipe's task is "
                f"{task.name}"
            )

    @classmethod
    def load(cls, path: str | Path, sets: Sequence[str] = ()) -> Recipe:
        """Reads a recipe's file.

        Args:
            path: a YAML file.
            sets: overrides of the form `a.b=value`, the value in YAML.

        Raises:
            RecipeError: the file or an override breaks a rule.
        """
        tree = trees.parse_mapping(trees.read_text(Path(path)), str(path))
        return validated(trees.with_sets(tree, sets), cls)

    @classmethod
    def from_dict(cls, tree: Mapping[str, JsonValue]) -> Recipe:
        """Validates nested mappings laid out as in a recipe's file.

        Raises:
            RecipeError: one line for each rule that is broken.
        """
        return validated(dict(tree), cls)

    @property
    def adapts(self) -> bool:
        """True where something is trained or fitted; False for the backbone as it is."""
        return bool(self.adapters) or self.head is not None

    def override(self, changes: Mapping[str, JsonValue]) -> Recipe:
        """A new recipe with dotted keys changed, validated as a whole.

        An entry of a list is named by its position or its `name`: `adapters.lora.rank`.

        Raises:
            RecipeError: a key does not exist or a value breaks a rule.
        """
        tree = self.model_dump(mode="json", exclude_unset=True)
        return validated(trees.changed(tree, changes), type(self))

    def without_search(self) -> Recipe:
        """The recipe without its `search`, as `train` uses it."""
        return self.model_copy(update={"search": None})

    def as_tree(self) -> dict[str, JsonValue]:
        """The recipe as plain values, every default written out."""
        return self.model_dump(mode="json")
