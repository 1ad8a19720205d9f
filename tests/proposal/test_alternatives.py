import numpy as np

from tsfm_adapt.proposal.alternatives import alternatives, remark
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import Recording


def test_names_that_begin_alike_and_never_meet_are_alternatives():
    seen = {"EEG FP1-REF": {"a", "b"}, "EEG FP1-LE": {"c"}, "EEG C3-REF": {"a"}, "HR": {"c"}}
    assert alternatives(seen) == (("EEG FP1-REF", "EEG FP1-LE"),)
    assert alternatives(seen | {"EEG FP1-AR": {"d"}}) == (
        ("EEG FP1-REF", "EEG FP1-LE", "EEG FP1-AR"),
    )


def test_names_that_meet_once_are_channels_of_their_own():
    assert alternatives({"F3-C3": {"a", "b"}, "F3-M2": {"b", "c"}}) == ()
    assert alternatives({"HR": {"a"}, "SpO2": {"b"}, "-": {"c"}}) == ()


def test_the_remark_says_how_a_recipe_takes_them_for_one():
    assert remark(()) is None
    assert "source: [A-R, A-L]" in remark((("A-R", "A-L"), ("B-R", "B-L")))
    assert "(and 1 more such groups)" in remark((("A-R", "A-L"), ("B-R", "B-L")))


class Montages(ReaderConfig):
    """Two recordings of one electrode by two names."""

    name: str = "montages"

    def read(self, channels):
        for id, channel in (("a", "FP1-REF"), ("b", "FP1-LE")):
            yield Recording(id, id, np.arange(300.0)[None], (channel,), ("uV",), 10.0)


def test_a_survey_sees_them():
    assert look(Montages()).alternatives == (("FP1-REF", "FP1-LE"),)
