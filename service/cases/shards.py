"""Finds the shard of each kind of point, and changes shards in an order that survives crashes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.cases.edge_requests import update_of
from service.cases.operations import BlankDigest, Operation, Remove, Selection, Upsert
from service.cases.points import PARTS, RECORD, Point
from service.cases.shard import Shard


class Shards:
    """The shard of each kind of point. Kinds may share one; see `service.cases.layout`.

    Thread-safe, except that only one thread may call `apply`. Raises what the engine raises.
    """

    def __init__(self, by_kind: Mapping[str, Shard]) -> None:
        self._by_kind = by_kind
        self._unsynced: set[Shard] = set()
        self._unsaved: set[Shard] = set()
        self._unflushed: dict[Shard, float] = {}
        """Shard → when its oldest change was made that the engine has not flushed."""
        self._changed_at = 0.0

    def __getitem__(self, kind: str) -> Shard:
        return self._by_kind[kind]

    def __iter__(self) -> Iterator[Shard]:
        """Yields each shard once."""
        return iter(dict.fromkeys(self._by_kind.values()))

    def kinds(self, selection: Selection) -> list[str]:
        """Returns the kinds that the selected points may have, records first."""
        return [kind for kind in self._by_kind if kind in selection.must.get("part", (kind,))]

    def of(self, selection: Selection) -> list[Shard]:
        """Returns the shards that may hold selected points."""
        return list(dict.fromkeys(self[kind] for kind in self.kinds(selection)))

    def apply(self, operations: Sequence[Operation]) -> None:
        """Applies operations in their order. The logs of the changed shards are synced on return.

        Records are written after the logs of the parts were synced: so no power cut leaves a record
        on the disk without the parts that it names.
        """
        for operation in operations:
            match operation:
                case BlankDigest():
                    self._update(self[RECORD], operation)
                case Remove(selection):
                    for shard in self.of(selection):
                        self._update(shard, operation)
                case Upsert(points):
                    for kind in PARTS:
                        self._upsert(kind, points)
                    self._sync()
                    self._upsert(RECORD, points)
        self._sync()

    @property
    def quiet_s(self) -> float:
        """Seconds since the last change."""
        return time.monotonic() - self._changed_at

    @property
    def unsaved(self) -> bool:
        """Whether a change is in the logs alone, and not surely in the other files."""
        return bool(self._unsaved)

    @property
    def unflushed_s(self) -> float:
        """Seconds since the oldest change that the engine was not asked to flush; 0 if none is."""
        return time.monotonic() - min(self._unflushed.values()) if self._unflushed else 0.0

    def save(self) -> None:
        """Syncs the files of the shards that have changed. Other threads of Python run meanwhile.

        After a power cut the files are then those of a killed process, which the log completes.
        """
        for shard in list(self._unsaved):
            shard.save()
            self._unsaved.discard(shard)

    def flush_oldest(self) -> None:
        """Lets the engine flush the shard with the oldest change, which shortens its log."""
        if self._unflushed:
            shard = min(self._unflushed, key=self._unflushed.__getitem__)
            shard.flush()
            del self._unflushed[shard]

    def close(self) -> None:
        """Flushes and closes every shard."""
        for shard in self:
            shard.close()

    def _upsert(self, kind: str, points: Sequence[Point]) -> None:
        """Writes the points of a kind, and those of no known one, which only repairs write."""
        share = [point for point in points if point.part == kind or point.part not in self._by_kind]
        if share:
            self._update(self[kind], Upsert(share))

    def _update(self, shard: Shard, operation: Operation) -> None:
        self._unsynced.add(shard)
        shard.update(update_of(operation))
        self._changed_at = time.monotonic()
        self._unsaved.add(shard)
        self._unflushed.setdefault(shard, self._changed_at)

    def _sync(self) -> None:
        """Syncs the logs of the changed shards, all at a time: a disk takes them together."""
        with ThreadPoolExecutor(max(1, len(self._unsynced))) as pool:
            list(pool.map(Shard.sync_log, self._unsynced))
        self._unsynced.clear()
