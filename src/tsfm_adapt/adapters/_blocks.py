"""Which blocks of a backbone an adapter acts on: one spelling and one error for all adapters.

A recipe says `blocks: all`, `blocks: last`, their numbers from 0 (`blocks: [0, 3]`), or a range
with both ends included (`blocks: {from: 0, to: 3}`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt._util.renamed import written
from tsfm_adapt.errors import RecipeError

Number = Annotated[int, Field(ge=0)]


class BlockRange(Frozen):
    """Blocks from one number to another, both included."""

    first: Number = Field(alias="from")
    last: Number = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> BlockRange:
        if self.first > self.last:
            raise ValueError("from is above to")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, int]:
        return {"from": self.first, "to": self.last}


def _explained(given: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """One message for all forms, in place of one for each."""
    try:
        return read(given)
    except ValidationError:
        raise ValueError(
            f"{written(given)} names no blocks. Use all, last, numbers from 0 such as [0, 3], or "
            "a range such as {from: 0, to: 3}, both ends included"
        ) from None


Blocks = Annotated[
    Literal["all", "last"] | Annotated[tuple[Number, ...], Field(min_length=1)] | BlockRange,
    WrapValidator(_explained),
]


def chosen(blocks: Blocks, known: Sequence[int], adapter: str, backbone: str) -> tuple[int, ...]:
    """The chosen blocks, in order.

    Args:
        blocks: as the recipe has it.
        known: numbers of the blocks that there are, in order.
        adapter: its name, for the error.
        backbone: its name, for the error.

    Raises:
        RecipeError: a number, or an end of the range, is not known.
    """
    if blocks == "all":
        return tuple(known)
    if blocks == "last":
        return tuple(known[-1:])
    if isinstance(blocks, BlockRange):
        wanted: Sequence[int] = range(blocks.first, blocks.last + 1)
        named = {blocks.first, blocks.last}
    else:
        wanted = sorted(set(blocks))
        named = set(blocks)
    if not named <= set(known):
        plain = blocks.model_dump() if isinstance(blocks, BlockRange) else blocks
        raise RecipeError(
            f"adapters.{adapter}.blocks: {written(plain)} asks for blocks that {backbone} does "
            f"not have. It has blocks {known[0]} to {known[-1]}."
        )
    return tuple(number for number in wanted if number in known)


def from_layers(key: str, value: Any, *, ends: bool) -> tuple[str, Any]:
    """`layers`, the name of version 0.1, as `blocks`; any other key as it is.

    Args:
        key: of the recipe.
        value: of the key.
        ends: two numbers were the first and the last block, and null was all of them.
    """
    if key != "layers" or not ends:
        return ("blocks" if key == "layers" else key), value
    if value is None:
        return "blocks", "all"
    if isinstance(value, list | tuple) and len(value) == 2:
        return "blocks", {"from": value[0], "to": value[1]}
    return key, value  # it never meant anything, and is refused
