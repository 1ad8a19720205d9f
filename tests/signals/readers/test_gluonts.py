import gzip
import json

import numpy as np
import pytest

from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._rate import frequency
from tsfm_adapt.signals.readers.gluonts import Config, channel_entries, entries
from tsfm_adapt.signals.recording import Recording

ONE = {"start": "2014-01-01 00:00", "target": [1, 2.5, None, "NaN"], "item_id": "p1"}
TWO = {
    "start": "2896-10-10T00:31:25",
    "target": [4, 5, 6, 7],
    "item_id": 2,
    "feat_dynamic_real": [[0, 1, 0, 1, 0, 0]],
    "feat_static_real": [61.5],
    "feat_static_cat": [3],
}


def lines(*found):
    return "".join(json.dumps(entry) + "\n" for entry in found)


def read(root, wanted=(), **fields):
    fields = {"rate_hz": 1 / 3600, "unit": "bpm"} | fields
    return list(Config(root=str(root), **fields).read(wanted))


def recording(name="a", channels=2, samples=5, **fields):
    values = np.arange(channels * samples, dtype=float).reshape(channels, samples)
    values[0, 1] = np.nan
    return Recording(
        id=name,
        subject=f"{name}'s",
        values=values,
        channels=tuple(f"target_{i}" for i in range(channels)),
        units=("1",) * channels,
        **{"rate_hz": 1 / 60, "start": np.datetime64("2896-10-10T00:31:25", "s")} | fields,
    )


class TestGluontsContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        (tmp_path / "data.json").write_text(lines(ONE, TWO))
        (tmp_path / "metadata.json").write_text('{"freq": "H"}')
        return Config(root=str(tmp_path), unit="bpm")


def test_an_entry_is_a_recording(tmp_path):
    (tmp_path / "data.jsonl").write_text(lines(ONE, TWO))
    first, second = read(tmp_path)
    np.testing.assert_array_equal(first.values, [[1, 2.5, np.nan, np.nan]])
    assert (first.id, first.subject, first.channels) == ("p1", "p1", ("target",))
    assert first.start == np.datetime64("2014-01-01T00:00:00", "s")
    assert (second.id, second.rate_hz) == ("2", 1 / 3600)
    assert second.start == np.datetime64("2896-10-10T00:31:25", "s")
    assert second.attributes == {"feat_static_real_0": 61.5, "feat_static_cat_0": 3}


def test_features_are_channels_as_far_as_the_target_goes(tmp_path):
    (tmp_path / "a.json").write_text(lines(TWO))
    (found,) = read(tmp_path / "a.json")
    assert found.channels == ("target", "feat_dynamic_real_0")
    assert found.units == ("bpm", "1")
    np.testing.assert_array_equal(found.values, [[4, 5, 6, 7], [0, 1, 0, 1]])


def test_a_target_of_several_rows_has_names_and_units_from_the_recipe(tmp_path):
    (tmp_path / "a.json").write_text(lines(ONE | {"target": [[1, 2], [3, 4]]}))
    (plain,) = read(tmp_path)
    assert plain.channels == ("target_0", "target_1")
    (named,) = read(tmp_path, ("MAP",), channels=("HR", "MAP"), unit=("bpm", "mmHg"))
    assert (named.channels, named.units) == (("MAP",), ("mmHg",))
    assert named.values.tolist() == [[3, 4]]
    with pytest.raises(DataError, match="has 2, named are 1"):
        read(tmp_path, channels=("HR",))
    with pytest.raises(DataError, match=r"unit .* has 2 rows, stated are a, b, c"):
        read(tmp_path, unit=("a", "b", "c"))


def test_compressed_files_are_read_and_nameless_entries_are_numbered(tmp_path):
    nameless = {key: ONE[key] for key in ("start", "target")}
    with gzip.open(tmp_path / "data.json.gz", "wt") as file:
        file.write(lines(nameless, nameless))
    assert [r.id for r in read(tmp_path)] == ["data-000000", "data-000001"]


def test_the_subject_is_a_key_of_the_entry(tmp_path):
    (tmp_path / "a.json").write_text(lines(ONE | {"patient": 7}))
    assert read(tmp_path, subject="patient")[0].subject == "7"
    with pytest.raises(DataError, match=r"has no 'ward'\. Keys: start, target, item_id, patient"):
        read(tmp_path, subject="ward")


