"""Recordings kept on disk: the same as those that were read, never half of them, never stale."""

import gc
import json
import os
import shutil
import time
import weakref
from collections import namedtuple
from dataclasses import fields, replace

import numpy as np
import pytest

from tsfm_adapt.signals import store
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import CleaningLog, clean_each
from tsfm_adapt.signals.mapping import _map_of
from tsfm_adapt.signals.recording import Recording, Span
from tsfm_adapt.signals.windows import Windows, WindowSpec

NAN = np.nan


def recordings(n=3, samples=500, dtype=np.float64):
    rng = np.random.default_rng(0)
    for number in range(n):
        values = rng.normal(80, 9, size=(2, samples + number)).astype(dtype)
        values[rng.random(values.shape) < 0.1] = NAN
        yield Recording(
            id=f"r{number}#1",
            subject=f"s{number}",
            values=values[:, ::-1] if number else np.asfortranarray(values),
            channels=("HR", "SpO2"),
            units=("bpm", "%"),
            rate_hz=1 / 60,
            start=np.datetime64("2896-10-10T00:31:25", "s") if number else None,
            spans=(Span(0.1 + number, 1 / 3 + number, "arrhythmia é"), Span(5.0, 5.0, "N")),
            attributes={"age": 61.0, "sex": "F"},
            labels={"part": "train", "outcome": number, "dose": 0.1},
        )


def seen():
    return CleaningLog({"gone": "has no measured value"}, {"HR": (None, 0.1), "SpO2": (1.0,)})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recordings" / ("0" * 64)


@pytest.fixture
def kept(folder):
    """A store of three recordings."""
    found = store.collect(recordings(), seen(), folder, 10**9)
    assert folder.exists()
    return found


def stated(recording):
    """All but the values."""
    named = {f.name: getattr(recording, f.name) for f in fields(recording) if f.name != "values"}
    return {**named, "labels": dict(named["labels"]), "attributes": dict(named["attributes"])}


def test_a_store_holds_what_was_read_as_float32(kept):
    direct = list(recordings())
    assert len(kept) == len(direct)
    for one, other in zip(kept, direct, strict=True):
        assert stated(one) == stated(other)
        assert isinstance(one.labels["outcome"], int)
        assert isinstance(one.labels["dose"], float)
        assert one.values.dtype == np.float32
        assert one.values.flags.c_contiguous
        np.testing.assert_array_equal(one.values, other.values.astype(np.float32))
    assert (dict(kept.left_out), dict(kept.rates)) == (seen().left_out, seen().rates)


def test_windows_of_a_store_are_those_of_the_reader_bit_by_bit(kept):
    spec = WindowSpec(40, 10)
    one, other = Windows(kept.recordings, spec), Windows(list(recordings()), spec)
    every = np.arange(len(one))
    assert one.origins_sha256() == other.origins_sha256()
    stored, direct = one.gather(every), other.gather(every)
    for name in ("values", "observed", "target", "target_observed", "start_s"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(direct, name))


def test_opening_reads_no_values(kept, folder):
    again = store.opened(folder)
    maps = {id(_map_of(recording.values)) for recording in again}
    assert len(maps) == 1
    assert all(_map_of(r.values) is not None and not r.values.flags.writeable for r in again)
    empty = folder / "values.f32"
    size = empty.stat().st_size
    os.truncate(empty, 0)
    os.truncate(empty, size)  # a hole: had anything been read or copied, it would not be 0 now
    lazy = store.opened(folder)
    assert all((recording.values == 0).all() for recording in (*lazy, *again))


def test_what_is_small_stays_as_it_was_read(folder):
    direct = list(recordings())
    found = store.collect(iter(direct), seen(), folder, 1000)
    assert all(one is other for one, other in zip(found, direct, strict=True))
    assert not folder.parent.exists()


def test_what_turns_out_large_is_kept_though_its_files_are_small(folder, monkeypatch):
    monkeypatch.setattr(store, "SMALL", 5000.0)  # one recording is 4000 bytes
    found = store.collect(recordings(), seen(), folder, 1000)
    assert [r.id for r in found] == [r.id for r in recordings()]
    assert all(_map_of(r.values) is not None for r in found)


