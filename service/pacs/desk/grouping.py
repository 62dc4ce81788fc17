"""Groups received objects into studies, and says when a study is complete enough to be read.

A study is complete once nothing new of it came for a while. It has no clock: callers pass the time.
"""

from dataclasses import dataclass, field

_MOST_QUIET_TIMES = 20
"""Quiet times after which a study is read although objects still come, such as in an endless loop.
"""


@dataclass(slots=True)
class Group:
    """The objects of a study that are read together.

    due: when they are read. latest_due: when they are read although objects still come. names: of
    all their files, in order of arrival. latest: SOP Instance UID → the name of the file that was
    received last under it. tries: how often this service failed to read them. tried_since: when it
    tried first.
    """

    study_uid: str
    due: float = 0.0
    names: list[str] = field(default_factory=list)
    latest: dict[str, str] = field(default_factory=dict)
    latest_due: float | None = None
    tries: int = 0
    tried_since: float | None = None

    def add(self, name: str, instance_uid: str) -> None:
        """Adds a file. Of several with one SOP Instance UID, the last counts."""
        self.names.append(name)
        self.latest.pop(instance_uid, None)
        self.latest[instance_uid] = name


class Groups:
    """The studies that wait. Not thread-safe.

    quiet_s: seconds without a new object after which a study is due.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._waiting: dict[str, Group] = {}
        self._busy: dict[str, Group] = {}

    def __len__(self) -> int:
        """Studies that are not done yet."""
        return len(self._waiting.keys() | self._busy.keys())

    def add(self, name: str, study_uid: str, instance_uid: str, now: float) -> None:
        """Adds a file to its study, which is due a quiet time later."""
        latest = now + _MOST_QUIET_TIMES * self._quiet_s
        group = self._waiting.setdefault(study_uid, Group(study_uid, latest_due=latest))
        group.due = max(group.due, min(now + self._quiet_s, group.latest_due or latest))
        group.add(name, instance_uid)

    def take(self, now: float) -> Group | None:
        """Returns the study that has been due longest, or None. It is busy until `done`.

        Objects that come for a busy study are its next group.
        """
        free = [group for study, group in self._waiting.items() if study not in self._busy]
        group = min(free, key=lambda each: each.due, default=None)
        if group is None or group.due > now:
            return None
        self._busy[group.study_uid] = self._waiting.pop(group.study_uid)
        return group

    def wait_s(self, now: float) -> float | None:
        """Returns the seconds until a study is due; None while none waits."""
        due = [group.due for study, group in self._waiting.items() if study not in self._busy]
        return max(0.0, min(due) - now) if due else None

    def done(self, group: Group) -> None:
        """Forgets a busy group, whose files are dropped."""
        del self._busy[group.study_uid]

    def again(self, group: Group, now: float, wait_s: float) -> None:
        """Puts a busy group back for another try, together with what came for it meanwhile."""
        del self._busy[group.study_uid]
        later = self._waiting.pop(group.study_uid, None)
        for instance_uid, name in [] if later is None else later.latest.items():
            group.latest.pop(instance_uid, None)
            group.latest[instance_uid] = name
        group.names += [] if later is None else later.names
        group.due = max(now + wait_s, 0 if later is None else later.due)
        self._waiting[group.study_uid] = group
