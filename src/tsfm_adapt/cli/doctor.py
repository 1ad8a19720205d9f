"""`doctor`: is everything in place?"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from tsfm_adapt.cli.listing import FACTS, NUMBERS, backbones, facts
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
    report = _report()
    if as_json:
        print_json(report)
    else:
        for title, entries in report.items():
            if not entries:
                continue
            print(f"{title}:")
            if title == "backbones":
                _show_backbones(entries)
                continue
            for name, state in entries.items():
                print(f"  {name:<24}{state}")
    if report["problems"]:
        raise typer.Exit(4)


def _report() -> dict[str, dict[str, Any]]:
    versions = {name: _version(name) for name in _CORE}
    unready = {
        f"{kind} {name}": problem
        for kind in PACKAGES
        for name in names(kind)
        if (problem := component(kind, name).problem) is not None
    }
    return {
        "system": {
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "processors": os.cpu_count(),
        },
        "packages": versions,
        "devices": _devices(),
        "settings": {
            "TSFM_ADAPT_DATA": _folder(os.environ.get("TSFM_ADAPT_DATA")),
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "not set"),
            "Hub cache": _folder(os.environ.get("HF_HOME", "~/.cache/huggingface")),
        },
        "cache": _cache(),
        "backbones": {entry["name"]: entry for entry in backbones()},
        "not installed": unready,
        "problems": {name: "missing" for name, found in versions.items() if found == "missing"},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _devices() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {}
    devices: dict[str, Any] = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    return devices


def _show_backbones(entries: dict[str, dict[str, Any]]) -> None:
    rows = [[*facts(e), "ready" if e["ready"] else "NOT READY"] for e in entries.values()]
    for line in lines([*FACTS, "state"], rows, NUMBERS):
        print(f"  {line}")


def _cache() -> dict[str, str]:
    from tsfm_adapt._util.cache import cache_bytes, cache_folder

    parts = ("features", "recordings")
    return {p: f"{cache_folder() / p} ({cache_bytes(p) / 1e6:.1f} MB)" for p in parts}


def _folder(path: str | None) -> str:
    if path is None:
        return "not set"
    return path if Path(path).expanduser().is_dir() else f"{path} (does not exist)"