@pytest.fixture
def quick_to_collect():
    """What was there before a test is not looked at whenever the test collects garbage."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_to_collect")
def test_no_more_than_two_recordings_are_held_while_a_store_is_written(folder):
    """The one that is written and the one that is read; cleaning copies neither."""
    made, most = [], []

    def counted():
        for number in range(6):
            values = np.full((2, 500), 80.0)
            made.append(weakref.ref(values))
            gc.collect()
            most.append(sum(reference() is not None for reference in made))
            yield replace(next(recordings(1)), id=str(number), values=values)

    plan = CleaningPlan((ChannelPlan("HR", "bpm", "HR"), ChannelPlan("SpO2", "%", "SpO2")), 1 / 60)
    store.collect(clean_each(counted(), plan, noted := CleaningLog()), noted, folder, 10**9)
    assert len(made) == 6
    assert max(most) <= 2


def test_too_large_for_float32_is_not_measured(folder):
    one = next(recordings(1))
    values = one.values.copy()
    values[0, 5] = 1e300
    (found,) = store.collect([replace(one, values=values)], seen(), folder, 10**9)
    assert np.isnan(found.values[0, 5])
    assert np.isfinite(found.values[0]).sum() == np.isfinite(values[0]).sum() - 1


@pytest.mark.parametrize(
    "harm", ["shorter", "longer", "no index", "torn index", "old", "no values"]
)
def test_a_torn_store_is_not_read_but_removed(kept, folder, harm):
    del kept
    values, index = folder / "values.f32", folder / "index.json"
    match harm:
        case "shorter":
            os.truncate(values, values.stat().st_size - 4)
        case "longer":
            os.truncate(values, values.stat().st_size + 4)
        case "no index":
            index.unlink()
        case "torn index":
            index.write_text(index.read_text()[:-20])
        case "old":
            index.write_text(json.dumps(json.loads(index.read_text()) | {"version": 0}))
        case "no values":
            values.unlink()
    assert store.opened(folder) is None
    assert not folder.exists()
    assert len(store.collect(recordings(), seen(), folder, 10**9)) == 3


def test_no_store_is_no_error(folder):
    assert store.opened(folder) is None


def test_a_reader_that_fails_half_way_leaves_nothing(folder):
    def failing():
        yield from recordings(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.collect(failing(), seen(), folder, 10**9)
    assert not list(folder.parent.iterdir())


def test_two_at_once_both_get_their_recordings(folder):
    """The second finishes while the first is still reading."""
    second = []

    def slow():
        yield from recordings(2)
        second.append(store.collect(recordings(), seen(), folder, 10**9))
        yield list(recordings())[2]

    first = store.collect(slow(), seen(), folder, 10**9)
    for one, other in zip(first, second[0], strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_full_disk_keeps_nothing_and_says_so(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    left = iter([2e9, 2e9, 1e9, 1e9])
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage(1e12, 1e12, next(left)))
    with pytest.raises(store.NotKept, match="the disk is full"):
        store.collect(recordings(), seen(), folder, 10**9)
    assert not list(folder.parent.iterdir())


def test_a_place_that_cannot_be_written_keeps_nothing_and_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(store.NotKept, match="cannot be kept in"):
        store.collect(recordings(), seen(), tmp_path / "file" / "key", 10**9)


def test_leftovers_and_what_nobody_opens_go_and_what_is_in_use_stays(kept, folder):
    del kept
    place, day = folder.parent, 86_400
    made = {".half": 2 * day, ".under-way": 60, "unused": 40 * day, "used": 40 * day}
    for name, age_s in made.items():
        shutil.copytree(folder, place / name)
        if name == "used":
            store.opened(place / name)
            continue
        for path in (*(place / name).iterdir(), place / name):
            os.utime(path, (time.time() - age_s,) * 2)
    store.collect(recordings(), seen(), place / "new", 10**9)
    assert {p.name for p in place.iterdir()} == {".under-way", "used", folder.name, "new"}


PLAN = CleaningPlan((ChannelPlan("HR", "bpm", "HR"),), 1.0, ranges={"HR": (10.0, 300.0)})


def test_the_key_changes_with_files_settings_and_rules_and_with_nothing_else(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    def key(settings="{}", plan=PLAN):
        return store.origin(settings, plan, tmp_path.rglob("*")).key

    def touched(path, ns):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + ns))

    first = key()
    assert key() == first
    assert key(plan=replace(PLAN)) == first
    found = [key('{"a": 1}'), key(plan=replace(PLAN, ranges={"HR": (10.0, 301.0)}))]
    found.append(key(plan=replace(PLAN, rate_hz=2.0)))
    touched(tmp_path / "a", 1)
    found.append(key())
    state = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("aa")
    os.utime(tmp_path / "a", ns=(0, state.st_mtime_ns))
    found.append(key())
    (tmp_path / "b").rename(tmp_path / "c")
    found.append(key())
    (tmp_path / "c").unlink()
    found.append(key())
    assert len({first, *found}) == 1 + len(found)


def test_bytes_of_files_are_counted_and_links_to_nothing_are_not(tmp_path):
    (tmp_path / "a").write_text("abc")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert store.origin("", PLAN, tmp_path.iterdir()).file_bytes == 3
