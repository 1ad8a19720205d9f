"""The wheel: what it holds, and that it works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import tsfm_adapt

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("hatchling") is None, reason="needs the extra dev: pip install 'tsfm-adapt[dev]'"
    ),
]

NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
HIDDEN = ("PYTHONPATH", "TSFM_ADAPT_DATA", "TSFM_ADAPT_CACHE")


def called(words, folder):
    """What a command prints where nothing of the checkout or the network is within reach."""
    env = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=env | NOWHERE | {"HF_HUB_OFFLINE": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    called([*pip, "--wheel-dir", folder, ROOT], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The commands of an environment with this wheel and the dependencies of the one that tests.

    Those are appended to its path, so that nothing is installed twice; the checkout, which an
    editable installation points to from there, is not followed.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    own = folder / "lib" / version / "site-packages"
    others = [sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("-packages"))]
    (own / "dependencies.pth").write_text("\n".join(dict.fromkeys(others)) + "\n")
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall"]
    called([folder / "bin/python", *install, wheel], folder)
    return folder / "bin"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    on_disk = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "tsfm_adapt").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == on_disk
    for needed in ("py.typed", "comparison/templates/report.html", "runs/__init__.py"):
        assert f"tsfm_adapt/{needed}" in held
    weights = [name for name in held if name.endswith(".safetensors")]
    assert len(weights) == 9  # the embedded checkpoints
    assert wheel.name.startswith(f"tsfm_adapt-{tsfm_adapt.__version__}-")


def test_it_lists_trains_and_loads_from_an_empty_folder(environment, tmp_path):
    shutil.copy(ROOT / "recipes/vitals_forecast.yaml", tmp_path / "recipe.yaml")
    tool = environment / "tsfm-adapt"
    assert "chronos2" in called([tool, "list", "backbones"], tmp_path)
    called([tool, "train", "recipe.yaml", "--smoke"], tmp_path)
    (run,) = (tmp_path / "runs").glob("*/*")
    code = (
        "import sys; from pathlib import Path; import tsfm_adapt; "
        "from tsfm_adapt.runs import load; model, recipe = load(Path(sys.argv[1])); "
        "print(tsfm_adapt.__version__, tsfm_adapt.__file__, recipe.name)"
    )
    version, file, name = called([environment / "python", "-c", code, run], tmp_path).split()
    assert version == tsfm_adapt.__version__
    assert Path(file).is_relative_to(environment.parent)
    assert name == "vitals-forecast"
