"""Finds components by name: `name: lora` in a recipe is the `Config` of `adapters/lora.py`.

The folder is the registry. Installed packages add to it by entry points: in the group
`tsfm_adapt.adapters` an entry `shift = "their_package.shift"` makes `name: shift` the `Config` of
that module. A component's module holds a docstring whose first line says what it is, a `Config`
(pydantic, frozen) and the class that it builds. It imports torch inside functions only, so that a
recipe is validated without it.

What there is, is read from sources and metadata. A module of another package is imported when a
recipe is read or when somebody asks for its `problem`, and whatever it raises stays with it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tsfm_adapt.errors import EnvironmentProblem, RecipeError, closest

Kind = Literal["backbone", "adapter", "head", "task", "reader"]

PACKAGES: dict[Kind, str] = {
    "backbone": "backbones",
    "adapter": "adapters",
    "head": "heads",
    "task": "tasks",
    "reader": "signals/readers",
}
OURS = "tsfm-adapt"  # the package of the components in the folders


@dataclass(frozen=True)
class Component:
    """A component: name, summary and optional packages, read without importing its file."""

    kind: Kind
    name: str
    summary: str
    requires: tuple[str, ...]  # import names of optional packages
    extra: str | None  # the extra that installs them
    package: str = OURS  # the distribution that it comes with
    module: str = ""  # that holds its `Config`
    clash: str | None = None  # why its name means nothing, where several packages claim it

    @property
    def missing(self) -> tuple[str, ...]:
        """The optional packages that this component needs and that are not installed."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)

    @property
    def problem(self) -> str | None:
        """Why the component cannot be used here, with the next step, in a line; None = ready."""
        if self.clash is not None:
            return self.clash
        if self.missing:
            extra = f"[{self.extra}]" if self.extra else ""
            return f"needs {', '.join(self.missing)}: pip install '{self.package}{extra}'"
        return None if self.package == OURS else _loaded(self.kind, self.name)[1]


def group(kind: Kind) -> str:
    """The group of entry points for a kind: `tsfm_adapt.readers`."""
    return f"tsfm_adapt.{PACKAGES[kind].rpartition('/')[2]}"


def names(kind: Kind) -> tuple[str, ...]:
    """The component names of a kind, sorted; those of other packages too."""
    return tuple(sorted({*built_in(kind), *_entries(kind)}))


def built_in(kind: Kind) -> tuple[str, ...]:
    """The names of the components that come with this package, sorted."""
    return tuple(sorted(path.stem for path in _files(kind)))


@cache
def component(kind: Kind, name: str) -> Component:
    """Looks a component up by name.

    Raises:
        RecipeError: no component of that kind has this name.
    """
    known = names(kind)
    if name not in known:
        raise RecipeError(
            f"there is no {kind} named '{name}'.{closest(name, known)} Known: {', '.join(known)}."
        )
    own = constants(kind, name, "REQUIRES", "EXTRA")
    summary = (ast.get_docstring(_tree(kind, name)) or "").splitlines()
    entry = None if name in built_in(kind) else _entries(kind)[name][0]
    return Component(
        kind=kind,
        name=name,
        summary=summary[0].rstrip(".") if summary else "",
        requires=tuple(own.get("REQUIRES", ())),
        extra=own.get("EXTRA"),
        package=OURS if entry is None else _package(entry),
        module=_own_module(kind, name) if entry is None else entry.module,
        clash=_clash(kind, name),
    )


def constants(kind: Kind, name: str, *wanted: str) -> dict[str, Any]:
    """Constants that a component's source assigns, read without importing it.

    They are literals: numbers, texts, tuples and mappings of them. What another package assigns
    and is none, is left out.
    """
    assigned: dict[str, ast.expr] = {}
    for statement in _tree(kind, name).body:
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and statement.value is not None:
                assigned[target.id] = statement.value
    read = {key: assigned[key] for key in wanted if key in assigned}
    if name not in built_in(kind):
        read = {key: value for key, value in read.items() if _literal(value)}
    return {key: ast.literal_eval(value) for key, value in read.items()}


def config_class(kind: Kind, name: str) -> Any:  # a pydantic model class, one per component file
    """The `Config` class of a component; importing it needs none of the component's extras.

    Raises:
        RecipeError: no component of that kind has this name.
        EnvironmentProblem: it is of another package, and cannot be imported or breaks a rule.
    """
    found = component(kind, name)
    if found.clash is not None:
        raise EnvironmentProblem(f"{kind} '{name}' {found.clash}")
    if found.package == OURS:
        return importlib.import_module(found.module).Config
    config, problem = _loaded(kind, name)
    if problem is not None:
        raise EnvironmentProblem(f"{kind} '{name}' {problem}")
    return config


