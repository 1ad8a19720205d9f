"""The laws that every reader obeys; inherit and supply `config`."""

import os
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tsfm_adapt.components import component, config_class
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import IrregularReadings, Recording


def same(first, second):
    """Whether two recordings, or two streams of events, hold the same."""
    assert type(first) is type(second)
    for name in first.__dataclass_fields__:
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, np.ndarray):
            if not np.array_equal(one, other, equal_nan=True):
                return False
        elif one != other:
            return False
    return True


def channel_of(item, name):
    """What was read of one channel: its samples, or the times and values of its events."""
    index = item.channels.index(name)
    if isinstance(item, Recording):
        return item.values[index]
    own = item.channel == index
    return np.stack([item.time_s[own], item.value[own]])


def stretches(items):
    """The parts of each stretch by its id; a recording that is a part of nothing is its own."""
    found = {}
    for item in items:
        found.setdefault(item.multirate_id or item.id, []).append(item)
    return found


_listening: list[list[Path]] = []


def _listen(event, arguments):
    if _listening and event == "open" and isinstance(arguments[0], str | os.PathLike):
        _listening[-1].append(Path(arguments[0]).absolute())


sys.addaudithook(_listen)  # there is no way to take it back


class ReaderContract:
    """A subclass is a test class for one reader; its `config` reads at least two records."""

    @pytest.fixture
    def config(self, tmp_path):
        raise NotImplementedError

    def test_the_config_is_found_by_its_name(self, config):
        assert config_class("reader", config.name) is type(config)
        assert component("reader", config.name).summary

    def test_reading_twice_gives_the_same(self, config):
        first, second = list(config.read(())), list(config.read(()))
        assert len(first) == len(second) >= 2
        assert all(same(one, other) for one, other in zip(first, second, strict=True))

    def test_ids_are_unique(self, config):
        ids = [item.id for item in config.read(())]
        assert len(set(ids)) == len(ids)

    def test_channels_asked_for_come_alone_in_that_order_and_unchanged(self, config):
        whole = stretches(config.read(()))
        names = sorted({n for parts in whole.values() for p in parts for n in p.channels})[::-1]
        for wanted in [(name,) for name in names] + [tuple(names)]:
            read = stretches(config.read(wanted))
            assert list(read) == list(whole)
            for id, parts in read.items():
                held = {name: part for part in whole[id] for name in part.channels}
                assert {n for p in parts for n in p.channels} == set(wanted) & set(held)
                for item in parts:
                    assert item.channels == tuple(n for n in wanted if n in item.channels)
                    for name in item.channels:
                        full = held[name]
                        np.testing.assert_array_equal(
                            channel_of(item, name), channel_of(full, name)
                        )
                        unit = full.units[full.channels.index(name)]
                        assert item.units[item.channels.index(name)] == unit

    def test_parts_of_a_stretch_follow_each_other_and_share_all_but_channels_and_clock(
        self, config
    ):
        items = list(config.read(()))
        met = [id for id, _ in groupby(items, lambda item: item.multirate_id or item.id)]
        assert len(set(met)) == len(met)
        for parts in stretches(items).values():
            names = [name for part in parts for name in part.channels]
            assert len(set(names)) == len(names)
            clocks = [p.rate_hz if isinstance(p, Recording) else None for p in parts]
            assert len(set(clocks)) == len(clocks)
            for name in ("subject", "start", "spans", "attributes", "labels", "multirate_id"):
                assert all(getattr(part, name) == getattr(parts[0], name) for part in parts)

    def test_a_channel_that_no_record_has_is_left_to_the_caller(self, config):
        assert all(item.channels == () for item in config.read(("no such channel",)))

    def test_values_are_finite_or_nan_and_events_in_order(self, config):
        for item in config.read(()):
            if isinstance(item, Recording):
                assert not np.isinf(item.values).any()
                assert item.values.shape == (len(item.channels), item.samples)
            else:
                assert np.isfinite(item.value).all()
                assert np.isfinite(item.time_s).all()
                assert (np.diff(item.time_s) >= 0).all()
                assert set(item.channel.tolist()) <= set(range(len(item.channels)))

    def test_every_channel_has_a_unit(self, config):
        for item in config.read(()):
            assert item.channels
            assert len(item.units) == len(item.channels)
            assert all(unit.strip() for unit in item.units)

    def test_the_start_is_in_whole_seconds_or_unknown(self, config):
        for item in config.read(()):
            assert isinstance(item, Recording | IrregularReadings)
            assert item.start is None or item.start.dtype == np.dtype("datetime64[s]")

    def test_an_unknown_field_is_refused(self, config):
        with pytest.raises(ValidationError, match="nonsense"):
            type(config)(**config.model_dump(), nonsense=1)

    def test_a_missing_root_is_named(self, config, tmp_path):
        absent = config.model_copy(update={"root": str(tmp_path / "absent")})
        with pytest.raises(DataError, match="absent"):
            list(absent.read(()))

    def test_every_file_that_it_opens_is_one_of_its_files(self, config, tmp_path):
        _listening.append([])
        try:
            list(config.read(()))
        finally:
            opened = {path for path in _listening.pop() if path.is_relative_to(tmp_path)}
        known = config.files()
        assert opened <= {Path(path).absolute() for path in known or ()}
        assert known is None or all(Path(path).is_file() for path in known)