@pytest.mark.parametrize(
    ("freq", "rate_hz"),
    [("H", 1 / 3600), ("5min", 1 / 300), ("T", 1 / 60), ("8ms", 125), ("W-SUN", 1 / 604800)],
)
def test_the_rate_is_that_of_the_metadata(tmp_path, freq, rate_hz):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data.json").write_text(lines(ONE))
    (tmp_path / "metadata.json").write_text(json.dumps({"freq": freq}))
    (found,) = read(tmp_path, part="train", rate_hz=None)
    assert found.rate_hz == rate_hz
    assert read(tmp_path / "train", rate_hz=None)[0].rate_hz == rate_hz
    with pytest.raises(DataError, match=f"states freq '{freq}'.*Correct one of them"):
        read(tmp_path, part="train", rate_hz=7)


@pytest.mark.parametrize("freq", ["M", "B", "QE", "0min", "x", "", "-5min", "1e3s"])
def test_intervals_of_no_fixed_length_are_refused(tmp_path, freq):
    (tmp_path / "a.json").write_text(lines(ONE))
    (tmp_path / "metadata.json").write_text(json.dumps({"freq": freq}))
    with pytest.raises(DataError, match="gives no fixed rate"):
        read(tmp_path, rate_hz=None)


def test_a_dataset_without_a_rate_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(lines(ONE))
    with pytest.raises(DataError, match=r"has no metadata\.json with a 'freq'"):
        read(tmp_path, rate_hz=None)
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(DataError, match=r"metadata\.json must be JSON"):
        read(tmp_path, rate_hz=None)


def test_of_train_and_test_one_is_read(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "data.json").write_text(lines(ONE))
    assert len(read(tmp_path, part="test")) == 1
    with pytest.raises(DataError, match="holds train and test, and part is null"):
        read(tmp_path)
    with pytest.raises(DataError, match="holds neither train nor test, and part is train"):
        read(tmp_path / "train", part="train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.json is empty"),
        ("\n\n", r"a\.json is empty"),
        (lines(ONE) + lines(ONE)[:20], "line 2: .* Correct that line"),
        ("time,value\n0,1\n", "line 1: .* Correct that line"),
        ("[1, 2]\n", "entry 1, holds <class 'list'>"),
        (lines({"start": "2014-01-01", "values": [1]}), "entry 1, holds start, values"),
        (lines({"target": [1, 2]}), "A start is a time .* has ''"),
        (lines(ONE | {"start": "yesterday"}), "has 'yesterday'"),
        (lines(ONE | {"target": []}), "target of .* is not"),
        (lines(ONE | {"target": [[1, 2], [3]]}), "target of .* is not"),
        (lines(ONE | {"target": [1, "x"]}), "target of .* is not"),
        (lines(ONE | {"target": [1, "Infinity"]}), "target of .* is not"),
        (lines(ONE | {"target": [[[1]]]}), "target of .* is not"),
        (lines(ONE | {"target": 3}), "target of .* is not"),
        (lines(ONE | {"feat_dynamic_real": [[1]]}), "4 samples of the target and 1 of feat_dyn"),
        (lines(ONE, TWO, ONE), "item_id occurs once: 'p1' of .* entry 3"),
        ("[" * 10**5 + "\n", "line 1: .* Correct that line"),
        (b"\xff\xfe\x00\x01", "line 1: .* Correct that line"),
    ],
)
def test_a_broken_file_is_named_with_the_entry(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "a.json" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_broken_compressed_and_arrow_files_are_refused(tmp_path):
    whole = gzip.compress(lines(ONE, TWO).encode())
    for name, content in {
        "cut.json.gz": whole[:-20],
        "plain.json.gz": lines(ONE).encode(),
        "a.parquet": b"PAR1 and nothing else",
        "a.arrow": b"ARROW1 and nothing else",
        "b.arrow": b"text",
        "empty.parquet": b"",
        "empty.arrow": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_a_folder_without_entries_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"\.json, \.jsonl .* has none"):
        read(tmp_path)
    assert Config.guess(tmp_path) is None


ORIGINALS = [
    recording("a"),
    recording("b", samples=9),
    recording("c", channels=3, start=np.datetime64("2014-02-03T08:42:12", "s")),
]


def assert_equal(read_back, originals):
    for one, other in zip(read_back, originals, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.id, one.subject, one.start, one.rate_hz) == (
            other.id,
            other.subject,
            other.start,
            other.rate_hz,
        )
        assert (one.channels, one.units) == (other.channels, other.units)


@pytest.mark.parametrize("use_gzip", [True, False])
def test_recordings_that_gluonts_saves_are_read_back_unchanged(tmp_path, use_gzip):
    common = pytest.importorskip("gluonts.dataset.common", reason="gluonts is not installed")
    from gluonts.dataset.jsonl import JsonLinesWriter

    metadata = common.MetaData(freq=frequency(1 / 60))
    dataset = common.TrainDatasets(metadata, entries(ORIGINALS), entries(ORIGINALS[:1]))
    dataset.save(str(tmp_path / "saved"), JsonLinesWriter(use_gzip=use_gzip))
    config = Config(root=str(tmp_path / "saved"), part="train", unit="1", subject="subject")
    assert_equal(config.read(()), ORIGINALS)
    assert len(read(tmp_path / "saved", part="test", rate_hz=None)) == 1
    assert Config.guess(tmp_path / "saved") == config


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "stream.arrow"])
def test_arrow_and_parquet_files_that_gluonts_writes_are_read_back(tmp_path, name):
    arrow = pytest.importorskip("gluonts.dataset.arrow", reason="gluonts is not installed")
    first = ORIGINALS[2]  # GluonTS writes nanosecond time there
    originals = [first, recording("d", channels=3, start=first.start)]
    writer = (
        arrow.ParquetWriter()
        if name.endswith("parquet")
        else arrow.ArrowWriter(stream=name.startswith("stream"))
    )
    writer.write_to_file(entries(originals), tmp_path / name)
    found = read(tmp_path, rate_hz=1 / 60, unit="1", subject="subject")
    assert_equal(found, originals)
    guessed = Config.guess(tmp_path)
    assert guessed == Config(root=str(tmp_path), unit="1", rate_hz=1, subject="subject")
    assert [r.subject for r in guessed.read(())] == ["c's", "d's"]


