"""URLs of stores: what each means, what is refused, and that passwords stay hidden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.config import StoreKind, mask_url, parse_store_url
from duly.errors import ConfigError

P, L = StoreKind.POSTGRES, StoreKind.SQLITE

MEANINGS: list[tuple[str, dict[str, Any]]] = [
    ("sqlite:///duly.db", {"kind": L, "path": "duly.db"}),
    ("sqlite:///data/duly.db", {"kind": L, "path": "data/duly.db"}),
    ("sqlite:////var/lib/duly.db", {"kind": L, "path": "/var/lib/duly.db"}),
    ("sqlite:///a%20b%3F.db", {"kind": L, "path": "a b?.db"}),
    ("SQLITE:///duly.db", {"kind": L, "path": "duly.db"}),
    ("memory://", {"kind": StoreKind.MEMORY, "path": None}),
    (
        "postgresql://me:pw@db.local:6432/work",
        {"kind": P, "user": "me", "host": "db.local", "port": 6432, "database": "work"},
    ),
    ("postgres://db/work", {"kind": P, "host": "db", "port": None, "user": None}),
    ("postgres://[::1]:5433/work", {"kind": P, "host": "::1", "port": 5433}),
    ("postgres://a:1,b:2/work", {"kind": P, "host": "a:1,b:2", "port": None}),
    ("postgresql:///work?host=/run/pg", {"kind": P, "host": None, "database": "work"}),
    ("postgresql://me%40x@db/work", {"kind": P, "user": "me@x"}),
    ("postgresql://db?dbname=work", {"kind": P, "database": "work"}),
]


@pytest.mark.parametrize(("url", "expected"), MEANINGS)
def test_a_url_means(url: str, expected: dict[str, Any]) -> None:
    parsed = parse_store_url(url)
    assert {name: getattr(parsed, name) for name in expected} == expected
    assert parsed.url == url


REFUSED = [
    ("", "without ://"),
    ("duly.db", "without ://"),
    ("://x", "without ://"),
    ("postgre://h/d", "did you mean 'postgres'"),
    ("sqlit:///x.db", "did you mean 'sqlite'"),
    ("mysql://h/d", "MySQL is not supported yet"),
    ("mysql+asyncmy://h/d", "MySQL is not supported yet"),
    ("mariadb://h/d", "MariaDB is not supported yet"),
    ("mongodb://h/d", "MongoDB is not supported yet"),
    ("mongodb+srv://h/d", "MongoDB is not supported yet"),
    ("postgresql+asyncpg://h/d", "begin with postgresql://"),
    ("sqlite://duly.db", "sqlite:///duly.db"),
    ("sqlite://", "followed by a file's path"),
    ("sqlite:///", "followed by a file's path"),
    ("sqlite:////var/lib/", "followed by a file's path"),
    ("sqlite:///:memory:", "memory://"),
    ("sqlite:///a.db?mode=ro", "without ? and #"),
    ("sqlite:///a%00.db", "followed by a file's path"),
    ("sqlite:///a b.db", "spaces and control characters"),
    ("postgresql://h", "with a database"),
    ("postgresql://h/d#x", "with a database"),
    ("postgresql://h:99999/d", "valid host and port"),
    ("postgresql://[::1/d", "valid host and port"),
    ("postgresql://h/d\nx", "spaces and control characters"),
    ("memory://x", "nothing behind it"),
]


@pytest.mark.parametrize(("url", "words"), REFUSED)
def test_another_url_is_refused_with_words(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_store_url(url)
    assert words in str(refusal.value)
    assert "expected store.url" in str(refusal.value)


MASKED = [
    ("postgresql://me:pw@h/d", "postgresql://me:***@h/d"),
    ("postgresql://me@h/d", "postgresql://me@h/d"),
    ("postgresql://:pw@h/d", "postgresql://:***@h/d"),
    ("postgresql://me:p@w/x:y@h/d", "postgresql://me:***@h/d"),
    ("postgresql://h/d?password=pw&x=1", "postgresql://h/d?password=***&x=1"),
    ("postgresql://h/d?x=1&sslPassword=pw", "postgresql://h/d?x=1&sslPassword=***"),
    ("sqlite:///duly.db", "sqlite:///duly.db"),
]


@pytest.mark.parametrize(("url", "shown"), MASKED)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@given(st.text(min_size=1, max_size=30))
def test_no_password_whatever_its_characters_is_shown(middle: str) -> None:
    password = f"<{middle}>"
    url = f"postgresql://me:{password}@h/d"
    try:
        said = repr(parse_store_url(url))
    except ConfigError as refusal:
        said = str(refusal)
    assert password not in said
    assert password not in mask_url(url)
