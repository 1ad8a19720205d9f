"""A study of a small recipe, which nothing here trains."""

import pytest

from contracts.study import RECIPE
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.studies.folder import create


@pytest.fixture
def study(tmp_path):
    return create(loads(RECIPE), tmp_path / "runs", database=False, smoke=False)
