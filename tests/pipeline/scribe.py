"""A program that writes to a user's SQLite file through the standard module.

It runs as a process of its own: one process must not open a file through two copies of SQLite.
Arguments: the file, the writer's number. It prints what it committed, and ends.
"""

from __future__ import annotations

import random
import sqlite3
import sys

TRANSACTIONS = 120


def main(path: str, number: int) -> None:
    """Write; one transaction in ten is rolled back, some ids are chosen, the last is reused."""
    draw = random.Random(number)
    conn = sqlite3.connect(path, timeout=60, isolation_level=None)
    for turn in range(TRANSACTIONS):
        texts = [f"{number}-{turn}-{row}" for row in range(draw.randint(1, 3))]
        conn.execute("begin immediate")
        for text in texts:
            conn.execute("insert into orders(v) values (?)", (text,))
        if draw.random() < 0.2:
            # A chosen id below all others; a rowid that was freed is given again by itself.
            lowest = conn.execute("select min(id) from orders").fetchone()[0]
            chosen = f"{number}-{turn}-chosen"
            conn.execute("insert into orders values (?, ?)", (lowest - 1, chosen))
            texts.append(chosen)
        if draw.random() < 0.1:
            conn.execute("rollback")
            continue
        conn.execute("commit")
        print(*texts, sep="\n")
    conn.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
