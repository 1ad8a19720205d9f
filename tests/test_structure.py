"""The house keeps its shape: rooms, sizes, and imports that go round in no circle.

What is measured and how is in `tools/measures.py`, which prints the same numbers.
"""

import ast
import re
from pathlib import Path

import pytest

import measures

CHECKOUT = Path(__file__).parents[1]

# What is above a limit still. To be emptied.
LONG_MODULES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()

# Source files without a test file of their own, and why; at most 10.
WITHOUT_TEST = {
    "adapters/_nets/affine.py": "holds tensors, computes nothing: tests/adapters/test_affine.py",
}


@pytest.fixture(scope="module")
def source():
    return measures.modules(CHECKOUT)


def module(name, text, folder=False):
    file = f"{name.replace('.', '/')}{'/__init__' if folder else ''}.py"
    return measures.Module(name, Path(file), text)


def above(sizes, limit):
    return {name for name, size in sizes.items() if size > limit}


def test_no_module_imports_itself_by_way_of_others(source):
    assert measures.cycles(measures.imports(source)) == []


def test_no_module_is_longer_than_400_lines_and_the_list_of_those_that_are_shrinks(source):
    long = above({name: module.lines for name, module in source.items()}, measures.MODULE_LINES)
    assert long - LONG_MODULES == set()
    assert LONG_MODULES - long == set(), "take them out of the list"


def test_no_function_is_longer_than_60_lines_and_the_list_of_those_that_are_shrinks(source):
    long = above(measures.functions(source), measures.FUNCTION_LINES)
    assert long - LONG_FUNCTIONS == set()
    assert LONG_FUNCTIONS - long == set(), "take them out of the list"


def test_few_modules_stand_outside_a_room_and_the_rooms_are_few():
    assert len(measures.flat_modules(CHECKOUT)) <= 9
    assert len(measures.rooms(CHECKOUT)) <= 18


def test_every_module_has_a_test_file_of_its_name_but_those_with_a_reason():
    missing = set(measures.without_test(CHECKOUT))
    assert missing - WITHOUT_TEST.keys() == set(), "room/x.py is tested in tests/room/test_x.py"
    assert WITHOUT_TEST.keys() - missing == set(), "take them out of WITHOUT_TEST"
    assert len(WITHOUT_TEST) <= 10


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("room/x.py", "room/test_x.py"),
        ("room/_x.py", "room/test_x.py"),
        ("room/_x.py", "room/test__x.py"),
        ("room/_nets/x.py", "room/_nets/test_x.py"),
        ("_room/_nets/x.py", "room/nets/test_x.py"),
    ],
)
def test_a_test_file_has_the_folder_and_the_name_of_its_module(tmp_path, module, test):
    source, folder = tmp_path / "src" / "tsfm_adapt" / module, tmp_path / "tests"
    for path in (source, source.parent / "__init__.py", folder / "test_x.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert measures.without_test(tmp_path) == [module]
    (folder / test).parent.mkdir(parents=True)
    (folder / test).touch()
    assert measures.without_test(tmp_path) == []


def test_every_kind_of_import_counts():
    package = {
        "tsfm_adapt": "",
        "tsfm_adapt.room": "from .a import x",
        "tsfm_adapt.room.a": "import os\ndef f():\n    from tsfm_adapt.room import b",
        "tsfm_adapt.room.b": "if TYPE_CHECKING:\n    from tsfm_adapt.room.c import C",
        "tsfm_adapt.room.c": "from . import a\nfrom .. import room",
    }
    folders = {"tsfm_adapt", "tsfm_adapt.room"}
    source = {name: module(name, text, name in folders) for name, text in package.items()}
    assert measures.imports(source) == {
        "tsfm_adapt": set(),
        "tsfm_adapt.room": {"tsfm_adapt.room.a"},
        "tsfm_adapt.room.a": {"tsfm_adapt.room.b"},
        "tsfm_adapt.room.b": {"tsfm_adapt.room.c"},
        "tsfm_adapt.room.c": {"tsfm_adapt.room.a", "tsfm_adapt.room"},
    }
    (circle,) = measures.cycles(measures.imports(source))
    assert circle == [f"tsfm_adapt.room{end}" for end in ("", ".a", ".b", ".c")]


def test_functions_are_counted_from_def_on_and_by_their_class():
    text = (
        "@cache\ndef f():\n    def g():\n        pass\n    return g\n\n"
        "class C:\n    def f(self): ...\n"
    )
    found = measures.functions({"m": module("m", text)})
    assert found == {"m:f": 4, "m:f.g": 2, "m:C.f": 1}


@pytest.mark.parametrize(
    ("annotation", "count"),
    [
        ("dict[str, Any]", 1),
        ("Mapping[str, object]", 1),
        ("list[dict[str, typing.Any]]", 1),
        ("dict[str, dict[str, Any]]", 1),
        ("tuple[dict[str, Any], dict[str, Any]]", 2),
        ("'collections.abc.Mapping[str, Any]'", 1),
        ("dict[str, Any | None]", 1),
        ("Tree", 1),
        ("list[Branch] | None", 1),
        ("Far", 1),
        ("dict[str, Json]", 1),
        ("Knot", 0),
        ("dict[str, int]", 0),
        ("list[Any]", 0),
        ("dict[str, list[Any]]", 0),
    ],
)
def test_a_mapping_of_anything_is_seen_behind_its_names(annotation, count):
    near = (
        "from tsfm_adapt.far import Tree as Far\n"
        "Json = Any\nTree = dict[str, Any]\nBranch = Tree\n"
        f"Knot = list[Knot]\nx: {annotation}\ndef f(a: {annotation}) -> {annotation}: ...\n"
    )
    source = {
        "tsfm_adapt.near": module("tsfm_adapt.near", near),
        "tsfm_adapt.far": module("tsfm_adapt.far", "Tree: TypeAlias = Mapping[str, object]"),
    }
    counted = measures.untyped_mappings(source)
    assert counted.get("tsfm_adapt.near", 0) == 3 * count


# Modules whose texts name options still. To be emptied.
NAMES_OPTIONS: set[str] = set()


def option_texts(tree):
    """Texts of a module that hold an option and no whole command, docstrings included.

    A list that begins with an interpreter is a command too.
    """
    commands = {id(node) for node in ast.walk(tree) if isinstance(node, ast.List)}
    texts = []

    def walk(node):
        if id(node) in commands and "sys.executable" in ast.unparse(node):
            return
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(p.value for p in node.values if isinstance(p, ast.Constant)))
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(tree)
    return [t for t in texts if re.search(r"(?<![\w-])--[a-z]", t) and "tsfm-adapt " not in t]


def test_only_the_command_line_names_its_options(source):
    """Errors of the library name paths and arguments; a whole command may be given to run next."""
    inside = {
        name: found
        for name, module in source.items()
        if not name.startswith("tsfm_adapt.cli") and (found := option_texts(module.tree))
    }
    assert {name: inside[name] for name in inside.keys() - NAMES_OPTIONS} == {}
    assert inside.keys() >= NAMES_OPTIONS, "take the others out of NAMES_OPTIONS"


def test_an_option_is_seen_in_texts_and_in_the_pieces_of_one():
    tree = ast.parse(
        "def f(x):\n    '''Use --to.'''\n    raise E(f'{x}: --set {x} is wrong')\n"
        "y = 'Run: tsfm-adapt tune --resume X'\nz = [sys.executable, '--worker']\nw = 'a--b'\n"
    )
    assert option_texts(tree) == ["Use --to.", ": --set  is wrong"]
