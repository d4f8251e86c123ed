"""The store that most tests of commands begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.prepared import Prepared


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.chdir(tmp_path)
    return Prepared(tmp_path)
