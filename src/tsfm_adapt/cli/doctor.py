"""`doctor`: versions, devices, extras and backbones, and what is missing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from tsfm_adapt.cli.listing import FACTS, NUMBERS, BackboneEntry, backbones, facts
from tsfm_adapt.cli.options import Json, print_json
from tsfm_adapt.cli.tables import lines
from tsfm_adapt.components import PACKAGES, component, names

_CORE = (
    "torch",
    "transformers",
    "peft",
    "lightning",
    "chronos-forecasting",
    "timesfm",
    "gluonts",
    "optuna",
    "numpy",
    "pandas",
    "pydantic",
)


def command(as_json: Json = False) -> None:
    """Show versions, devices, extras, caches and backbones; exit 4 on a problem."""
    environment, entries = _environment(), backbones()
    lacking = _lacking(environment["packages"])
    if as_json:
        known = {entry.name: asdict(entry) for entry in entries}
        print_json({**environment, "backbones": known, **lacking})
    else:
        _show(environment)
        print("backbones:")
        _show_backbones(entries)
        _show(lacking)
    if lacking["problems"]:
        raise typer.Exit(4)


_Section = Mapping[str, str | int | None]


def _environment() -> dict[str, _Section]:
    """System, packages, devices, settings and cache, each a section of names and states."""
    return {
        "system": {
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "processors": os.cpu_count(),
        },
        "packages": {name: _version(name) for name in _CORE},
        "devices": _devices(),
        "settings": {
            "TSFM_ADAPT_DATA": _folder(os.environ.get("TSFM_ADAPT_DATA")),
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "not set"),
            "Hub cache": _folder(os.environ.get("HF_HOME", "~/.cache/huggingface")),
        },
        "cache": _cache(),
    }


def _lacking(versions: _Section) -> dict[str, _Section]:
    """Components that are not ready, and missing packages."""
    unready = {
        f"{kind} {name}": problem
        for kind in PACKAGES
        for name in names(kind)
        if (problem := component(kind, name).problem) is not None
    }
    missing = {name: "missing" for name, state in versions.items() if state == "missing"}
    return {"not installed": unready, "problems": missing}


def _show(sections: Mapping[str, _Section]) -> None:
    """Prints sections that have entries."""
    for title, entries in sections.items():
        if not entries:
            continue
        print(f"{title}:")
        for name, state in entries.items():
            print(f"  {name:<24}{state}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _devices() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {}
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    return devices


def _show_backbones(entries: Sequence[BackboneEntry]) -> None:
    rows = [[*facts(entry), "ready" if entry.ready else "NOT READY"] for entry in entries]
    for line in lines([*FACTS, "state"], rows, NUMBERS):
        print(f"  {line}")


def _cache() -> dict[str, str]:
    from tsfm_adapt._util.cache import cache_bytes, cache_folder

    folders = ("features", "recordings")
    return {f: f"{cache_folder() / f} ({cache_bytes(f) / 1e6:.1f} MB)" for f in folders}


def _folder(path: str | None) -> str:
    if path is None:
        return "not set"
    return path if Path(path).expanduser().is_dir() else f"{path} (does not exist)"
