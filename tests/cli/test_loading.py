"""The application is found where its user says it is, and nowhere by guess."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duly.cli.faults import Fault
from duly.cli.loading import load_app

FILES = {
    "shop_a.py": "from duly import Duly\napp = Duly(name='a')\n",
    "shop_b.py": "from duly import Duly\napp = Duly(name='b')\nsame = app\n",
    "shop_c.py": "from duly import Duly\nfirst, second = Duly(name='c1'), Duly(name='c2')\n",
    "folder/shop_d.py": "import shop_near\nfrom shop_near import app\n",
    "folder/shop_near.py": "from duly import Duly\napp = Duly(name='d')\n",
    "shop_pack/__init__.py": "",
    "shop_pack/inner.py": "from .near import app as one\n",
    "shop_pack/near.py": "from duly import Duly\napp = Duly(name='e')\n",
    "shop_f.py": "from duly import Duly\nclass Holder:\n    app = Duly(name='f')\n",
    "json.py": "from duly import Duly\napp = Duly(name='g')\n",
}

FOUND = [
    ("shop_a", "a"),
    ("shop_a:app", "a"),
    ("shop_a.py", "a"),
    ("./shop_a.py:app", "a"),
    ("shop_b.py", "b"),
    ("shop_c.py:second", "c2"),
    ("folder/shop_d.py", "d"),
    ("shop_pack.inner", "e"),
    ("shop_pack.inner:one", "e"),
    ("shop_f:Holder.app", "f"),
    ("json.py", "g"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(("spec", "name"), FOUND)
def test_an_application_is_found(folder: Path, spec: str, name: str) -> None:
    assert load_app(spec).name == name


def test_a_file_never_takes_the_place_of_a_module_that_is_loaded(folder: Path) -> None:
    load_app("json.py")
    import json

    assert json.loads("1") == 1


def test_a_module_that_is_a_file_here_is_told_so(folder: Path) -> None:
    (folder / "shop_x.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(Fault, match="No module named 'nothing_of_the_kind'") as raised:
        load_app("shop_x")
    assert "shop_x.py" in raised.value.sentence and raised.value.code == 78
