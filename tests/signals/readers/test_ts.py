import numpy as np
import pytest

from contracts.arff_text import BEATS, GAIT
from contracts.reader import ReaderContract, same
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
    with pytest.raises(DataError, match=r"holds \.ts or \.arff files: .* has none"):
        read(tmp_path)


def test_the_two_formats_of_a_case_hold_the_same(root, tmp_path_factory):
    arff = r"""@relation Gait
@attribute Gait relational
@attribute t0 numeric
@attribute t1 numeric
@attribute t2 numeric
@end Gait
@attribute class {1,2}
@data
'1,2,3\n4,5,6',1
'7,?,9\n10,11,NaN',2
"""
    folder = tmp_path_factory.mktemp("arff")
    (folder / "Gait_TRAIN.arff").write_text(arff)
    pairs = zip(read(root / "Gait_TRAIN.ts"), read(folder), strict=True)
    assert all(same(one, other) for one, other in pairs)


def test_arff_files_beside_ts_files_are_left_alone(root):
    (root / "Gait_TRAIN.arff").write_text(GAIT)
    (root / "GaitDimension1_TRAIN.arff").write_text(BEATS)
    assert len(read(root)) == 3
    for path in root.glob("*.ts"):
        path.unlink()
    assert len(read(root, problem="Gait")) == 2


@pytest.mark.parametrize("suffix", ["ts", "arff"])
def test_bytes_that_are_no_text_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"\x47\xff\xfe" * 100)
    with pytest.raises(DataError, match="must be readable UTF-8 text"):
        read(path)
    assert Config.guess(path) is None


def test_the_files_of_a_problem_are_recognised(root, tmp_path_factory):
    guessed = Config.guess(root)
    assert guessed == Config(root=str(root), unit="1", rate_hz=1)
    assert len(list(guessed.read(()))) == 3
    assert len(list(Config.guess(root / "Gait_TEST.ts").read(()))) == 1
    (root / "Beats_TRAIN.ts").write_text(TRAIN)
    assert Config.guess(root).problem == "Beats"
    other = tmp_path_factory.mktemp("other")
    (other / "index.ts").write_text("export const a = 1\n")
    assert Config.guess(other) is None
    (other / "a.arff").write_text(GAIT)
    assert len(list(Config.guess(other / "a.arff").read(()))) == 2
