"""Measures of the source tree, from its syntax trees: sizes, rooms, circles, untyped mappings.

`python tools/measures.py [CHECKOUT] [--since COMMIT]` prints them as a table. Nothing is imported
from the checkout, so that any version of it can be measured. `tests/test_structure.py` holds the
limits.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "tsfm_adapt"

MODULE_LINES, FUNCTION_LINES, SUBJECT_LENGTH = 400, 60, 72

_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict"}
_ANYTHING = {"Any", "object"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str  # dotted
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())

    @property
    def package(self) -> str:
        """What its relative imports begin from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def modules(checkout: Path) -> dict[str, Module]:
    """The source files of a checkout by dotted name; a package goes by the name of its folder."""
    root = checkout / "src"
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        dotted = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        found[dotted] = Module(dotted, path, path.read_text(encoding="utf-8"))
    return found


def imports(source: Mapping[str, Module]) -> dict[str, set[str]]:
    """What each module imports of the others: at its top, in functions, under TYPE_CHECKING.

    `from package import name` counts as the module `name` where there is one, else as the package.
    """
    return {
        name: {target for target in _imported(module, source) if target != name}
        for name, module in source.items()
    }


def _imported(module: Module, source: Mapping[str, Module]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in source)
        elif isinstance(node, ast.ImportFrom):
            above = _origin(node, module)
            for alias in node.names:
                full = f"{above}.{alias.name}"
                if full in source:
                    yield full
                elif above in source:
                    yield above


def _origin(node: ast.ImportFrom, module: Module) -> str:
    """The dotted name after `from`, dots resolved."""
    if node.level == 0:
        return node.module or ""
    steps = module.package.split(".")
    above = ".".join(steps[: len(steps) - node.level + 1])
    return f"{above}.{node.module}" if node.module else above


def cycles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules that import each other, each sorted (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return sorted(found)


def functions(source: Mapping[str, Module]) -> dict[str, int]:
    """Lines of each function, from `def` on, by `module:Class.name`."""
    found: dict[str, int] = {}

    def walk(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = where
            if isinstance(child, Function | ast.ClassDef):
                inner = f"{where}.{child.name}" if not where.endswith(":") else where + child.name
            if isinstance(child, Function):
                found[inner] = (child.end_lineno or child.lineno) - child.lineno + 1
            walk(child, inner)

    for name, module in source.items():
        walk(module.tree, f"{name}:")
    return found


def untyped_mappings(source: Mapping[str, Module]) -> dict[str, int]:
    """How many annotations of each module hold a mapping whose values are `Any` or `object`.

    Names that stand for such a type, in their own module or imported, count where they are used.
    """
    aliases = {name: _aliases(module) for name, module in source.items()}
    counted = {
        name: sum(
            _untyped(annotation, name, aliases, frozenset())
            for annotation in _annotations(module.tree)
        )
        for name, module in source.items()
    }
    return {name: count for name, count in counted.items() if count}


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            annotation = node.returns
        else:
            annotation = node.annotation if isinstance(node, ast.AnnAssign | ast.arg) else None
        if annotation is not None:
            yield annotation


def _aliases(module: Module) -> dict[str, ast.expr | tuple[str, str]]:
    """The names of a module that may stand for types: an expression, or (module, name)."""
    found: dict[str, ast.expr | tuple[str, str]] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            above = _origin(node, module)
            if above.startswith(PACKAGE):
                found |= {alias.asname or alias.name: (above, alias.name) for alias in node.names}
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement.value
        elif (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value is not None
            and "TypeAlias" in ast.unparse(statement.annotation)
        ):
            found[statement.target.id] = statement.value
    return found


_Aliases = Mapping[str, Mapping[str, ast.expr | tuple[str, str]]]


def _untyped(
    node: ast.AST, module: str, aliases: _Aliases, seen: frozenset[tuple[str, str]]
) -> int:
    """How many mappings of anything lie in an expression of a type."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return _untyped(ast.parse(node.value, mode="eval").body, module, aliases, seen)
        except SyntaxError:
            return 0
    if isinstance(node, ast.Name):
        stands = _stands_for(node.id, module, aliases, seen)
        return 0 if stands is None else _untyped(stands[0], stands[1], aliases, stands[2])
    if isinstance(node, ast.Subscript) and _last(node.value) in _MAPPINGS:
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if _anything(inside[-1], module, aliases, seen):
            return 1
    return sum(_untyped(child, module, aliases, seen) for child in ast.iter_child_nodes(node))


def _anything(
    node: ast.expr, module: str, aliases: _Aliases, seen: frozenset[tuple[str, str]]
) -> bool:
    """True for Any and object, alone, in a union, or behind another name."""
    if _last(node) in _ANYTHING:
        return True
    if isinstance(node, ast.BinOp):
        sides = (node.left, node.right)
        return any(_anything(side, module, aliases, seen) for side in sides)
    if isinstance(node, ast.Name):
        stands = _stands_for(node.id, module, aliases, seen)
        return stands is not None and _anything(stands[0], stands[1], aliases, stands[2])
    return False


def _stands_for(
    name: str, module: str, aliases: _Aliases, seen: frozenset[tuple[str, str]]
) -> tuple[ast.expr, str, frozenset[tuple[str, str]]] | None:
    """The expression that a name stands for, its module, and the names on the way there."""
    while (module, name) not in seen:
        seen |= {(module, name)}
        meaning = aliases.get(module, {}).get(name)
        if meaning is None or isinstance(meaning, ast.expr):
            return None if meaning is None else (meaning, module, seen)
        module, name = meaning
    return None


def _last(node: ast.expr) -> str:
    """`Mapping` of `Mapping`, `abc.Mapping` and `collections.abc.Mapping`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def flat_modules(checkout: Path) -> list[str]:
    """The modules that stand in no room."""
    folder = checkout / "src" / PACKAGE
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("__"))


def rooms(checkout: Path) -> list[str]:
    """The packages at the top."""
    folder = checkout / "src" / PACKAGE
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and any(p.glob("*.py")))


