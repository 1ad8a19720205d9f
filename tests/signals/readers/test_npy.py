import numpy as np
import pytest
from pydantic import ValidationError

from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.npy import Config
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, split

X = np.arange(2.0 * 3 * 5 * 2, dtype=np.float32).reshape(4, 3, 5)
OF_FILES = {"channels": ("a", "b", "c"), "unit": "mV", "rate_hz": 100}


@pytest.fixture
def root(tmp_path):
    np.save(tmp_path / "X_train.npy", X)
    np.save(tmp_path / "y_train.npy", np.array([0, 1, 1, 0]))
    np.save(tmp_path / "X_test.npy", -X[:2])
    np.save(tmp_path / "y_test.npy", np.array([1, 0]))
    return tmp_path


def read(root, **fields):
    return list(Config(root=str(root), **(OF_FILES | fields)).read(()))


class TestNpyContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        gappy = X.copy()
        gappy[1, 0, 2:4] = np.nan
        np.save(root / "X_train.npy", gappy)
        return Config(root=str(root), **OF_FILES)


def test_a_trial_is_a_recording_with_its_class_and_part(root):
    recordings = read(root)
    assert [r.id for r in recordings] == [*(f"train-{n}" for n in range(4)), "test-0", "test-1"]
    assert [r.subject for r in recordings] == [r.id for r in recordings]
    np.testing.assert_array_equal(recordings[2].values, X[2])
    np.testing.assert_array_equal(recordings[5].values, -X[1])
    assert [r.labels for r in recordings[3:5]] == [
        {"label": 0, "part": "train"},
        {"label": 1, "part": "test"},
    ]
    assert (recordings[0].units, recordings[0].rate_hz) == (("mV",) * 3, 100.0)


def test_values_stay_on_disk_until_they_are_used(root):
    recordings = read(root)
    np.lib.format.open_memmap(root / "X_train.npy", mode="r+")[1, 0, 0] = 99.0
    assert recordings[1].values[0, 0] == 99.0


def test_the_given_parts_are_those_of_the_split(root):
    parts = split(RecordingSet(tuple(read(root))), SplitPlan("predefined", val=0.25, seed=3))
    assert [len(parts[part]) for part in ("train", "val", "test")] == [3, 1, 2]
    assert [r.id for r in parts["test"]] == ["test-0", "test-1"]


def test_subjects_and_labels_may_be_text_and_labels_may_be_unknown(root):
    np.save(root / "s.npy", np.array(["p1", "p1", "p2", "p3"]))
    np.save(root / "t.npy", np.array(["up", "", "down", "up"]))
    np.save(root / "f.npy", np.array([0.0, np.nan, 2.0, 0.5]))
    one = {"values": "X_train.npy", "subjects": "s.npy", "parts": None}
    text = read(root, labels="t.npy", **one)
    assert [(r.id, r.subject) for r in text] == [
        ("0", "p1"),
        ("1", "p1"),
        ("2", "p2"),
        ("3", "p3"),
    ]
    assert [r.labels for r in text] == [{"label": "up"}, {}, {"label": "down"}, {"label": "up"}]
    numbers = [r.labels.get("label") for r in read(root, labels="f.npy", **one)]
    assert numbers == [0, None, 2, 0.5]
    assert isinstance(numbers[2], int)
    assert [r.labels for r in read(root, labels=None, **one)] == [{}] * 4


def test_ids_sort_in_the_order_of_the_file(root):
    np.save(root / "X_train.npy", np.zeros((120, 1, 2), np.int16))
    ids = [r.id for r in read(root, parts={"train": "train"}, labels=None, channels=("a",))]
    assert ids == sorted(ids)
    assert (ids[0], ids[-1]) == ("train-000", "train-119")


def test_one_channel_needs_no_axis_and_whole_numbers_become_floats(root):
    np.save(root / "X_train.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    first, _ = read(root, parts={"train": "train"}, labels=None, channels=("a",))
    assert first.values.tolist() == [[0, 1, 2]]
    assert first.values.dtype == np.float64


@pytest.mark.parametrize(
    ("array", "fields", "message"),
    [
        (np.zeros((4, 2, 5)), {}, r"X_train\.npy has 2, named are 3 \(a, b, c\)"),
        (np.zeros((4, 3)), {}, r"X_train\.npy is float64 \(4, 3\)"),
        (np.zeros((4, 3, 0)), {}, r"X_train\.npy is float64 \(4, 3, 0\)"),
        (np.zeros((4, 3, 5), complex), {}, r"X_train\.npy is complex128"),
        (np.zeros((3, 3, 5)), {}, r"y_train\.npy is int64 \(4,\) for 3 trials"),
        (np.array([None, "x"]), {}, r"X_train\.npy must be a \.npy file of numbers or text"),
        (X, {"subjects": "s_{part}.npy"}, r"s_train\.npy does not exist; .* X_test\.npy"),
        (X, {"parts": {"val": "dev"}}, r"X_dev\.npy does not exist"),
    ],
)
def test_arrays_that_do_not_fit_are_named(root, array, fields, message):
    np.save(root / "X_train.npy", array)
    with pytest.raises(DataError, match=message):
        read(root, **fields)


def test_a_file_that_is_no_array_is_named(root):
    (root / "X_train.npy").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"X_train\.npy must be a \.npy file"):
        read(root)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parts": None}, "use both or neither"),
        ({"labels": "y.npy"}, "use both or neither"),
        ({"channels": ("a", "a")}, "a name twice"),
        ({"unit": ("mV", "mV")}, "unit has 2 for 3 channels"),
        ({"parts": {"dev": "dev"}}, "parts"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(root, fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(root=str(root), **(OF_FILES | fields))