def test_gluonts_reads_our_entries_with_its_own_dataset():
    common = pytest.importorskip("gluonts.dataset.common", reason="gluonts is not installed")
    dataset = common.ListDataset(entries(ORIGINALS), freq="60s", one_dim_target=False)
    for entry, original in zip(dataset, ORIGINALS, strict=True):
        np.testing.assert_allclose(entry["target"], original.values, rtol=1e-6)
        assert entry["start"].freqstr == "60s"
    single = common.ListDataset(channel_entries(ORIGINALS), freq="60s")
    assert [entry["item_id"] for entry in single][:3] == ["a/target_0", "a/target_1", "b/target_0"]
    np.testing.assert_allclose(single[1]["target"], ORIGINALS[0].values[1])


def test_entries_are_views_and_their_starts_those_of_the_recordings():
    (one,) = entries(ORIGINALS[:1])
    assert np.shares_memory(one["target"], ORIGINALS[0].values)
    assert str(one["start"]) == "2896-10-10 00:31:25"
    (coarse,) = entries(ORIGINALS[:1], "min")
    assert str(coarse["start"]) == "2896-10-10 00:31"
    (unknown,) = entries([recording(start=None)])
    assert str(unknown["start"]) == "1970-01-01 00:00:00"


def test_a_frequency_that_is_not_the_rate_is_refused():
    with pytest.raises(DataError, match=r"a has 0\.0166667 a second, 'h' means 0\.000277778"):
        entries(ORIGINALS, "h")
    with pytest.raises(DataError, match="starts from 1678 to 2261 only, a"):
        entries([recording(rate_hz=360.0)])


def test_a_saved_dataset_is_recognised(tmp_path):
    for part in ("train", "test"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / part / "data.json").write_text(lines(ONE))
    assert Config.guess(tmp_path / "set") == Config(
        root=str(tmp_path / "set"), part="train", unit="1", rate_hz=1
    )
    (tmp_path / "set" / "metadata.json").write_text('{"freq": "h"}')
    guessed = Config.guess(tmp_path / "set")
    assert guessed.rate_hz is None
    assert len(list(guessed.read(()))) == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "package.json").write_text('{"name": "x"}')
    (other / "a.parquet").write_bytes(b"")
    assert Config.guess(other) is None


def test_the_files_of_a_part_are_its_own_with_the_metadata(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "data.json").write_text(lines(ONE))
    (tmp_path / "metadata.json").write_text('{"freq": "h"}')
    expected = [tmp_path / "test" / "data.json", tmp_path / "metadata.json"]
    assert Config(root=str(tmp_path), part="test", unit="1").files() == expected
    assert Config(root=str(tmp_path / "test"), unit="1").files() == expected
