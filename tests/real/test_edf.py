"""Real EDF files, as they are and through the command line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.readers.edf import Config
from tsfm_adapt.signals.recording import Span

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
SLEEP, EEG = DATA / "sleep_edf_short", DATA / "eegmmidb_s001r02"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the development recordings are not beside this checkout"
)
edfio = pytest.importorskip("edfio", reason="the extra 'edf' is not installed")


def test_seven_channels_of_two_rates_and_the_hypnogram_beside_them():
    slow, fast = Config(root=str(SLEEP), annotations={}).read(())
    assert (fast.channels, fast.rate_hz, fast.samples) == (
        ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal"),
        100.0,
        30000,
    )
    assert (slow.rate_hz, slow.samples) == (1.0, 300)
    assert dict(zip(slow.channels, slow.units, strict=True)) == {
        "Resp oro-nasal": "",
        "EMG submental": "uV",
        "Temp rectal": "DegC",
        "Event marker": "",
    }
    for recording in (slow, fast):
        assert recording.multirate_id == recording.subject == "short_psg"
        assert recording.start == np.datetime64("1989-04-24T16:13:00", "s")
        assert recording.attributes == {"sex": "F"}
        assert recording.spans == (Span(0.0, 300.0, "Sleep stage W"),)
    temperature = slow.values[slow.channels.index("Temp rectal")]
    assert ((temperature > 36) & (temperature < 38.5)).all()


def test_names_lose_their_dots_and_closed_eyes_show_alpha_at_the_back():
    (recording,) = Config(root=str(EEG)).read(())
    assert len(recording.channels) == 64
    assert not any("." in name for name in recording.channels)
    assert (recording.rate_hz, recording.samples) == (160.0, 61 * 160)
    assert set(recording.units) == {"uV"}
    assert [span.label for span in recording.spans] == ["T0"]
    power = np.abs(np.fft.rfft(recording.values - recording.values.mean(1, keepdims=True))) ** 2
    hertz = np.fft.rfftfreq(recording.samples, 1 / 160)
    share = power[:, (hertz >= 8) & (hertz < 12)].sum(1) / power[:, hertz >= 1].sum(1)
    alpha = dict(zip(recording.channels, share, strict=True))
    assert min(alpha[name] for name in ("O1", "Oz", "O2")) > 2 * alpha["Fpz"]


@pytest.mark.parametrize("path", [SLEEP / "short_psg.edf", EEG / "S001R02.edf"])
def test_every_sample_equals_that_of_the_edfio_package(path):
    signals = {s.label.rstrip("."): s for s in edfio.read_edf(path).signals}
    seen = 0
    for recording in Config(root=str(path)).read(()):
        for name, unit, values in zip(
            recording.channels, recording.units, recording.values, strict=True
        ):
            np.testing.assert_array_equal(values, signals[name].data)
            assert unit == signals[name].physical_dimension
            assert recording.rate_hz == signals[name].sampling_frequency
            seen += 1
    assert seen == len(signals)


def test_brain_and_temperature_share_one_clock():
    channels = (
        ChannelPlan("eeg", "uV", "EEG Fpz-Cz"),
        ChannelPlan("temperature", "degC", "Temp rectal"),
    )
    names = tuple(channel.source for channel in channels)
    read = list(Config(root=str(SLEEP)).read(names))
    (whole,) = clean(read, CleaningPlan(channels, 100.0))
    assert np.isfinite(whole.values).mean(1).tolist() == [1.0, 0.01]
    (minutes,) = clean(read, CleaningPlan(channels, 1 / 60))
    assert minutes.samples == 5
    np.testing.assert_array_equal(
        minutes.values[1], np.median(read[0].values[0].reshape(5, 60), axis=1)
    )


def test_a_truncated_real_file_is_refused(tmp_path):
    path = tmp_path / "S001R02.edf"
    shutil.copyfile(EEG / "S001R02.edf", path)
    path.write_bytes(path.read_bytes()[:700_000])
    with pytest.raises(Exception, match=r"S001R02\.edf has 700000 bytes, 61 records"):
        list(Config(root=str(path)).read(()))


@pytest.mark.parametrize(
    ("reader", "channels", "rate_hz", "plan"),
    [
        (
            {"name": "edf", "root": "sleep_edf_short", "annotations": {}},
            {
                "EEG Fpz-Cz": "uV",
                "Temp": {"unit": "degC", "source": "Temp rectal"},
            },
            10,
            [
                ("EEG Fpz-Cz", 100, "median of 10 samples"),
                ("Temp", 1, "sparse: a value in 1 of 10"),
            ],
        ),
        (
            {"name": "edf", "root": "eegmmidb_s001r02"},
            {"Oz": "uV", "Fpz": "uV"},
            160,
            [("Oz", 160, "as is"), ("Fpz", 160, "as is")],
        ),
    ],
)
def test_a_recipe_over_it_is_checked_and_trains(
    tmp_path, monkeypatch, capsys, reader, channels, rate_hz, plan
):
    from tsfm_adapt.cli import main

    recipe = {
        "name": "real-edf",
        "data": {
            "reader": reader,
            "channels": channels,
            "rate_hz": rate_hz,
            "split": {"by": "time", "train": 0.6, "val": 0.2, "test": 0.2},
        },
        "backbone": {"name": "chronos_bolt", "checkpoint": "embedded"},
        "adapters": [{"name": "lora", "rank": 2}],
        "task": {"name": "forecast", "context_s": 64 / rate_hz, "horizon_s": 16 / rate_hz},
        "train": {"steps": 2, "batch_size": 2},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(DATA.resolve()))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tsfm-adapt", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert stop.value.code in (0, None), captured.err
        return captured.out

    found = json.loads(run("check", "recipe.yaml", "--json"))["channels"]
    assert [(c["name"], c["found_hz"]) for c in found] == [(name, hz) for name, hz, _ in plan]
    assert all(c["how"].startswith(how) for c, (_, _, how) in zip(found, plan, strict=True))
    run("train", "recipe.yaml", "--smoke", "--quiet")
    scores = next((tmp_path / "runs").rglob("scores.json"))
    assert np.isfinite(json.loads(scores.read_text())["models"]["adapted"]["overall"]["mase"])
