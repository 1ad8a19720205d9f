"""The folder of a study, which the next process finds."""

import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.studies.folder import StudyFolder


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no study"):
        _ = StudyFolder(tmp_path).recipe
