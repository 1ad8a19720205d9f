"""Which reader an unknown path is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from tsfm_adapt.components import component, config_class, configs, names
from tsfm_adapt.errors import DataError, EnvironmentProblem, RecipeError, TsfmAdaptError
from tsfm_adapt.recipe.trees import parse_mapping
from tsfm_adapt.signals.listing import visible
from tsfm_adapt.signals.readers.base import ReaderConfig

_COUNTED = 20_000  # files beyond which nobody wants to know how many


def recognised(path: Path, given: str | None = None) -> ReaderConfig:
    """The settings of the reader that a file or folder is for.

    Args:
        path: of the recordings.
        given: a reader's name, or its settings as YAML; None = the one reader that claims the
            path. Formats go before tables, which many formats are written as.

    Raises:
        DataError: there is nothing, nothing that a reader knows, or several readers claim it.
        RecipeError: there is no such reader or setting.
        EnvironmentProblem: a reader's optional package is needed to look at the files.
    """
    _check_there(path)
    if given is not None:
        return _given(path, given)
    stopped: dict[str, TsfmAdaptError] = {}
    for general in (False, True):
        claims = _claims(path, general, stopped)
        if len(claims) == 1:
            return claims[0]
        if claims:
            found = " and ".join(claim.name for claim in claims)
            raise DataError(
                f"'{path}' holds one format: it looks like {found}. Name the reader that is "
                "meant, or give a folder of one format.",
                remedy=f"reader={claims[0].name}",
            )
    raise _unknown(path, stopped)


def _claims(path: Path, general: bool, stopped: dict[str, TsfmAdaptError]) -> list[ReaderConfig]:
    """The settings of the readers that know the path; what stopped others is noted."""
    claims: list[ReaderConfig] = []
    for name, config in configs("reader").items():
        if config.general != general:
            continue
        try:
            claim = config.guess(path)
        except (DataError, EnvironmentProblem) as problem:
            stopped[name] = problem
            continue
        except OSError as problem:
            stopped[name] = DataError(f"{path}: {problem}.")
            continue
        if isinstance(claim, ReaderConfig):
            claims.append(claim)
    return claims


def files_below(path: Path) -> tuple[int, list[str]]:
    """How many visible files there are, and the commonest ends of their names."""
    if not path.is_dir():
        return 1, [path.suffix.lower() or path.name]
    ends: Counter[str] = Counter()
    for file in islice(visible(path, "*"), _COUNTED):
        ends[file.suffix.lower() or file.name] += 1
    return ends.total(), sorted(ends, key=lambda end: (-ends[end], end))


def _check_there(path: Path) -> None:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"A recipe is text: {str(path)!a} is not valid UTF-8. Rename it."
        ) from None
    try:
        if not path.exists():
            raise DataError(f"'{path}' does not exist. Give the file or folder of the recordings.")
        if not (path.is_dir() or path.is_file()):
            raise DataError(f"'{path}' is neither a file nor a folder. Give one with recordings.")
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(
                f"A file of recordings holds something: '{path}' has 0 bytes. Give another."
            )
        if path.is_dir() and files_below(path)[0] == 0:
            raise DataError(
                f"A folder of recordings holds files: '{path}' has none. Give another."
            )
    except OSError as problem:
        raise DataError(f"'{path}' must be readable: {problem}. Give another path.") from problem


def _given(path: Path, given: str) -> ReaderConfig:
    """The named reader's own guess, or the settings as they were given."""
    if not given.lstrip().startswith("{") and ":" not in given:
        component("reader", given)
        claim = config_class("reader", given).guess(path)
        if isinstance(claim, ReaderConfig):
            return claim
        raise DataError(
            f"{given}: '{path}' does not look like it. Give all its settings, like "
            f"'{{name: {given}, ...}}'; `tsfm-adapt schema` lists them.",
            argument="reader",
        )
    try:
        settings = parse_mapping(given, "reader")
    except RecipeError as error:
        raise RecipeError(str(error), argument="reader") from error
    name = settings.get("name")
    if not isinstance(name, str):
        raise RecipeError(
            f"reader: name is missing. Known: {', '.join(names('reader'))}.", argument="reader"
        )
    component("reader", name)
    config = config_class("reader", name)
    if "root" in config.model_fields:
        settings = {"root": str(path), **settings}
    try:
        reader = config.model_validate(settings)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in error.errors()]
        message = "\n".join(f"{line}." for line in lines)
        raise RecipeError(message, argument="reader") from error
    assert isinstance(reader, ReaderConfig)
    return reader


def _unknown(path: Path, stopped: Mapping[str, TsfmAdaptError]) -> TsfmAdaptError:
    """What stopped the two likeliest readers, with the settings that would go on."""
    absent = [own for own in stopped.values() if isinstance(own, EnvironmentProblem)]
    if absent and not any(own.remedy for own in stopped.values()):
        return absent[0]
    likely = sorted(stopped, key=lambda name: stopped[name].remedy is None)[:2]
    if likely:
        first, *others = (f"{name}: {stopped[name]}" for name in likely)
        also = "".join(f" Or {other}" for other in others)
        settings = stopped[likely[0]].remedy or f"reader={{name: {likely[0]}, ...}}"
        return DataError(f"{first}{also}", remedy=settings)
    count, ends = files_below(path)
    more = "at least " if count >= _COUNTED else ""
    return DataError(
        f"No reader knows the format of '{path}' ({more}{count} "
        f"file{'s' if count != 1 else ''}: {', '.join(ends[:6])}); tried were "
        f"{', '.join(names('reader'))}. A table needs a header, a column of times and columns of "
        "numbers. Give the folder nearest to the recordings, or the settings of a reader.",
        remedy="reader={name: csv, ...}",
    )
