import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.installed import describe
from tsfm_adapt import components
from tsfm_adapt.errors import EnvironmentProblem, RecipeError

ROOT = Path(__file__).parents[1]


def test_the_files_of_a_folder_are_its_components():
    assert "chronos2" in components.names("backbone")
    assert {"full", "lora"} <= set(components.names("adapter"))
    for kind in components.PACKAGES:
        found = components.built_in(kind)
        assert list(found) == sorted(found)
        assert not {"base", "__init__", "_through"} & set(found)


@pytest.mark.parametrize("kind", components.PACKAGES)
def test_every_component_has_a_summary_and_a_config_of_its_own_name(kind):
    for name in components.built_in(kind):
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


GOOD = '''"""{summary}."""
from typing import Literal

from tsfm_adapt.adapters.base import Adapter, AdapterConfig


class Config(AdapterConfig):
    name: Literal["{name}"] = "{name}"
    strength: int = 3

    def build(self) -> Adapter:
        raise NotImplementedError
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with adapters on the path: a function of its name and modules by entry."""
    monkeypatch.syspath_prepend(tmp_path)
    components.forget()

    def put(package, **modules):
        module = package.replace("-", "_")
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text("raise SystemExit('imported in vain')\n")
        entries = {}
        for name, text in modules.items():
            (tmp_path / module / f"{name}.py").write_text(text)
            entries[name] = f"{module}.{name}"
        describe(tmp_path, package, {"tsfm_adapt.adapters": entries})
        components.forget()

    yield put
    components.forget()
    for name in [n for n in sys.modules if n.partition(".")[0] in ("good_one", "bad_one")]:
        del sys.modules[name]


def importable(tmp_path, module):
    (tmp_path / module / "__init__.py").write_text("")


def test_a_component_of_an_installed_package_is_found_with_its_package(install, tmp_path):
    install("good-one", stronger=GOOD.format(summary="Makes all stronger", name="stronger"))
    importable(tmp_path, "good_one")
    found = components.component("adapter", "stronger")
    assert (found.package, found.summary) == ("good-one", "Makes all stronger")
    assert found.problem is None
    assert "stronger" in components.names("adapter")
    assert "stronger" not in components.built_in("adapter")
    assert components.config_class("adapter", "stronger")().strength == 3
    assert "stronger" in components.configs("adapter")


def test_what_a_package_says_of_a_component_is_read_without_importing_it(install):
    text = 'REQUIRES = ("json", "no_such_package_a")\nEXTRA = "rare"\nSIZE = 3\nOTHER = some()\n'
    install("good-one", rich=f'"""Is rich."""\n{text}')
    found = components.component("adapter", "rich")
    assert found.summary == "Is rich"
    assert found.problem == "needs no_such_package_a: pip install 'good-one[rare]'"
    assert components.constants("adapter", "rich", "SIZE", "OTHER") == {"SIZE": 3}
    assert not {"good_one", "good_one.rich"} & set(sys.modules)


BROKEN = {
    "raises": ('raise ValueError("no licence\\nfile")', r"raises: ValueError: no licence\)"),
    "ends": ("raise SystemExit", r"SystemExit: without a message"),
    "syntax": ("def f(:", r"SyntaxError: invalid syntax"),
    "lacks": ("import no_such_package_c", r"No module named 'no_such_package_c'"),
    "empty": ("", r"AttributeError: .* has no attribute 'Config'"),
    "foreign": ("class Config: pass", r"Config is no AdapterConfig"),
    "renamed": (GOOD.format(summary="S", name="other"), r"Literal\['renamed'\], found"),
    "free": (GOOD.format(summary="S", name="free").replace('Literal["free"]', "str"), "Literal"),
    "unshown": (
        GOOD.format(summary="S", name="unshown").replace(
            "int = 3", "__import__('typing').Callable[[], int] = int"
        ),
        r"PydanticInvalidForJsonSchema",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_component_that_cannot_be_imported_says_why_in_a_line_and_breaks_no_other(
    name, install, tmp_path
):
    text, reason = BROKEN[name]
    install("bad-one", **{name: text})
    importable(tmp_path, "bad_one")
    problem = components.component("adapter", name).problem
    assert re.search(reason, problem), problem
    assert "\n" not in problem
    assert problem.endswith("update or uninstall bad-one")
    with pytest.raises(EnvironmentProblem, match=f"adapter '{name}' of bad-one cannot be used"):
        components.config_class("adapter", name)
    assert set(components.configs("adapter")) == {*components.names("adapter")} - {name}


def test_an_entry_that_names_an_object_or_nothing_is_broken_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    entries = {"an_object": "json:loads", "nowhere": "no_such_package_d.deep.module"}
    describe(tmp_path, "bad-two", {"tsfm_adapt.readers": entries})
    components.forget()
    try:
        assert "ModuleNotFoundError" in components.component("reader", "nowhere").problem
        assert "AttributeError" in components.component("reader", "an_object").problem
        assert set(components.configs("reader")) == {*components.names("reader")} - {*entries}
    finally:
        components.forget()


def test_a_name_that_two_packages_claim_is_refused_with_both(install):
    install("good-one", lora=GOOD.format(summary="Another", name="lora"))
    for ask in (components.require, components.config_class):
        with pytest.raises(
            EnvironmentProblem, match="'lora' is claimed by tsfm-adapt and by good"
        ):
            ask("adapter", "lora")
    assert "lora" not in components.configs("adapter")
    assert components.component("adapter", "lora").problem.endswith("uninstall good-one")
    components.config_class("adapter", "full")


def test_recipes_that_do_not_use_what_is_broken_load_and_others_say_why(install, tmp_path):
    install("bad-one", torn="raise ValueError('torn apart')")
    importable(tmp_path, "bad_one")
    line = [sys.executable, "-m", "tsfm_adapt"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def run(*words):
        return subprocess.run(
            [*line, *words], capture_output=True, text=True, env=environment, cwd=ROOT
        )

    recipe = "recipes/vitals_forecast.yaml"
    assert run("check", "--schema-only", recipe).returncode == 0
    refused = run("check", "--schema-only", recipe, "--set", "adapters=[{name: torn}]")
    assert refused.returncode == 4
    assert "adapters.0.name: adapter 'torn' of bad-one cannot be used" in refused.stderr
    assert "torn apart" in refused.stderr
    assert "Traceback" not in refused.stderr
    listed = run("list", "adapters")
    assert listed.returncode == 0
    assert "NOT READY: of bad-one cannot be used (bad_one.torn: ValueError" in " ".join(
        listed.stdout.split()
    )
