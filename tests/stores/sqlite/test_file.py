"""Which files are refused, and what a person is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from duly.errors import (
    DulyBug,
    DulyError,
    InvalidValue,
    Refused,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)
from duly.stores.sqlite import SqliteStore, schema
from duly.stores.sqlite import file as files
from duly.stores.sqlite.border import translate
from tests.stores.sqlite.places import new, opened


@pytest.mark.parametrize("path", [":memory:", "", "file:x?mode=memory"])
def test_a_database_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidValue, match="expected the store's path to be a file"):
        SqliteStore(path)


def _missing(folder: Path) -> Path:
    return folder / "nowhere" / "x.db"


def _directory(folder: Path) -> Path:
    return folder


def _text(folder: Path) -> Path:
    path = folder / "x.db"
    path.write_text("this is a letter to my aunt, and no database at all\n" * 40)
    return path


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (_missing, StoreRefused, "nowhere does not exist"),
        (_directory, StoreRefused, "is a directory"),
        (_text, StoreRefused, "is not a SQLite database"),
    ],
)
async def test_an_impossible_file_is_refused_in_plain_words(
    tmp_path: Path, make: Callable[[Path], Path], error: type[DulyError], words: str
) -> None:
    store = SqliteStore(make(tmp_path))
    with pytest.raises(error, match=words):
        await store.migrate()
    await store.close()


async def test_a_directory_that_appears_later_is_used_without_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(_missing(tmp_path))
    with pytest.raises(StoreRefused):
        await store.migrate()
    _missing(tmp_path).parent.mkdir()
    assert await store.migrate() == tuple(name for _, name, _ in schema.steps())
    await store.close()


async def test_a_database_without_tables_names_the_command(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db")
    with pytest.raises(StoreMismatch, match="duly db migrate"):
        await store.open()
    with pytest.raises(StoreMismatch, match="duly db migrate"):
        await store.counts()
    await store.close()


@pytest.mark.parametrize(
    ("schema", "serves", "words"),
    [(0, 0, "no tables|older than"), (99, 98, "upgrade Duly")],
)
async def test_another_schema_is_a_mismatch(
    tmp_path: Path, schema: int, serves: int, words: str
) -> None:
    async with opened(tmp_path / "x.db") as store:
        await store._write(
            lambda tx: tx.do("update duly_meta set value = ? where name = 'schema'", schema)
        )
        await store._write(
            lambda tx: tx.do("update duly_meta set value = ? where name = 'serves'", serves)
        )
        with pytest.raises(StoreMismatch, match=words):
            await store.open()


async def test_a_newer_schema_that_still_serves_this_code_is_opened(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        await store._write(
            lambda tx: tx.do("update duly_meta set value = 99 where name = 'schema'")
        )
        assert (await store.open()).schema == 99


MOUNTS = """\
/dev/a / ext4 rw 0 0
server:/x /mnt/net nfs4 rw 0 0
//server/y /mnt/net/deep\\040er cifs rw 0 0
/dev/b /mnt/network ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x.db", "ext4"),
        ("/mnt/net/x.db", "nfs4"),
        ("/mnt/net/deep er/x.db", "cifs"),
        ("/mnt/network/x.db", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(path: str, kind: str) -> None:
    assert files.file_system(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("server:/x / nfs4 rw 0 0\n")
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    with pytest.raises(StoreRefused, match="network file system"):
        files.refuse_network(tmp_path / "x.db")
    files.refuse_network(tmp_path / "x.db", allow=True)
    monkeypatch.setenv(files.ALLOW_NETWORK, "1")
    files.refuse_network(tmp_path / "x.db")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (apsw.FullError("x"), StoreFull),
        (apsw.BusyError("x"), StoreUnavailable),
        (apsw.LockedError("x"), StoreUnavailable),
        (apsw.ReadOnlyError("x"), StoreReadOnly),
        (apsw.NotADBError("x"), StoreRefused),
        (apsw.CorruptError("x"), StoreRefused),
        (apsw.PermissionsError("x"), StoreRefused),
        (apsw.IOError("x"), StoreUnavailable),
        (apsw.ConnectionClosedError("x"), StoreUnavailable),
        (apsw.ConstraintError("UNIQUE: duly_run.schedule, duly_run.due"), Refused),
        (apsw.MisuseError("x"), DulyBug),
    ],
)
def test_each_error_of_the_driver_has_a_meaning(
    tmp_path: Path, error: apsw.Error, meaning: type[DulyError]
) -> None:
    said = translate(error, tmp_path / "x.db")
    assert type(said) is meaning
    assert str(tmp_path) in str(said) or meaning is Refused


async def test_a_full_disk_keeps_nothing_and_heals_without_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        await store.enqueue([new(1)])
        pages = await store._write(lambda tx: tx.conn.pragma("page_count"))
        await store._write(lambda tx: tx.conn.pragma("max_page_count", pages))
        with pytest.raises(StoreFull, match="nothing of this call was kept"):
            await store.enqueue([new(n, args=b"0" * 5000) for n in range(2, 50)])
        assert await store.counts() == {"ready": 1}
        await store._write(lambda tx: tx.conn.pragma("max_page_count", 1 << 30))
        await store.enqueue([new(n) for n in range(2, 50)])
        assert await store.counts() == {"ready": 49}


async def test_a_lock_that_is_never_given_makes_the_store_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.02)
    async with opened(tmp_path / "x.db") as store:
        other = apsw.Connection(str(tmp_path / "x.db"))
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="stayed locked"):
            await store.enqueue([new(1)])
        other.execute("rollback")
        await store.enqueue([new(1)])
        assert await store.counts() == {"ready": 1}
        other.close()


async def test_a_verb_that_fails_in_a_group_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    def broken(tx: object) -> None:
        raise Refused("not this one")

    async with opened(tmp_path / "x.db") as store:
        insert = "insert into duly_limit values (?, 1)"
        jobs = [store._writer.submit(lambda tx, n=n: tx.do(insert, str(n))) for n in range(3)]
        jobs.insert(1, store._writer.submit(broken))
        kept = await store._write(lambda tx: tx.value("select count(*) from duly_limit"))
        assert kept == 3
        with pytest.raises(Refused):
            await jobs[1]
        assert [await job for job in (jobs[0], *jobs[2:])] == [1, 1, 1]


async def test_after_closing_verbs_say_so_and_closing_again_is_as_good(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        line = store.lease_line()
        line.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            line.renew(new(1).id, [], [])
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.counts()
