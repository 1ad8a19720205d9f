import subprocess
import sys

import pytest

from tsfm_adapt import components
from tsfm_adapt.errors import EnvironmentProblem, RecipeError


def test_the_files_of_a_folder_are_its_components():
    assert "chronos2" in components.names("backbone")
    assert {"full", "lora"} <= set(components.names("adapter"))
    for kind in components.PACKAGES:
        found = components.names(kind)
        assert list(found) == sorted(found)
        assert not {"base", "__init__", "_through"} & set(found)


@pytest.mark.parametrize("kind", components.PACKAGES)
def test_every_component_has_a_summary_and_a_config_of_its_own_name(kind):
    for name in components.names(kind):
        found = components.component(kind, name)
        assert found.summary, name
        assert not found.summary.endswith(".")
        assert components.config_class(kind, name).model_fields["name"].default == name
        assert bool(found.requires) == bool(found.extra), name


def test_an_unknown_name_is_refused_with_the_closest_and_all_known():
    with pytest.raises(RecipeError, match=r"no adapter named 'lroa'.*'lora'\? Known: .*full"):
        components.component("adapter", "lroa")


@pytest.mark.parametrize("name", ["base", "__init__", "../errors"])
def test_files_that_are_no_components_cannot_be_named(name):
    with pytest.raises(RecipeError, match="there is no adapter named"):
        components.config_class("adapter", name)


def test_a_component_is_described_without_being_run(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text(
        '"""Reads what nobody reads.\n\nAt length."""\n'
        'REQUIRES = ("json", "no_such_package_a", "no_such_package_b")\n'
        'EXTRA = "rare"\n'
        'raise RuntimeError("never imported")\n'
    )
    monkeypatch.setattr(components, "_folder", lambda kind: tmp_path)
    found = components.component("reader", "needy")
    assert found.summary == "Reads what nobody reads"
    assert found.missing == ("no_such_package_a", "no_such_package_b")
    with pytest.raises(EnvironmentProblem, match=r"reader 'needy' needs no_such_package_a, no_su"):
        components.require("reader", "needy")
    assert found.problem.endswith("pip install 'tsfm-adapt[rare]'")


def test_a_component_without_extras_is_ready():
    assert components.component("adapter", "lora").problem is None
    components.require("adapter", "lora")


def test_settings_of_backbones_and_adapters_are_read_without_torch():
    code = (
        "import sys\n"
        "from tsfm_adapt.components import config_class, names\n"
        "for kind in ('backbone', 'adapter'):\n"
        "    for name in names(kind):\n"
        "        config_class(kind, name)\n"
        "print(sorted({'torch', 'transformers', 'peft', 'chronos'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_constants_are_read_with_and_without_a_type_and_the_file_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "rich.py").write_text(
        "LICENCES: Mapping[str, str] = {'a/b': 'mit'}\nSIZE = 3\nOTHER = compute()\n"
        "DECLARED: int\n"
    )
    monkeypatch.setattr(components, "_folder", lambda kind: tmp_path)
    assert components.constants("adapter", "rich", "SIZE", "LICENCES", "DECLARED", "ABSENT") == {
        "SIZE": 3,
        "LICENCES": {"a/b": "mit"},
    }
