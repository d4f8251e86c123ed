"""The reference pages say what the tables say, and the check notices when they do not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from duly.config import load_settings
from tools import gen_reference as reference


def test_no_page_is_stale() -> None:
    assert reference.stale(reference.FOLDER) == []


def test_the_check_fails_for_a_page_that_is_missing_or_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "pages")
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    page = tmp_path / "pages" / "events.md"
    page.write_text(page.read_text("utf-8") + "\n", "utf-8")
    capsys.readouterr()
    assert reference.main(["--check"]) == 1
    assert "events.md is stale" in capsys.readouterr().out


def test_another_argument_is_refused() -> None:
    assert reference.main(["--chek"]) == 2


def test_the_example_of_a_file_can_be_loaded(tmp_path: Path) -> None:
    example = reference.CONFIGURATION.split("```toml\n")[1].split("```")[0]
    (tmp_path / "duly.toml").write_text(example, "utf-8")
    loaded = load_settings(flags={}, env={}, cwd=tmp_path)
    assert loaded.settings.engine.slots == tomllib.loads(example)["engine"]["slots"]


@pytest.mark.parametrize("page", reference.PAGES)
def test_every_row_of_a_table_has_the_cells_of_its_head(page: str) -> None:
    width = 0
    for line in reference.PAGES[page]().splitlines():
        if not line.startswith("| "):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        width = width or cells
        assert cells == width, line
