import io

import pytest

from tsfm_adapt._util import progress as module
from tsfm_adapt._util.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now_s = 100.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now_s)
    return Clock


def run(clock, seconds_per_step, total, done=0, interval_s=10.0):
    stream = io.StringIO()
    with Progress(stream, interval_s=interval_s).work("train", total, done) as meter:
        for _ in range(done, total):
            clock.now_s += seconds_per_step
            meter.advance(1, f"at {clock.now_s:.0f} s")
    return stream.getvalue().splitlines()


def test_plain_lines_come_every_ten_seconds_and_at_the_end(clock):
    assert run(clock, 4.0, 6) == [
        "train: 3/6, 12 s left, at 112 s",
        "train: 6/6, 24 s, at 124 s",
    ]


def test_quick_work_says_one_line(clock):
    assert run(clock, 0.01, 500) == ["train: 500/500, 5 s, at 105 s"]


def test_the_time_left_counts_only_what_was_done_since_resuming(clock):
    """900 of 1000 were done before; 20 took 20 s, so 80 are left."""
    first = run(clock, 1.0, 1000, done=900, interval_s=20.0)[0]
    assert first == "train: 920/1000, 80 s left, at 120 s"


def test_several_units_at_once_count_as_many(clock):
    stream = io.StringIO()
    with Progress(stream).work("score", 100) as meter:
        clock.now_s += 30
        meter.advance(60)
        meter.advance(40)
    assert stream.getvalue().splitlines() == [
        "score: 60/100, 20 s left",
        "score: 100/100, 30 s",
    ]


def test_a_terminal_gets_a_bar_with_count_and_note():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(stream).work("train", 8, done=3) as meter:
        meter.advance(1, "loss 1.25")
        meter.advance(4)
    shown = stream.getvalue()
    assert all(text in shown for text in ("train", "8/8", "loss 1.25"))


def test_quiet_says_nothing_and_still_counts():
    stream = io.StringIO()
    quiet = Progress(stream, quiet=True)
    quiet.say("hello")
    with quiet.step("read"), quiet.work("train", 2) as meter:
        meter.advance(2, "note")
    assert stream.getvalue() == ""


def test_standard_output_is_left_to_results(capsys):
    with Progress().step("read"), Progress().work("train", 1) as meter:
        meter.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert "train: 1/1" in err


def test_a_short_piece_of_work_says_how_long_it_took(clock):
    stream = io.StringIO()
    with Progress(stream).step("reading recordings"):
        clock.now_s += 2.34
    assert stream.getvalue() == "reading recordings: 2.3 s\n"


def test_an_error_passes_through():
    for progress in (Progress(io.StringIO()), Progress(quiet=True)):
        with pytest.raises(KeyError), progress.work("train", 3):
            raise KeyError