def without_test(checkout: Path) -> list[str]:
    """Source files that no `tests/room/test_name.py` mirrors; leading underscores may go."""
    root = checkout / "src" / PACKAGE
    missing = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if path.stem.startswith("__"):
            continue
        tests = checkout / "tests"
        folders = {inside.parent, Path(*(part.lstrip("_") for part in inside.parent.parts))}
        stems = {path.stem, path.stem.lstrip("_")}
        if not any((tests / f / f"test_{s}.py").exists() for f in folders for s in stems):
            missing.append(inside.as_posix())
    return missing


def long_subjects(checkout: Path, since: str | None) -> list[str]:
    """Subjects of commits of more than 72 characters: all, or those after a commit."""
    span = "HEAD" if since is None else f"{since}..HEAD"
    command = ["git", "-C", str(checkout), "log", "--format=%s", span]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return [line for line in done.stdout.splitlines() if len(line) > SUBJECT_LENGTH]


def table(checkout: Path, since: str | None) -> list[tuple[str, str]]:
    """The measures of a checkout: what, and the value."""
    source = modules(checkout)
    long = {name: m.lines for name, m in source.items() if m.lines > MODULE_LINES}
    sizes = functions(source)
    largest = max(sizes, key=lambda name: sizes[name])
    over = sum(lines > FUNCTION_LINES for lines in sizes.values())
    circles = cycles(imports(source))
    untested = without_test(checkout)
    subjects = f"commit subjects over {SUBJECT_LENGTH} characters"
    return [
        ("flat modules / rooms", f"{len(flat_modules(checkout))} / {len(rooms(checkout))}"),
        (f"modules over {MODULE_LINES} lines", _listed(f"{n} ({k})" for n, k in long.items())),
        (f"functions over {FUNCTION_LINES} lines", str(over)),
        ("largest function", f"{sizes[largest]} lines ({largest})"),
        ("mappings of Any or object", str(sum(untyped_mappings(source).values()))),
        ("import cycles", _listed(" <-> ".join(circle) for circle in circles)),
        ("modules without a mirrored test", _listed(untested)),
        (
            subjects if since is None else f"{subjects} since {since}",
            str(len(long_subjects(checkout, since))),
        ),
    ]


def _listed(entries: Iterable[str]) -> str:
    every = list(entries)
    return f"{len(every)}: {', '.join(every)}" if every else "0"


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("checkout", nargs="?", type=Path, default=here)
    parser.add_argument("--since", help="count commit subjects after this commit; default all")
    arguments = parser.parse_args()
    print("| measure | value |\n|---|---|")
    for what, value in table(arguments.checkout, arguments.since):
        print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
