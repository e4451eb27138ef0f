"""README and docs say what is there: commands, options, settings, variables, files and pictures."""

import json
import re
import runpy
from pathlib import Path

import pytest

from pipeline.config.load import load_config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path, language):
    return [
        text for name, text in BLOCK.findall(path.read_text(encoding="utf-8")) if name == language
    ]


def described_commands():
    """Return the options of each command, as its page lists them."""
    sections = re.split(r"^## adapter-distill ", COMMANDS.read_text(encoding="utf-8"), flags=re.M)[
        1:
    ]
    return {
        section.partition("\n")[0]: set(re.findall(r"--[a-z][a-z-]*", section))
        for section in sections
    }


def written_commands():
    """Yield (page, command line) of every command in a block of shell."""
    for path in PAGES:
        for text in blocks(path, ""):
            for line in text.replace("\\\n", " ").splitlines():
                if match := re.match(r"(?:\$ |\.venv/bin/)?adapter-distill (.*)", line):
                    yield path.relative_to(ROOT), match[1].partition("#")[0].split()


def test_readme_is_a_screen_and_a_half():
    text = README.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 140
    assert len(text.encode()) <= 9 * 1024


def test_pages_made_from_the_code_are_current():
    pages = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["pages"]()

    stale = [str(path) for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run scripts/reference.py"


def test_picture_is_drawn_from_its_numbers():
    picture = runpy.run_path(str(ROOT / "scripts" / "picture.py"))
    numbers = json.loads(picture["NUMBERS"].read_text(encoding="utf-8"))

    assert picture["PICTURE"].read_text(encoding="utf-8") == picture["draw"](numbers)


def test_page_of_the_notebook_has_the_code_of_its_script():
    notebook = runpy.run_path(str(ROOT / "scripts" / "notebook.py"))
    code = [text for is_code, text in notebook["cells"]() if is_code]

    assert [block.strip() for block in blocks(notebook["PAGE"], "python")] == code


def test_commands_have_these_names_and_options():
    known, wrong = described_commands(), []
    for page, words in written_commands():
        name = " ".join(words[:2]) if words[0] in ("models", "pools") else words[0]
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if name not in known or options - known[name]:
            wrong.append((str(page), name, sorted(options - known.get(name, set()))))

    assert wrong == []


def test_every_environment_variable_is_in_the_table():
    table = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("flows", "pipeline")
        for path in (ROOT / package).rglob("*.py")
    )
    read = re.findall(r"environ(?:\.get\(|\[)\"([A-Z][A-Z_]+)\"", code)
    own = re.findall(r"ADAPTER_DISTILL_[A-Z_]*[A-Z]", code)
    # Set for libraries or for children of a command, or shown in a log.
    inner = {"TOKENIZERS_PARALLELISM", "ADAPTER_DISTILL_COMMAND", "PWD"}

    assert {*read, *own} - inner - set(re.findall(r"`([A-Z_]+)`", table)) == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_config_of_readme_is_one(tmp_path):
    (toml,) = blocks(README, "toml")
    (tmp_path / "my.toml").write_text(toml, encoding="utf-8")

    assert load_config(tmp_path / "my.toml").data.label == "queue"


@pytest.mark.parametrize(
    "toml",
    [t for path in PAGES for t in blocks(path, "toml") if "[data]" in t and "[teacher]" in t],
)
def test_whole_configs_of_the_docs_are_read(tmp_path, toml):
    (tmp_path / "my.toml").write_text(toml, encoding="utf-8")

    load_config(tmp_path / "my.toml")
