"""The page "Your own files": its files are read with the settings beside them, or refused."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.formats import recognised

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "files.md"
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Example:
    """A section of the page with files."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    settings: dict | None = None
    refusal: str | None = None
    lines: list[str] = field(default_factory=list)

    def write(self, folder):
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder if len(self.files) > 1 else folder / next(iter(self.files))


def examples():
    found = []
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        own = Example(section.partition("\n")[0])
        for language, file, text in FENCE.findall(section):
            if file:
                own.files[file] = text
            elif language == "yaml":
                own.settings = yaml.safe_load(text)
            elif language == "text":
                own.refusal = text.strip()
            else:
                own.lines += text.splitlines()
        found.append(own)
    return found


EXAMPLES = examples()


def given(line):
    words = shlex.split(line)
    return words[words.index("--reader") + 1]


def test_every_section_has_files_and_what_becomes_of_them():
    assert len(EXAMPLES) > 12
    for example in EXAMPLES:
        assert example.files, example.title
        assert example.settings or example.refusal or example.lines, example.title


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_what_the_page_says_of_a_file_holds(tmp_path, example):
    path = example.write(tmp_path)
    if example.settings is None:
        with pytest.raises(DataError) as caught:
            recognised(path)
        assert example.refusal
        assert example.refusal in str(caught.value)
    else:
        found = recognised(path).model_dump(mode="json")
        assert {name: found[name] for name in example.settings} == example.settings
        assert all(item.channels for item in recognised(path).read(()))
    for line in example.lines:
        items = list(recognised(path, given(line)).read(()))
        assert items
        assert all(item.channels for item in items)
