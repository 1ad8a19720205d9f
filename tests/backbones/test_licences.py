"""Which weights may not be used commercially: every published id that a backbone knows."""

import importlib
from pathlib import Path

import pytest

from tsfm_adapt.backbones.base import licence, non_commercial
from tsfm_adapt.components import built_in

PUBLISHED = {
    checkpoint: (name, module.LICENCES)
    for name in built_in("backbone")
    for module in [importlib.import_module(f"tsfm_adapt.backbones.{name}")]
    for checkpoint in module.LICENCES
    if checkpoint != "embedded"
}


@pytest.mark.parametrize("checkpoint", PUBLISHED)
def test_the_weights_of_salesforce_and_of_timesfm_3_are_not_for_commercial_use(checkpoint):
    name, licences = PUBLISHED[checkpoint]
    found = licence(checkpoint, licences)
    assert non_commercial(found) == (name in ("moirai", "moirai2", "timesfm3"))
    assert licence(checkpoint.upper(), licences) == found  # the Hub does not mind either


@pytest.mark.parametrize("name", built_in("backbone"))
def test_ours_are(name):
    licences = importlib.import_module(f"tsfm_adapt.backbones.{name}").LICENCES
    for checkpoint in ("embedded", "tiny"):
        assert licence(checkpoint, licences) == "apache-2.0"


@pytest.mark.parametrize(
    ("card", "said", "forbidden"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# M\n", "cc-by-nc-4.0", True),
        ("---\ntags: [x]\nlicense: mit\n---\n", "mit", False),
        (
            "---\nlicense: other\nlicense_name: acme-non-commercial-1.0\n---\n",
            "acme-non-commercial-1.0",
            True,
        ),
        ("---\nlicense: other\n---\n", "unknown", False),
        ("# M\n\nlicense: mit\n", "unknown", False),
        ("", "unknown", False),
        (None, "unknown", False),
    ],
)
def test_a_folder_has_the_licence_that_its_card_says(tmp_path: Path, card, said, forbidden):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    file = tmp_path / "lag-llama.ckpt"
    file.touch()
    for checkpoint in (tmp_path, file):
        found = licence(str(checkpoint), {"amazon/chronos-2": "apache-2.0"})
        assert found == said
        assert non_commercial(found) is forbidden


@pytest.mark.parametrize(
    "free", ["apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "bsd-3-clause"]
)
def test_free_licences_are_free(free):
    assert not non_commercial(free)
