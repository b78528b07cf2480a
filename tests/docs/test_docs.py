"""The pages say what the code does: fresh, complete, and with links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("causeway_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _load()


@pytest.mark.parametrize("name", list(generate.PAGES))
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == generate.PAGES[name](), "run: make docs"


def test_a_name_without_a_sentence_is_refused() -> None:
    known = list(generate.SENTENCES["job_file"])
    with pytest.raises(generate.Undocumented, match="brand_new"):
        generate.explained("job_file", [*known, "brand_new"])


def test_a_sentence_without_a_name_is_refused() -> None:
    known = list(generate.SENTENCES["job_file"])
    with pytest.raises(generate.Undocumented, match=known[0]):
        generate.explained("job_file", known[1:])


def test_an_argument_without_a_sentence_is_refused() -> None:
    def verb(*, quietly: bool = False) -> None:
        """Do something."""

    with pytest.raises(generate.Undocumented, match="quietly"):
        list(generate._option(verb, "verb"))


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in _LINK.findall(text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        assert there.is_relative_to(ROOT), f"{target} leads out of the repository"
        if anchor:
            assert anchor in _anchors(there), f"{target}: no such heading"


def test_every_promise_names_a_test_or_bench_that_exists() -> None:
    rows = re.findall(r"^\|(.+)\|$", (DOCS / "promises.md").read_text(), re.MULTILINE)
    split = [row.split("|") for row in rows if not set(row) <= set("-| ")]
    held = [cells for cells in split if cells[-1].strip() != "status"]
    assert held
    for cells in held:
        paths = re.findall(r"`((?:tests|bench|src)/[\w/.]+|\.importlinter)", cells[-2])
        assert paths or "none yet" in cells[-2], f"nothing holds: {cells[0].strip()}"
        for path in paths:
            assert (ROOT / path).exists(), f"{path} is not there"


def test_every_word_of_the_glossary_has_both_languages() -> None:
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", (DOCS / "glossary.md").read_text(), re.M
    )
    assert len(rows) > 30
    words = [word for word, _, _ in rows]
    assert len(words) == len(set(words)), "one word per idea, and each once"
    for word, chinese, meaning in rows:
        assert re.search(r"[\u4e00-\u9fff]", chinese), f"{word} has no Chinese"
        assert meaning.strip(), f"{word} has no meaning"


def test_vendored_files_are_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for table in ROOT.glob("**/vendor/vendor.toml"):
        if ".venv" in table.parts:
            continue
        for file in tomllib.loads(table.read_text())["file"]:
            assert file["name"] in notice
            assert file["version"] in notice


def test_pictures_are_small() -> None:
    for picture in (DOCS / "img").glob("*.png"):
        assert picture.stat().st_size < 300_000, f"{picture.name} is too large for the repository"
