import numpy as np
import pytest

from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.ts import Config

HEADER = """#a comment
@problemName Gait
@timeStamps false
@univariate false
@dimensions 2
@classLabel true 1 2
@data
"""
TRAIN = HEADER + "1,2,3:4,5,6:1\n7,?,9:10,11,NaN:2\n"
TEST = HEADER + "\n0.5,-1e2:3,4:2\n"


def read(path, text=None, channels=(), **fields):
    if text is not None:
        path.write_text(text)
    return list(Config(root=str(path), unit="mV", rate_hz=50, **fields).read(channels))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "Gait_TEST.ts").write_text(TEST)
    (tmp_path / "Gait_TRAIN.ts").write_text(TRAIN)
    return tmp_path


class TestTsContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(root=str(root), unit="mV", rate_hz=50)


def test_a_case_is_a_recording_with_its_class_and_part(root):
    first, second, third = read(root)
    assert [r.id for r in (first, second, third)] == ["train-0", "train-1", "test-0"]
    assert first.subject == first.id
    np.testing.assert_array_equal(first.values, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(second.values, [[7, np.nan, 9], [10, 11, np.nan]])
    np.testing.assert_array_equal(third.values, [[0.5, -100], [3, 4]])  # shorter than the others
    assert second.labels == {"label": 2, "part": "train"}
    assert third.labels == {"label": 2, "part": "test"}
    assert (first.channels, first.units, first.rate_hz) == (("dim_0", "dim_1"), ("mV",) * 2, 50.0)
    assert read(root, channels=("y",))[0].channels == ()


def test_dimensions_have_the_names_that_the_recipe_gives(root):
    config = Config(root=str(root), unit="mV", rate_hz=50, channels=("x", "y"))
    recordings = list(config.read(("y",)))
    assert recordings[0].channels == ("y",)
    assert recordings[0].values.tolist() == [[4, 5, 6]]
    with pytest.raises(DataError, match=r"_TRAIN\.ts, line 8, has 2, named are 3"):
        list(config.model_copy(update={"channels": ("x", "y", "z")}).read(()))


def test_one_file_without_a_part_in_its_name_has_none(tmp_path):
    (one,) = read(tmp_path / "Beats.ts", "@univariate true\n@classLabel true a b\n@data\n1,2:b\n")
    assert (one.id, one.labels) == ("Beats-0", {"label": "b"})


def test_regression_targets_and_files_without_labels_are_read(tmp_path):
    (one,) = read(tmp_path / "a.ts", "@targetLabel true\n@data\n1,2:0.5\n")
    assert one.labels == {"target": 0.5}
    (one,) = read(tmp_path / "a.ts", "@classLabel false\n@data\n1,2:3,4\n")
    assert one.labels == {}
    assert one.values.shape == (2, 2)


def test_one_problem_of_several_is_named(root):
    (root / "Other_TRAIN.ts").write_text(TRAIN)
    with pytest.raises(DataError, match=r"the files of Gait, Other, and none is named"):
        read(root)
    assert len(read(root, problem="Gait")) == 3
    assert len(read(root / "Gait_TRAIN.ts")) == 2
    with pytest.raises(DataError, match=r"'Gaits' is named\. Did you mean 'Gait'"):
        read(root, problem="Gaits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 header lines and 0 cases"),
        (HEADER, "6 header lines and 0 cases"),
        ("1,2:3\n", "line 1: expected a header line"),
        (TRAIN.replace("Stamps false", "Stamps true"), "'@timeStamps true'. Write .* csv"),
        (TRAIN.replace("1,2,3", "1,2"), "line 8, has 2 to 3 samples"),
        (TRAIN.replace("1,2,3", "1,x,3"), "line 8: expected finite numbers.*found '1,x,3'"),
        (TRAIN.replace("1,2,3", "1,inf,3"), "line 8: expected finite numbers"),
        (TRAIN.replace("1,2,3:", ""), "line 8: expected 2 dimensions, found '4,5,6:1'"),
        (TRAIN.replace(":2\n", ":3\n"), "line 9: expected one of the classes 1, 2, found '3'"),
        ("@targetLabel true\n@data\n1,2:x\n", "line 3: expected a number behind"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "Gait_TRAIN.ts", text)
    assert "Gait_TRAIN.ts" in str(caught.value)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds \.ts files: .* has none"):
        read(tmp_path)
