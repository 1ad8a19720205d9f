"""The `search` section of a recipe: the hyperparameters that a study varies, and how.

A study compares trials by one number on the validation windows. Paths that would make that number
mean something else from trial to trial are refused here. `space.py` tries the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from tsfm_adapt._util.frozen import Frozen

# The value of a parameter in Optuna: a number, or the plain form of a choice.
Raw = str | int | float | bool | None

_REFUSED = {
    "name": "it names the study",
    "seed": "it changes which subjects are in which split",
    "data": "trials would be compared on different data",
    "task": "trials would be compared on different windows or scores",
    "evaluate": "it says how test is scored, which no trial sees",
    "search": "it is the search itself",
    "train.val_windows": "trials would be compared on different windows",
    "train.accelerator": "it does not change what is learned",
    "train.devices": "it does not change what is learned",
    "train.num_nodes": "it does not change what is learned",
    "train.strategy": "it does not change what is learned",
    "train.checkpoint_every": "it does not change what is learned",
    "train.feature_cache": "it does not change what is learned",
}


class Option(Frozen):
    """One of several values, with a nested space of its own."""

    value: Any = Field(description="what the path is set to")
    space: dict[str, Variable] = Field(
        default={}, description="what varies where this option is taken"
    )


class Variable(Frozen):
    """The values that one path of the recipe may take: a range, choices, or options.

    A range of whole numbers gives whole numbers: `{low: 2, high: 16}`.
    """

    low: int | float | None = None
    high: int | float | None = Field(default=None, description="included")
    step: int | float | None = Field(default=None, gt=0)
    log: bool = Field(default=False, description="evenly spread over orders of magnitude")
    choices: tuple[Any, ...] = Field(default=(), description="plain values, e.g. [2, 4, 8]")
    options: dict[str, Option] = Field(
        default={}, description="name: a value and the space that belongs to it"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Variable:
        ranged = self.low is not None or self.high is not None
        if ranged + bool(self.choices) + bool(self.options) != 1:
            raise ValueError("give either low and high, or choices, or options")
        if not ranged:
            if self.step is not None or self.log:
                raise ValueError("step and log belong to low and high")
            if len({json.dumps(raw) for raw in self.raws}) < max(2, len(self.raws)):
                raise ValueError("give two different values or more, each once")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"low is below high, found {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log wants low above 0 and no step")
        if self.step is not None and not _whole((self.high - self.low) / self.step):
            raise ValueError(
                f"high is low and a whole number of steps, found {self.low}, {self.high}, "
                f"step {self.step}"
            )
        return self

    @property
    def ranged(self) -> bool:
        """True for a range."""
        return self.low is not None

    @property
    def whole(self) -> bool:
        """True for a range of whole numbers."""
        numbers = (self.low, self.high, 1 if self.step is None else self.step)
        return all(isinstance(number, int) for number in numbers)

    @property
    def raws(self) -> tuple[Raw, ...]:
        """The values of a choice or option as Optuna stores them; () for a range."""
        return tuple(self.options) or tuple(_plain(value) for value in self.choices)

    def value(self, raw: Raw) -> Any:
        """The value in the recipe for a value in Optuna."""
        if self.ranged:
            return raw
        if self.options:
            return self.options[str(raw)].value
        return next(value for value in self.choices if _plain(value) == raw)

    def raw(self, value: Any) -> Raw:
        """The value in Optuna for a value in the recipe.

        Raises:
            LookupError: the value is not among those of this variable.
        """
        if self.choices:
            fitting = [_plain(choice) for choice in self.choices if choice == value]
            return fitting[0] if fitting else _absent(value)
        if not self.ranged or isinstance(value, bool) or not isinstance(value, int | float):
            return _absent(value)
        assert self.low is not None
        assert self.high is not None
        inside = self.low <= value <= self.high
        step = self.step if self.step is not None else (1 if self.whole else None)
        if not inside or (step is not None and not _whole((value - self.low) / step)):
            return _absent(value)
        return round(value) if self.whole else float(value)

    def edges(self) -> Iterator[tuple[str, Any]]:
        """Values that, if they are valid, show that all are: a label and the value of each."""
        if self.ranged:
            yield f"low {self.low}", self.low
            yield f"high {self.high}", self.high
        for choice in self.choices:
            yield f"choice {_plain(choice)}", choice
        for name, option in self.options.items():
            yield f"option {name}", option.value

    def grid(self) -> tuple[Raw, ...]:
        """All values of the variable on a grid."""
        if not self.ranged:
            return self.raws
        assert self.low is not None
        assert self.high is not None
        step = 1 if self.step is None else self.step
        count = round((self.high - self.low) / step) + 1
        return tuple(self.low + n * step for n in range(count))

    def count(self) -> int:
        """Number of grid points, nested spaces included.

        Raises:
            ValueError: a range has no steps.
        """
        if self.options:
            return sum(_count(option.space) for option in self.options.values())
        if not self.ranged:
            return len(self.choices)
        if self.log or (self.step is None and not self.whole):
            raise ValueError("sampler grid: a range wants a step and no log, or use choices")
        assert self.low is not None
        assert self.high is not None
        return round((self.high - self.low) / (self.step or 1)) + 1


class Search(Frozen):
    """Hyperparameter search; read by `tune`, ignored by `train`."""

    trials: int = Field(default=30, ge=1, description="finished, pruned or failed")
    metric: Literal["loss", "score"] = Field(
        default="loss",
        description="on the validation windows: the loss, or the score that the task is ranked "
        "by (mase, auroc), which also compares backbones and heads and costs more",
    )
    sampler: Literal["tpe", "gp", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "percentile", "halving", "hyperband", "none"] = "median"
    space: dict[str, Variable] = Field(
        min_length=1, description="path of the recipe: its values, e.g. train.lr"
    )

    @model_validator(mode="after")
    def _space_holds_together(self) -> Search:
        _check_paths(self.space, ())
        if self.sampler == "grid" and (points := _count(self.space)) > self.trials:
            raise ValueError(
                f"sampler grid: the grid has {points} points, trials is {self.trials}. Set trials "
                f"to {points} or take fewer values"
            )
        return self

    @property
    def planned(self) -> int:
        """Number of trials after which the study ends."""
        return _count(self.space) if self.sampler == "grid" else self.trials

    def lines(self) -> list[str]:
        """Describes the search: one line for the method, then one for each path."""
        how = f"search: {self.planned} trials by validation {self.metric}, sampler {self.sampler}"
        return [f"{how}, pruner {self.pruner}", *_lines(self.space, "  ")]


def _lines(space: Mapping[str, Variable], indent: str) -> Iterator[str]:
    for path, variable in space.items():
        if variable.ranged:
            step = "" if variable.step is None else f" by {variable.step}"
            spread = ", log" if variable.log else ""
            yield f"{indent}{path}: {variable.low} to {variable.high}{step}{spread}"
        else:
            yield f"{indent}{path}: {' | '.join(map(str, variable.raws))}"
        for name, option in variable.options.items():
            for line in _lines(option.space, f"{indent}  "):
                yield f"{line}  (if {name})"


def _count(space: Mapping[str, Variable]) -> int:
    return math.prod(variable.count() for variable in space.values())


def _check_paths(space: Mapping[str, Variable], around: tuple[str, ...]) -> None:
    """Refuses paths that change what is compared, and paths inside one another.

    Args:
        space: of the search or of an option.
        around: paths that vary beside the option's own.
    """
    for path, variable in space.items():
        for refused, reason in _REFUSED.items():
            if _inside(path, refused) or _inside(refused, path):
                raise ValueError(f"space.{path} cannot vary: {reason}")
        beside = tuple(other for other in space if other != path) + around
        for other in beside:
            if _inside(path, other) or _inside(other, path):
                raise ValueError(
                    f"space.{path} and space.{other} vary the same section of the recipe. Put "
                    "what belongs to an option into the option's own space"
                )
        for name, option in variable.options.items():
            if path in option.space:
                raise ValueError(f"space.{path}: option {name} varies the path itself")
            _check_paths(option.space, beside)


def _inside(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


def _plain(value: Any) -> Raw:
    """A choice as Optuna stores it: numbers and text as they are, others as JSON."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, ensure_ascii=False)


def _absent(value: Any) -> Raw:
    raise LookupError(value)


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6
