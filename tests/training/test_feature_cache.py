"""Features computed once: the same numbers, never stale, and no run that depends on the store."""

import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

from tsfm_adapt._util.cache import cache_bytes, cache_folder
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.training import feature_cache as features
from tsfm_adapt.training import loop as training
from tsfm_adapt.training.building import build

RECIPE = """
name: small
data:
  reader: {name: synthetic, subjects: 9, hours: 20}
  channels: {HR: bpm, MAP: mmHg}
  rate_hz: 1/300
  split: {train: 5, val: 2, test: 2}
backbone: {name: chronos_bolt, checkpoint: embedded}
head: {name: linear, statistics: true}
task:
  name: classify
  context_s: 14400
  labels: {of: future, spans: [deterioration], within_s: 7200}
  stride_s: 3600
train:
  {steps: 12, batch_size: 8, lr: 0.01, validate_every: 6, checkpoint_every: 3, accelerator: cpu}
evaluate: {batch_size: 8}
"""


class Said(Progress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def encoded(monkeypatch):
    """How many windows went through the encoder."""
    counts = []
    encode = ChronosBolt.encode

    def counted(self, batch, through):
        counts.append(batch.size)
        return encode(self, batch, through)

    monkeypatch.setattr(ChronosBolt, "encode", counted)
    return counts


@pytest.fixture(scope="module")
def parts():
    return prepare(loads(RECIPE, source="test"))


def recipe(**changes):
    return loads(RECIPE, source="test").override(changes)


def learned(parts, folder, progress=None, **changes):
    """The head's weights after a run in `folder`, or what is left of one."""
    own, progress = recipe(**changes), progress or Said()
    model = build(own, parts, progress)
    train, val = (
        features.with_cached_features(model, own, parts.windows[part], progress)
        for part in ("train", "val")
    )
    training.fit(model, train, val, own.train, own.seed, folder, progress)
    return {name: tensor.detach().clone() for name, tensor in model.trainable().items()}


def key(model, own, windows):
    return features._key(model, own, windows)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_training_ends_in_the_same_weights_with_and_without_the_cache(parts, tmp_path):
    without = learned(parts, tmp_path / "a", **{"train.feature_cache": False})
    kept = learned(parts, tmp_path / "b")
    for name, tensor in without.items():
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=1e-5)
    assert same(learned(parts, tmp_path / "c"), kept), "from the store"


def test_a_second_run_encodes_nothing(parts, tmp_path, encoded):
    learned(parts, tmp_path / "a")
    first = sum(encoded)
    distinct = len(parts.windows["train"]) + len(parts.windows["val"])
    assert first == distinct + 1, "each window once, and the one that a head is attached with"
    learned(parts, tmp_path / "b")
    assert sum(encoded) == first + 1


def test_a_run_that_goes_on_ends_where_an_uninterrupted_one_does(parts, tmp_path, place):
    whole = learned(parts, tmp_path / "whole")
    shutil.rmtree(place)

    class Stopping(Said):
        def work(self, label, total, done=0):
            return _Stop(label == "train")

    with pytest.raises(RuntimeError, match="killed"):
        learned(parts, tmp_path / "cut", Stopping())
    assert same(learned(parts, tmp_path / "cut"), whole)


class _Stop:
    """A meter that ends the process's work in step 8; checkpoints are those of step 6."""

    def __init__(self, armed):
        self._left = 8 if armed else 10**9

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, count=1, note=""):
        self._left -= count
        if self._left <= 0:
            raise RuntimeError("killed")


def kinds(parts):
    """Windows of each kind over the same recordings."""
    labelled = parts.windows["train"]
    spec = WindowSpec(labelled.spec.context, 0, 7)
    masks = (Missingness("point", 0.2, seed=0), Missingness("point", 0.4, seed=1))
    return {
        "plain": Windows(labelled.recordings, spec),
        "labelled": labelled,
        "hidden": HiddenWindows(labelled.recordings, spec, masks),
    }


@pytest.mark.parametrize("kind", ["plain", "labelled", "hidden"])
def test_every_window_gets_its_own_features_in_any_order(parts, kind, encoded):
    from tsfm_adapt.batches import collate

    own = recipe()
    model = build(own, parts, Said())
    plain = kinds(parts)[kind]
    some = features.with_cached_features(model, own, plain, Said())
    assert type(some) is type(plain)
    with torch.inference_mode():
        expected = model.features(collate(plain.gather(np.arange(24)))).numpy()
    order = np.array([5, 3, 3, 11, 0])
    close = {"rtol": 1e-4, "atol": 1e-5}  # a batch of another size rounds otherwise
    np.testing.assert_allclose(some.gather(order).features, expected[order], **close)
    again = some.gather(np.array([3, 20, 5]))  # one of three is new
    np.testing.assert_allclose(again.features, expected[[3, 20, 5]], **close)
    encoded.clear()
    taken = some.take([20, 11, 3]).take([2, 0])
    np.testing.assert_allclose(taken.gather([0, 1]).features, expected[[3, 20]], **close)
    assert not encoded, "known under another number"
    first, second = some.gather(order), plain.gather(order)
    np.testing.assert_array_equal(first.values, second.values)
    if kind == "labelled":
        assert isinstance(some, LabelledWindows)
        np.testing.assert_array_equal(some.classes_of, plain.classes_of)
    if kind == "hidden":
        np.testing.assert_array_equal(some.mask, plain.mask)
        np.testing.assert_array_equal(first.target_observed, second.target_observed)


