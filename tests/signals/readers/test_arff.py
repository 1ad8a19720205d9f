"""Files of Weka's ARFF format, as the reader of time-series archives takes them."""

import numpy as np
import pytest

from contracts.arff_text import BEATS, GAIT
from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.ts import Config


def read(path, text=None, channels=(), **fields):
    if text is not None:
        path.write_text(text)
    return list(Config(root=str(path), unit="mV", rate_hz=50, **fields).read(channels))


class TestArffContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        (tmp_path / "Gait_TRAIN.arff").write_text(GAIT)
        return Config(root=str(tmp_path), unit="mV", rate_hz=50)


def test_an_arff_file_of_one_dimension_is_read(tmp_path):
    first, second = read(tmp_path / "Beats_TEST.arff", BEATS)
    np.testing.assert_array_equal(first.values, [[1, 2, np.nan]])
    np.testing.assert_array_equal(second.values, [[-100, 5, 6]])
    assert [r.labels for r in (first, second)] == [
        {"label": 1, "part": "test"},
        {"label": 2, "part": "test"},
    ]
    assert first.channels == ("dim_0",)


def test_a_relational_arff_file_is_read(tmp_path):
    first, second = read(tmp_path / "Gait_TRAIN.arff", GAIT)
    np.testing.assert_array_equal(first.values, [[1, 2, 3], [4, 5, np.nan]])
    np.testing.assert_array_equal(second.values, [[7, 8, 9], [10, 11, 12]])
    assert [r.labels["label"] for r in (first, second)] == ["walking", "slow run"]


def test_an_arff_target_is_a_number_and_may_be_absent(tmp_path):
    numbers = BEATS.replace("{1, 2}", "numeric")
    assert read(tmp_path / "a.arff", numbers)[0].labels == {"target": 1}
    without = numbers.replace("attribute target", "attribute att3")
    (first, _) = read(tmp_path / "a.arff", without)
    assert first.labels == {}
    np.testing.assert_array_equal(first.values, [[1, 2, np.nan, 1]])


def test_scipy_reads_the_same_numbers_of_one_dimension(tmp_path):
    arff = pytest.importorskip("scipy.io.arff", reason="scipy is not installed")
    path = tmp_path / "Beats.arff"
    ours = read(path, BEATS)
    theirs, _ = arff.loadarff(path)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.values[0], list(other)[:-1])
        assert str(one.labels["label"]) == other["target"].decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 header lines and no cases"),
        (BEATS.split("1,2,?")[0], "6 header lines|5 header lines"),
        ("PK\x03\x04 zipped\n@data\n1\n", "line 1: expected a header line"),
        (BEATS.replace("att0 REAL", "att0 date"), "of the kinds date, numeric"),
        (BEATS.replace("1,2,?", "1,x,?"), "line 9: expected finite numbers"),
        (BEATS.replace("1,2,?", "1,1e999,?"), "line 9: expected finite numbers"),
        (BEATS.replace("1,2,?", "1,?"), "line 9: expected 3 samples, not 2"),
        (BEATS.replace(",6,2", ",6,3"), "line 10: expected one of the classes 1, 2, found '3'"),
        (GAIT.replace(",walking\n", "\n"), "line 9: expected one quoted text"),
        (GAIT[: GAIT.index(",5,?")], "line 9: expected one quoted text"),
        (GAIT.replace("'1,2,3", "'1,2,3,4"), "line 9, has 3 to 4 samples"),
        (GAIT.replace("4,5,?", "4,5"), "line 9, has 2 to 3 samples"),
    ],
)
def test_a_broken_arff_file_is_named_with_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "Gait_TRAIN.arff", text)
    assert "Gait_TRAIN.arff" in str(caught.value)
