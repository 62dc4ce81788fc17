"""Remembers which studies were pulled from an archive, so that none is fetched twice.

A SQLite file in the data directory for each collection and archive. It holds keyed hashes alone:
of a study's UID, of the UIDs of its objects, of the filter that a run had.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

from service.errors import StoreUnavailable
from service.files import disk_errors, make_folder
from service.imaging.deidentify import Pseudonymiser, StudyRef

State = Literal["stored", "rejected"]
_VERSION = 1
_WAIT_S = 30.0
"""Seconds for which another process may be writing the file."""
_TABLES = f"""
BEGIN;
DROP TABLE IF EXISTS studies;
DROP TABLE IF EXISTS runs;
CREATE TABLE studies (
    study TEXT PRIMARY KEY, content TEXT NOT NULL, state TEXT NOT NULL, reader TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (asked TEXT PRIMARY KEY, began TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class Pulled(NamedTuple):
    """A study that was pulled. content: keyed hash of its objects' UIDs."""

    study: StudyRef
    content: str
    state: State


class Ledger:
    """What was pulled from one archive into one collection. Thread-safe.

    reader: names the program, the bundle and the limits that read the studies. A study that another
    reader rejected counts as unknown. Every method raises StoreUnavailable where the file cannot be
    read or written.
    """

    def __init__(self, path: Path, reader: str) -> None:
        self._reader, self._using = reader, threading.Lock()
        with disk_errors("the list of pulled studies"):
            make_folder(path.parent)
        with _errors():
            self._file = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version != _VERSION:
                self._file.executescript(_TABLES)

    @classmethod
    def of(
        cls, data_dir: Path, collection: str, address: str, pseudonyms: Pseudonymiser, reader: str
    ) -> Self:
        """Opens the ledger of a collection and an archive. The file's name has a hash of it."""
        archive = pseudonyms.text(address).removeprefix("txt_")[:16]
        return cls(data_dir / f"{collection}.{archive}.pulled", reader)

    def state(self, study: StudyRef, content: str) -> State | None:
        """Returns what became of a study with these objects; None if it is to be read."""
        with self._use() as file:
            found = file.execute(
                "SELECT state, reader FROM studies WHERE study = ? AND content = ?",
                (study, content),
            ).fetchone()
        if found is None or (found[0] == "rejected" and found[1] != self._reader):
            return None
        state: State = found[0]
        return state

    def add(self, studies: Iterable[Pulled]) -> None:
        """Records studies, in place of what was known of them. They are on the disk then."""
        rows = [(*each, self._reader) for each in studies]
        with self._use() as file:
            file.executemany("INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?)", rows)

    def last_complete(self, asked: str) -> datetime | None:
        """Returns when the newest complete run with this filter began. asked: its keyed hash."""
        with self._use() as file:
            found = file.execute("SELECT began FROM runs WHERE asked = ?", (asked,)).fetchone()
        return None if found is None else datetime.fromisoformat(found[0])

    def complete(self, asked: str, began: datetime) -> None:
        """Records that a run with this filter read everything."""
        row = (asked, began.astimezone(UTC).isoformat())
        with self._use() as file:
            file.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", row)

    def forget_stored(self) -> None:
        """Forgets the stored studies and the runs, as for a library that is empty.

        What was rejected would be rejected again.
        """
        with self._use() as file:
            file.execute("DELETE FROM studies WHERE state = 'stored'")
            file.execute("DELETE FROM runs")

    def forget(self, study: StudyRef) -> None:
        """Forgets a study that the library has lost, and the runs, so that the next run reads it.

        `--since last` then finds studies of all days, this one among them.
        """
        with self._use() as file:
            if file.execute("DELETE FROM studies WHERE study = ?", (study,)).rowcount:
                file.execute("DELETE FROM runs")

    def close(self) -> None:
        """Closes the file."""
        with self._using:
            self._file.close()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Gives the file for one transaction."""
        with self._using, _errors(), self._file:
            yield self._file


def forget_in_all(data_dir: Path, collection: str, study: StudyRef) -> None:
    """Forgets a study in the ledgers of a collection, whatever the archive."""
    for path in data_dir.glob(f"{collection}.*.pulled"):
        with closing(Ledger(path, reader="")) as ledger:
            ledger.forget(study)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(
            "The list of pulled studies (*.pulled in ECLIP_DATA_DIR) cannot be read or written: "
            f"{error.sqlite_errorname}. Check the disk. If the file is damaged, remove it: then "
            "every study is read again."
        ) from error
