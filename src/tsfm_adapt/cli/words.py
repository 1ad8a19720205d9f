"""Short pieces of text that several verbs print."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 subject`, `2 subjects`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
