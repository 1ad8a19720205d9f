"""`schema`: the rules of a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tsfm_adapt.components import PACKAGES, names


def test_schema_describes_every_component(cli: Callable[..., Any]) -> None:
    schema = json.loads(cli("schema").out)
    described = json.dumps(schema)
    for kind in PACKAGES:
        for name in names(kind):
            assert f'"const": "{name}"' in described, (kind, name)
