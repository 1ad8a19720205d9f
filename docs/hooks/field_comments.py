"""Lets the Python reference tell of fields what the comments behind them say: shapes, units."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe

_COMMENT = re.compile(r"\S  # (?!noqa|type:)(.+?)(?:  # .*)?$")


class FieldComments(griffe.Extension):
    """Takes the comment at the end of a field's last line for its docstring, where it has none."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Told of every attribute that is read from source."""
        in_class = attr.parent is not None and attr.parent.is_class
        if attr.docstring or not in_class or attr.endlineno is None:
            return
        assert isinstance(attr.filepath, Path)
        found = _COMMENT.search(_lines(attr.filepath)[attr.endlineno - 1])
        if found:
            attr.docstring = griffe.Docstring(found[1], parent=attr, lineno=attr.endlineno)


@cache
def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
