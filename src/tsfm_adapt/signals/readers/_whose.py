"""Whose a recording is, from what headers state: codes of patients that tell them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NOBODY = re.compile(
    r"[x?*_.\-\s]*|anon(ym(ous|i[sz]ed)?)?|unknown|none|n\.?/?a\.?|nan|null|patient|subject"
)


def known_code(text: str) -> str | None:
    """The code of a patient; None where it stands for nobody, such as `X` or `anonymous`."""
    code = text.strip()
    return None if _NOBODY.fullmatch(code.casefold()) else code


def tell_apart(codes: Sequence[str | None]) -> bool:
    """True if the codes of several files say whose each is: all are known, and not all the same.

    One code in all files may be one person as well as a recorder's default.
    """
    return None not in codes and len(set(codes)) > 1