def test_the_key_changes_with_all_that_features_depend_on(parts, monkeypatch):
    own = recipe()
    model = build(own, parts, Said())
    windows = parts.windows["val"]
    first = key(model, own, windows)
    assert key(build(own, parts, Said()), own, windows) == first
    assert key(model, own, windows.take([1])) == first, "a part of the list has the list's rows"
    with torch.no_grad():
        model.head.module.linear.weight.add_(1.0)
    assert key(model, own, windows) == first, "the head reads features, it does not make them"

    recordings = list(windows.recordings)
    values = recordings[0].values.copy()
    values[0, 7] += 1e-3
    changed = [replace(recordings[0], values=values), *recordings[1:]]
    other = {
        "one value": LabelledWindows(changed, windows.spec, windows.labelling),
        "their step": LabelledWindows(
            recordings, replace(windows.spec, stride=3), windows.labelling
        ),
        "a clock": LabelledWindows(
            [replace(r, start=np.datetime64("2020-01-01T07:00:00")) for r in recordings],
            windows.spec,
            windows.labelling,
        ),
    }
    found = {name: key(model, own, windows) for name, windows in other.items()}
    for name, change in {
        "pooling": {"head.pooling": "max"},
        "statistics": {"head.statistics": False},
        "device": {"train.accelerator": "mps"},
    }.items():
        changed_recipe = own.override(change)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        built = build(changed_recipe.override({"train.accelerator": "cpu"}), parts, Said())
        found[name] = key(built, changed_recipe, windows)
    with torch.no_grad():
        parameter = next(model.network.parameters())
        parameter.view(-1)[0] += 1e-3
    found["one weight"] = key(model, own, windows)
    monkeypatch.setattr(features, "version", lambda package: f"{package} 99")
    found["versions"] = key(model, own, windows)
    assert len({first, *found.values()}) == 1 + len(found), found
    hidden = {
        seed: HiddenWindows(recordings, windows.spec, [Missingness("point", 0.2, seed=seed)])
        for seed in (0, 1)
    }
    assert key(model, own, hidden[0]) != key(model, own, hidden[1])


def test_what_an_adapter_holds_is_part_of_the_key(parts):
    own = recipe(adapters=[{"name": "channel_projector"}])
    model = build(own, parts, Said())
    first = key(model, own, parts.windows["val"])
    buffers = dict(model.modules_of_adapters.named_buffers())
    tensors = buffers or dict(model.modules_of_adapters.named_parameters())
    with torch.no_grad():
        next(iter(tensors.values())).add_(1.0)
    assert key(model, own, parts.windows["val"]) != first


def test_a_probe_finds_what_was_computed_for_a_linear_head_that_reads_the_same(parts):
    own = {kind: recipe(head={"name": kind}) for kind in ("linear", "probe")}
    keys = {key(build(r, parts, Said()), r, parts.windows["val"]) for r in own.values()}
    assert len(keys) == 1
    attention = recipe(head={"name": "linear", "pooling": "attention"})
    keys.add(key(build(attention, parts, Said()), attention, parts.windows["val"]))
    assert len(keys) == 2


def test_nothing_is_kept_where_something_before_the_head_trains(parts, place):
    own = recipe(adapters=[{"name": "lora", "rank": 2}])
    model = build(own, parts, Said())
    windows = parts.windows["val"]
    assert features.with_cached_features(model, own, windows, Said()) is windows
    assert not place.exists()
    off = recipe(**{"train.feature_cache": False})
    assert (
        features.with_cached_features(build(off, parts, Said()), off, windows, Said()) is windows
    )


def filled(parts, progress, **changes):
    """Windows with features, all of which were asked for once."""
    own = recipe(**changes)
    some = features.with_cached_features(
        build(own, parts, progress), own, parts.windows["val"], progress
    )
    return some, some.gather(np.arange(len(some))).features


def the_store(windows):
    return windows._features._folder


def test_a_row_that_a_crash_left_half_written_is_computed_again(parts, encoded):
    some, expected = filled(parts, Said())
    values = np.load(the_store(some) / "features.npy", mmap_mode="r+")
    values[1, :5] = 0.0
    values.flush()
    encoded.clear()
    np.testing.assert_allclose(
        some.gather(np.arange(3)).features, expected[:3], rtol=1e-4, atol=1e-5
    )
    assert encoded == [1]


@pytest.mark.parametrize("harm", ["torn", "gone", "old"])
def test_a_broken_store_is_begun_anew(parts, harm):
    some, expected = filled(parts, Said())
    folder = the_store(some)
    if harm == "torn":
        (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:300])
    elif harm == "gone":
        (folder / "checksums.npy").unlink()
    else:
        (folder / "meta.json").write_text("{}")
    told = Said()
    again, found = filled(parts, told)
    np.testing.assert_array_equal(found, expected)
    assert [line for line in told.lines if "begun anew" in line]
    assert the_store(again).is_dir()


def test_a_run_goes_on_without_a_store_where_the_disk_is_full(parts, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "_put", full)
    told = Said()
    some, first = filled(parts, told)
    np.testing.assert_array_equal(some.gather(np.arange(len(some))).features, first)
    assert len([line for line in told.lines if "No space left" in line]) == 2, "train and val"


def test_a_folder_that_cannot_be_written_costs_a_line(parts, place):
    place.write_text("a file stands in its place")
    told = Said()
    _, found = filled(parts, told)
    assert found.shape[0] == len(parts.windows["val"])
    assert any("cannot be kept" in line for line in told.lines)


def test_a_store_that_would_fill_the_disk_is_not_begun(parts, monkeypatch, place):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 100, 100))
    told = Said()
    filled(parts, told)
    assert any("would take" in line for line in told.lines)
    assert not list((place / "features").iterdir())


def test_doctor_can_say_how_much_is_kept(parts, place):
    assert cache_bytes() == 0
    _, found = filled(parts, Said())
    assert cache_folder() == place
    assert cache_bytes() >= cache_bytes("features") >= found.nbytes
    assert cache_bytes("recordings") == 0
