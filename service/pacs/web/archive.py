"""Reads studies from an archive over DICOMweb: QIDO-RS lists them, WADO-RS gives their objects.

An archive's own URLs in its answers (RetrieveURL) are not followed: behind a proxy they are often
wrong, and credentials must not go where an answer says.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from service.errors import EclipError, PeerRefused, PeerUnavailable
from service.pacs.address import WebAddress
from service.pacs.archive import Instance, ListedStudy, Wanted
from service.pacs.web.objects import ACCEPT, MOST_BYTES, read_object
from service.pacs.web.query import STUDY_UID, Query, listed_study, usable_uid
from service.pacs.web.reply import read_items, text
from service.pacs.web.session import PATIENT, Patience, Question, WebSession
from service.pacs_settings import PacsSettings
from service.telemetry import log

AT_ONCE = 8
"""Objects that are fetched at a time, of all studies together."""
AHEAD = 3
"""Objects of a study that are fetched before their turn. Each may take `most_bytes` of memory."""
_STUDIES_A_PAGE, _OBJECTS_A_PAGE = 200, 500
_MOST_STUDIES, _MOST_OBJECTS = 10_000_000, 20_000
"""Items of a list at most: an archive that never ends one must not keep a pull running."""
_SERIES_UID, _INSTANCE_UID = "0020000E", "00080018"
_SOP_CLASS, _MODALITY = "00080016", "00080060"


def open_web_archive(
    address: WebAddress,
    settings: PacsSettings,
    patience: Patience = PATIENT,
    most_bytes: int = MOST_BYTES,
) -> "WebArchive":
    """Returns the archive; connections are made as they are needed.

    most_bytes: of an object. A larger one is yielded by `fetch` as an error.

    Raises SettingInvalid for credentials that cannot be used.
    """
    return WebArchive(WebSession(address, settings, patience), most_bytes)


class WebArchive:
    """An archive with a DICOMweb service. Thread-safe."""

    def __init__(self, session: WebSession, most_bytes: int) -> None:
        self._session, self._most_bytes = session, most_bytes
        self._workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dicomweb")

    def studies(self, wanted: Wanted) -> Iterator[ListedStudy]:
        """Returns the studies that are wanted, each once, as they are listed.

        A study that arrives meanwhile may or may not be among them. One without a usable UID is
        left out, with a warning in the log.

        Raises SettingInvalid at once for an attribute that cannot be asked for.
        """
        return self._studies(Query.of(wanted))

    def instances(self, study: ListedStudy) -> Sequence[Instance]:
        """Returns the objects of a study. One that the archive no longer has is empty.

        SOP class and modality are empty where the archive does not name them.
        """
        return [_instance(item) for item in self._objects(study, ("Modality", "SOPClassUID"))]

    def fetch(
        self, study: ListedStudy, instances: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields each of these objects in their order; `AHEAD` more are fetched meanwhile."""
        fetched: deque[tuple[Instance, Future[bytes]]] = deque()
        try:
            for instance in instances:
                fetched.append((instance, self._start(study, instance)))
                if len(fetched) > AHEAD:
                    yield _outcome(*fetched.popleft())
            while fetched:
                yield _outcome(*fetched.popleft())
        finally:
            for _, unwanted in fetched:
                unwanted.cancel()

    def close(self) -> None:
        """Ends its connections, and the requests that wait."""
        self._session.close()
        self._workers.shutdown(cancel_futures=True)

    def _studies(self, query: Query) -> Iterator[ListedStudy]:
        given: set[str] = set()
        unusable, missing = 0, {each.keyword for each in query.of_objects}
        for filters in query.filters():
            for item in self._listed(("studies",), filters, STUDY_UID, _STUDIES_A_PAGE):
                study = listed_study(item)
                unusable += study is None
                if study is None or study.study_uid in given or not query.admits(item):
                    continue
                if self._meets(study, query, missing):
                    given.add(study.study_uid)
                    yield study
        if unusable:
            log().warning("studies left out", why="their UIDs cannot be used", count=unusable)
        if missing and not given:
            why = "the archive showed these attributes of no object"
            log().warning("no study chosen", why=why, attributes=sorted(missing))

    def _meets(self, study: ListedStudy, query: Query, missing: set[str]) -> bool:
        """Decides whether a study's objects meet all conditions, each by any of them.

        missing: attributes that no object has shown so far; those that one shows are taken out.
        """
        unmet = list(query.of_objects)
        if not unmet:
            return True
        for item in self._objects(study, [each.keyword for each in unmet]):
            missing.difference_update(each.keyword for each in unmet if each.tag in item)
            unmet = [each for each in unmet if not each.is_met_by(item)]
            if not unmet:
                return True
        return False

    def _objects(self, study: ListedStudy, attributes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yields what the archive lists of a study's objects, with these attributes."""
        path = ("studies", study.study_uid, "instances")
        fields = [("includefield", keyword) for keyword in attributes]
        return self._listed(path, fields, _INSTANCE_UID, _OBJECTS_A_PAGE)

    def _listed(
        self, path: Sequence[str], query: Sequence[tuple[str, str]], uid_tag: str, limit: int
    ) -> Iterator[dict[str, Any]]:
        """Yields the items of a list, each once by its UID, page by page.

        Archives cap pages, and some ignore limit or offset. So the list ends with the first page
        that has nothing new, and not with a short one.
        """
        most = _MOST_STUDIES if uid_tag == STUDY_UID else _MOST_OBJECTS
        known: set[str] = set()
        offset = 0
        while len(known) <= most:
            page = [("limit", str(limit)), ("offset", str(offset))]
            items = self._session.ask(Question(path, [*query, *page]), read_items)
            before = len(known)
            for item in items:
                if (uid := text(item, uid_tag)) not in known:
                    known.add(uid)
                    yield item
            if len(known) == before:
                return
            offset += len(items)
        raise PeerRefused(f"The DICOMweb service lists more than {most} items. Ask for fewer.")

    def _start(self, study: ListedStudy, instance: Instance) -> Future[bytes]:
        try:
            return self._workers.submit(self._object, study, instance)
        except RuntimeError:  # the archive was closed meanwhile
            never: Future[bytes] = Future()
            never.cancel()
            return never

    def _object(self, study: ListedStudy, instance: Instance) -> bytes:
        path = ("studies", study.study_uid, "series", instance.series_uid)
        question = Question((*path, "instances", instance.instance_uid), accept=ACCEPT)
        uid, most = instance.instance_uid, self._most_bytes
        return self._session.ask(question, partial(read_object, instance_uid=uid, most=most))


def _outcome(instance: Instance, fetched: Future[bytes]) -> tuple[Instance, bytes | EclipError]:
    try:
        return instance, fetched.result()
    except EclipError as error:
        return instance, error
    except CancelledError:
        return instance, PeerUnavailable("The archive was closed before the object was fetched.")


def _instance(item: dict[str, Any]) -> Instance:
    series_uid, instance_uid = usable_uid(item, _SERIES_UID), usable_uid(item, _INSTANCE_UID)
    if series_uid is None or instance_uid is None:
        raise PeerRefused(
            "The DICOMweb service lists an object without a series UID or SOP Instance UID that "
            "can be used. Correct the study in the PACS."
        )
    return Instance(series_uid, instance_uid, text(item, _SOP_CLASS), text(item, _MODALITY))
