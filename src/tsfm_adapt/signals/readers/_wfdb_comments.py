"""What comments of WFDB headers say: attributes, labels, and whose the record is.

Comments are free text. A pair is `<age>: 60 <sex>: F`, or a line like `Age: 60`; in the headers
of the Challenges of 2020 and later diagnoses are a line `Dx: 426783006,164865005`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tsfm_adapt.signals.readers._whose import known_code
from tsfm_adapt.signals.recording import Attributes, Labels

_UNKNOWN = {"", "n/a", "nan", "unknown"}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:y|yrs?|years?)(?: old)?\.?", re.IGNORECASE)
_WHOSE = re.compile(r"(subject|patient|subj|pat)(id|no|nr|number|code|identifier)?")


def attributes_of(comments: Iterable[str], without: Iterable[str] = ()) -> Attributes:
    """The pairs as attributes, but for some names and for values that mean unknown.

    Names are in lower case with `_` for spaces. Numbers are numbers, `63 years` of age is one
    too; sex is F or M where it is stated as a word, whether it is called sex or gender.
    """
    left_out = {name.casefold() for name in without}
    attributes: dict[str, str | float] = {}
    for key, value in _pairs(comments):
        name = key.lower().replace(" ", "_")
        if key.casefold() in left_out:
            continue
        if name in ("sex", "gender") and value.lower() in ("f", "m", "female", "male"):
            name, value = "sex", value[0].upper()
        years = _AGE.fullmatch(value) if name == "age" else None
        attributes[name] = _number(years[1] if years else value)
    return attributes


def subject_of(comments: Iterable[str]) -> str | None:
    """The code of the subject or patient; None where no comment has one."""
    for key, value in _pairs(comments):
        if _WHOSE.fullmatch(re.sub(r"[\W_]", "", key.casefold())):
            return known_code(value)
    return None


def values_of(comments: Iterable[str], name: str) -> tuple[str, ...]:
    """The values of a comment, which commas separate, in its order; () where it is unknown."""
    values: dict[str, None] = {}
    for key, text in _pairs(comments):
        if key.casefold() == name.casefold():
            parts = (part.strip() for part in text.split(","))
            values.update(dict.fromkeys(part for part in parts if not _unknown(part)))
    return tuple(values)


class LabelTable:
    """Labels of records from comments, once all records are known.

    Where every record has one value of a comment at most, that is its label, by the comment's
    name. Where some have several, each value of any record is a label, `Dx_426783006`, of 0 or 1.
    A record without the comment has no label of it: nothing is known.

    Args:
        records: the comments of every record, by id.
        names: of the comments.
    """

    def __init__(self, records: Mapping[str, Sequence[str]], names: Iterable[str]) -> None:
        self._values = {
            name: {id: values_of(comments, name) for id, comments in records.items()}
            for name in names
        }
        self._every = {
            name: tuple(sorted({value for values in own.values() for value in values}))
            if any(len(values) > 1 for values in own.values())
            else None
            for name, own in self._values.items()
        }
        self._shared: dict[tuple[tuple[str, ...], ...], Labels] = {}  # one object for equal ones

    def of(self, id: str) -> Labels:
        """The labels of a record."""
        key = tuple(own[id] for own in self._values.values())
        if key not in self._shared:
            labels: dict[str, str | int | float] = {}
            for (name, every), values in zip(self._every.items(), key, strict=True):
                if every is not None and values:
                    labels |= {f"{name}_{value}": int(value in values) for value in every}
                elif values:
                    labels[name] = values[0]
            self._shared[key] = labels
        return self._shared[key]


def _pairs(comments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names and values, but for those that mean unknown."""
    for comment in comments:
        pairs = re.findall(r"<([^<>]+)>:\s*([^<]*)", comment) or re.findall(
            r"^([^\W\d_][\w ()-]*):\s*(.*)$", comment
        )
        for key, text in pairs:
            if not _unknown(text.strip()):
                yield key.strip(), text.strip()


def _unknown(text: str) -> bool:
    return text.strip("?").casefold() in _UNKNOWN


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