def configs(kind: Kind) -> dict[str, Any]:
    """The `Config` classes of a kind by name, without those of other packages that are broken."""
    found = {}
    for name in names(kind):
        try:
            found[name] = config_class(kind, name)
        except EnvironmentProblem:  # a recipe that names it says why; see `config_class`
            continue
    return found


def require(kind: Kind, name: str) -> None:
    """Stops unless the component's optional packages are installed.

    Raises:
        EnvironmentProblem: with the command that installs what is missing.
    """
    problem = component(kind, name).problem
    if problem is not None:
        raise EnvironmentProblem(f"{kind} '{name}' {problem}")


def forget() -> None:
    """Clears what is remembered of components: a package was installed while Python runs."""
    for cached in (component, _entries, _tree, _loaded):
        cached.cache_clear()
    importlib.invalidate_caches()


def _folder(kind: Kind) -> Path:
    return Path(__file__).parent / PACKAGES[kind]


def _files(kind: Kind) -> Iterator[Path]:
    for path in _folder(kind).glob("*.py"):
        if not path.stem.startswith("_") and path.stem != "base":
            yield path


def _own_module(kind: Kind, name: str) -> str:
    return f"tsfm_adapt.{PACKAGES[kind].replace('/', '.')}.{name}"


@cache
def _entries(kind: Kind) -> dict[str, list[EntryPoint]]:
    """What other packages add, by name; several entries of a name clash."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in sorted(entry_points(group=group(kind)), key=_package):
        found[entry.name].append(entry)
    return dict(found)


def _package(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else entry.dist.name


def _clash(kind: Kind, name: str) -> str | None:
    """Why a name that several packages claim cannot be used; None = one has it."""
    claims = [_package(entry) for entry in _entries(kind).get(name, ())]
    if name in built_in(kind):
        claims.insert(0, OURS)
    if len(claims) < 2:
        return None
    return f"is claimed by {' and by '.join(claims)}: rename one, or uninstall {claims[-1]}"


@cache
def _tree(kind: Kind, name: str) -> ast.Module:
    if name in built_in(kind):
        return ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
    try:
        return ast.parse(_source(_entries(kind)[name][0].module))
    except (SyntaxError, ValueError, ImportError, OSError):  # its `problem` says which
        return ast.Module(body=[], type_ignores=[])


def _source(module: str) -> str:
    """The text of a module, found without importing the packages above it; "" = it has none."""
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    path = top
    for part in below:
        if spec is None:
            return ""
        path = f"{path}.{part}"
        spec = PathFinder.find_spec(path, spec.submodule_search_locations)
    return _text(spec)


def _text(spec: ModuleSpec | None) -> str:
    reads = getattr(None if spec is None else spec.loader, "get_source", None)
    return "" if reads is None or spec is None else reads(spec.name) or ""


def _literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


@cache
def _loaded(kind: Kind, name: str) -> tuple[Any, str | None]:
    """The `Config` of another package's component, or what is wrong with it in a line."""
    entry = _entries(kind)[name][0]
    try:
        config = importlib.import_module(entry.module).Config
        fault = _fault(kind, entry, config)
    except (Exception, SystemExit) as error:  # whatever their code does is theirs
        lines = str(error).splitlines()
        fault = f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"
    if fault is None:
        return config, None
    return None, (
        f"of {_package(entry)} cannot be used ({entry.module}: {fault}): "
        f"update or uninstall {_package(entry)}"
    )


def _fault(kind: Kind, entry: EntryPoint, config: Any) -> str | None:
    """Which rule a `Config` of another package breaks; one that does breaks no other recipe."""
    if entry.attr:
        return f"the entry point is a module, found '{entry.value}'"
    base = importlib.import_module(f"tsfm_adapt.{PACKAGES[kind].replace('/', '.')}.base")
    parent = getattr(base, f"{kind.capitalize()}Config")
    if not (inspect.isclass(config) and issubclass(config, parent)):
        return f"Config is no {parent.__name__}"
    field = config.model_fields["name"]  # type: ignore[attr-defined]
    if get_origin(field.annotation) is not Literal or get_args(field.annotation) != (entry.name,):
        return f"Config.name must be Literal['{entry.name}'], found {field.annotation}"
    if field.default != entry.name:
        return f"Config.name must have the default '{entry.name}'"
    config.model_json_schema()  # type: ignore[attr-defined]  # raises where a setting has no rule that can be shown
    return None
