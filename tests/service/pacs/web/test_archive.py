"""Studies of an archive are listed once each, and their objects come as they are stored."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date

import httpx
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from structlog.testing import capture_logs

from service.errors import PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs.address import WebAddress, parse_address
from service.pacs.archive import Instance, ListedStudy, Wanted
from service.pacs.web import archive as dicomweb
from service.pacs.web.archive import open_web_archive
from service.pacs.web.session import Patience
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.orthanc import run_orthanc
from tests.support.web_peer import peer

QUICK = Patience(connect_s=2, silence_s=5, answer_s=10, tries=3, pause_s=0.01, total_s=20)
PIXELS = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) % 4096
SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless,
    JPEGLosslessSV1, RLELossless,
)  # fmt: skip


def radiograph(study, number, syntax=ExplicitVRLittleEndian, **elements):
    """Returns the file of one radiograph; each has a series of its own."""
    uid = f"1.2.826.0.1.3680043.8.498.{study}"
    named = {
        "StudyInstanceUID": uid,
        "SeriesInstanceUID": f"{uid}.{number}",
        "SOPInstanceUID": f"{uid}.{number}.1",
        "PatientID": f"P{study}",
        "PatientName": f"Invented^Person{study}",
        "StudyDate": f"202601{study:02}",
    }
    return archived(syntax, PIXELS, **(named | elements))


def uid(study):
    return f"1.2.826.0.1.3680043.8.498.{study}"


FILES = [
    *(radiograph(1, n, syntax, ViewPosition="PA") for n, syntax in enumerate(SYNTAXES, 1)),
    radiograph(2, 1, Modality="DX", ViewPosition="PA", BodyPartExamined="CHEST"),
    radiograph(2, 2, Modality="DX", ViewPosition="LL", BodyPartExamined="CHEST"),
    radiograph(3, 1, BodyPartExamined="HAND", StudyDescription="Hand links"),
    radiograph(4, 1, Modality="CT"),
    radiograph(5, 1, ViewPosition="AP", BodyPartExamined="CHEST", StudyDescription="Thorax"),
]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        running.put(*FILES)
        yield running


@pytest.fixture
def archive(orthanc):
    opened = open_web_archive(parse_address(orthanc.web), PacsSettings(), QUICK)
    with closing(opened):
        yield opened


def listed(archive, since=None, **where):
    return [study.study_uid for study in archive.studies(Wanted(where, since))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [1, 2, 5, 200])
def test_each_study_is_listed_once_whatever_the_page(orthanc, archive, page, monkeypatch):
    monkeypatch.setattr(dicomweb, "_STUDIES_A_PAGE", page)
    found = listed(archive)
    witness = DICOMwebClient(f"{orthanc.url}/dicom-web").search_for_studies()
    assert len(found) == 5
    assert set(found) == {item["0020000D"]["Value"][0] for item in witness}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "studies"),
    [
        ({"ModalitiesInStudy": ["CR"]}, {1, 3, 5}),
        ({"ModalitiesInStudy": ["CR", "DX"]}, {1, 2, 3, 5}),
        ({"ModalitiesInStudy": ["US"]}, set()),
        ({"StudyDescription": ["*hand*", "Thorax"]}, {3, 5}),
        ({"StudyDescription": ["Hand links"]}, {3}),
        ({"PatientName": ["Invented^Person2", "*PERSON3"]}, {2, 3}),
        ({"PatientID": ["P1", "P2"], "ModalitiesInStudy": ["CR", "DX"]}, {1, 2}),
        ({"StudyDate": ["20260102-20260103"]}, {2, 3}),
        ({"StudyInstanceUID": [uid(4)]}, {4}),
        ({"ViewPosition": ["LL"]}, {2}),
        ({"ViewPosition": ["PA", "AP"]}, {1, 2, 5}),
        ({"BodyPartExamined": ["CHEST"]}, {2, 5}),
        ({"BodyPartExamined": ["CHEST"], "Modality": ["CR"]}, {5}),
        ({"BodyPartExamined": ["chest", "hand"], "ModalitiesInStudy": ["CR"]}, {3, 5}),
        ({"Modality": ["C*"]}, {1, 3, 4, 5}),
    ],
)
def test_the_studies_that_are_wanted_are_listed(archive, where, studies):
    assert sorted(listed(archive, **where)) == sorted(map(uid, studies))


@pytest.mark.slow
def test_studies_since_a_day_are_listed_with_their_dates(archive):
    assert set(listed(archive, date(2026, 1, 4))) == {uid(4), uid(5)}
    (study,) = archive.studies(Wanted({"ViewPosition": ["AP"]}, date(2026, 1, 2)))
    assert study == ListedStudy(uid(5), date(2026, 1, 5))


@pytest.mark.slow
@pytest.mark.parametrize("page", [1, 4, 500])
def test_a_studys_objects_are_listed(archive, page, monkeypatch):
    monkeypatch.setattr(dicomweb, "_OBJECTS_A_PAGE", page)
    found = archive.instances(ListedStudy(uid(1)))
    computed_radiography = "1.2.840.10008.5.1.4.1.1.1"
    assert sorted(found, key=lambda each: each.instance_uid) == [
        Instance(f"{uid(1)}.{n}", f"{uid(1)}.{n}.1", computed_radiography, "CR")
        for n in range(1, len(SYNTAXES) + 1)
    ]
    assert archive.instances(ListedStudy("1.2.3.4")) == []


@pytest.mark.slow
def test_objects_come_as_they_are_stored_and_in_order(archive):
    study = ListedStudy(uid(1))
    instances = sorted(archive.instances(study), key=lambda each: each.instance_uid)[::-1]
    fetched = list(archive.fetch(study, instances))
    assert [instance for instance, _ in fetched] == instances
    assert [file for _, file in fetched] == FILES[: len(SYNTAXES)][::-1]


@pytest.mark.slow
def test_another_client_reads_the_same_object(orthanc, archive):
    study = ListedStudy(uid(2))
    instance, file = next(iter(archive.fetch(study, archive.instances(study)[:1])))
    client = DICOMwebClient(f"{orthanc.url}/dicom-web")
    place = (study.study_uid, instance.series_uid, instance.instance_uid)
    assert dcmread(DicomBytesIO(file)) == client.retrieve_instance(*place)


@pytest.mark.slow
def test_an_object_that_is_gone_is_an_error_and_the_others_follow(orthanc, archive):
    orthanc.put(radiograph(9, 1), radiograph(9, 2))
    study = ListedStudy(uid(9))
    instances = archive.instances(study)
    delete(orthanc, instances[0].instance_uid)
    (_, error), (_, file) = archive.fetch(study, instances)
    assert isinstance(error, PeerRefused)
    assert instances[0].instance_uid not in str(error)
    assert isinstance(file, bytes)
    delete(orthanc, study.study_uid)


def delete(orthanc, any_uid):
    (found,) = httpx.post(f"{orthanc.url}/tools/lookup", content=any_uid).json()
    httpx.delete(orthanc.url + found["Path"]).raise_for_status()


@pytest.mark.slow
def test_a_user_and_password_open_an_orthanc(tmp_path):
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"eclip": "geheim"}}
    with run_orthanc(tmp_path, **users) as closed:
        address = parse_address(closed.web)
        for settings, named in (
            (PacsSettings(), "Set ECLIP_PACS_TOKEN"),
            (PacsSettings(pacs_user="eclip", pacs_password="falsch"), "ECLIP_PACS_USER"),
        ):
            opened = closing(open_web_archive(address, settings, QUICK))
            with opened as archive, pytest.raises(PeerRefused, match=named):
                listed(archive)
        right = PacsSettings(pacs_user="eclip", pacs_password="geheim")
        with closing(open_web_archive(address, right, QUICK)) as archive:
            assert listed(archive) == []


@pytest.mark.slow
def test_an_address_beside_the_service_is_refused(orthanc):
    address = WebAddress(f"{orthanc.url}/dicomweb")
    opened = closing(open_web_archive(address, PacsSettings(), QUICK))
    with opened as archive, pytest.raises(PeerRefused, match="base address"):
        listed(archive)


STUDIES = [f"1.2.3.{number}" for number in range(1, 8)]


def study_item(study_uid):
    return {"0020000D": {"vr": "UI", "Value": [study_uid]}}


def object_item(number):
    return {
        "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]},
        "00080018": {"vr": "UI", "Value": [f"1.2.3.1.{number}"]},
    }


@contextmanager
def reading(answer):
    """Yields a peer, and an archive that reads from it."""
    with peer(answer) as server:
        opened = open_web_archive(WebAddress(server.url), PacsSettings(), QUICK)
        with closing(opened):
            yield server, opened


def pages(cap=None, *, limit=True, offset=True):
    """Answers from STUDIES. cap: studies a page. limit, offset: whether each is honoured."""

    def answer(asked):
        start = int(asked.query["offset"][0]) if offset else 0
        most = int(asked.query["limit"][0]) if limit else len(STUDIES)
        end = start + min(most, cap or most)
        asked.items(*map(study_item, STUDIES[start:end]))

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pages(), pages(cap=1), pages(cap=3), pages(limit=False), pages(offset=False),
        pages(limit=False, offset=False),
    ],
    ids=["honest", "one-a-page", "capped", "no-limit", "no-offset", "neither"],
)  # fmt: skip
def test_each_study_is_listed_once_by_any_archive(answer):
    with reading(answer) as (_, archive):
        assert listed(archive) == STUDIES


def test_studies_that_move_while_they_are_listed_come_once(monkeypatch):
    monkeypatch.setattr(dicomweb, "_STUDIES_A_PAGE", 3)
    held = list(STUDIES)

    def answer(asked):
        start = int(asked.query["offset"][0])
        asked.items(*map(study_item, held[start : start + 3]))
        held.insert(0, f"1.2.3.9.{len(held)}")

    with reading(answer) as (_, archive):
        found = listed(archive)
        assert set(found) == set(STUDIES)
        assert len(found) == len(STUDIES)


def test_a_list_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(dicomweb, "_MOST_STUDIES", 50)

    def answer(asked):
        start = int(asked.query["offset"][0])
        asked.items(*(study_item(f"1.2.{start + number}") for number in range(10)))

    with reading(answer) as (_, archive), pytest.raises(PeerRefused, match="more than 50"):
        listed(archive)


def test_a_study_whose_uid_cannot_be_used_is_left_out_with_a_warning():
    def answer(asked):
        asked.items(study_item("1.2.3"), study_item("../../admin"), {"00080020": None}, {})

    with reading(answer) as (_, archive), capture_logs() as logs:
        assert listed(archive) == ["1.2.3"]
    assert logs[0]["event"] == "studies left out"
    assert "admin" not in json.dumps(logs)


def test_an_archive_that_ignores_filters_gives_no_other_studies():
    def answer(asked):
        if asked.path.partition("?")[0].endswith("/studies"):
            asked.items(
                study_item("1.2.1") | {"00080061": {"Value": ["CT"]}},
                study_item("1.2.2") | {"00080061": {"Value": ["CR"]}},
                study_item("1.2.3") | {"00080061": {"Value": ["CR", "SR"]}},
            )
        else:
            view = "PA" if "/1.2.3/" in asked.path else "LL"
            asked.items(object_item(1), object_item(2) | {"00185101": {"Value": [view]}})

    with reading(answer) as (server, archive):
        where = {"ModalitiesInStudy": ["CR"], "ViewPosition": ["PA"]}
        assert listed(archive, **where) == ["1.2.3"]
        assert not any("/1.2.1/" in asked.path for asked in server.requests)


def test_an_attribute_that_an_archive_never_shows_is_logged():
    def answer(asked):
        of_study = asked.path.partition("?")[0].endswith("/studies")
        asked.items(study_item("1.2.3") if of_study else object_item(1))

    with reading(answer) as (_, archive), capture_logs() as logs:
        assert listed(archive, ViewPosition=["PA"]) == []
    assert logs[0]["attributes"] == ["ViewPosition"]


def test_an_unknown_attribute_is_refused_before_anything_is_asked():
    with reading(pages()) as (server, archive):
        with pytest.raises(SettingInvalid, match="Modalites"):
            archive.studies(Wanted({"Modalites": ["CR"]}))
        assert server.requests == []


def test_an_object_without_usable_uids_is_an_error_of_its_study():
    peer_of_one = reading(lambda asked: asked.items({"00080018": {"Value": ["1.2"]}}))
    with peer_of_one as (_, archive), pytest.raises(PeerRefused, match="without a series UID"):
        archive.instances(ListedStudy("1.2.3"))


def test_an_object_may_come_without_class_and_modality():
    with reading(lambda asked: asked.items(object_item(1))) as (_, archive):
        (instance,) = archive.instances(ListedStudy("1.2.3"))
        assert (instance.sop_class, instance.modality) == ("", "")


def part(file):
    return b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"


KIND = 'multipart/related; type="application/dicom"; boundary=b'


def test_each_bad_object_has_its_error_and_the_good_ones_come():
    good = radiograph(1, 1, SOPInstanceUID="1.2.9")
    answers = {
        "1.2.1": lambda asked: asked.reply(500),
        "1.2.2": lambda asked: asked.reply(200, b"<html/>", "text/html"),
        "1.2.3": lambda asked: asked.reply(200, part(good[: len(good) // 2]), KIND),
        "1.2.4": lambda asked: asked.reply(200, part(good), KIND),
        "1.2.5": lambda asked: asked.reply(200, part(good)[:-9], KIND),
        "1.2.9": lambda asked: asked.reply(200, part(good), KIND),
    }
    with reading(lambda asked: answers[asked.path.rpartition("/")[2]](asked)) as (server, archive):
        wanted = [Instance("1.2", each, "", "CR") for each in answers]
        fetched = {i.instance_uid: file for i, file in archive.fetch(ListedStudy("1"), wanted)}
        assert list(fetched) == list(answers)
        assert fetched.pop("1.2.9") == good
        kinds = [type(error) for error in fetched.values()]
        away, refused = PeerUnavailable, PeerRefused
        assert kinds == [away, refused, refused, refused, away]
        assert sum(asked.path.endswith("1.2.5") for asked in server.requests) == QUICK.tries
        accept = server.requests[0].headers["accept"]
        assert accept == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_only_a_few_objects_are_fetched_before_their_turn():
    good = radiograph(1, 1, SOPInstanceUID="1.2.9")
    with reading(lambda asked: asked.reply(200, part(good), KIND)) as (server, archive):
        wanted = [Instance("1.2", "1.2.9", "", "CR")] * 20
        objects = archive.fetch(ListedStudy("1"), wanted)
        assert next(objects) == (wanted[0], good)
        objects.close()
        assert len(server.requests) <= dicomweb.AHEAD + 1


def test_closing_ends_a_fetch_and_each_object_left_has_an_error():
    with reading(lambda asked: asked.hang()) as (_, archive), ThreadPoolExecutor(1) as pool:
        wanted = [Instance("1.2", f"1.2.{number}", "", "CR") for number in range(20)]
        fetching = pool.submit(list, archive.fetch(ListedStudy("1"), wanted))
        archive.close()
        fetched = fetching.result(20)
        assert [instance for instance, _ in fetched] == wanted
        assert {type(error) for _, error in fetched} == {PeerUnavailable}


def test_an_object_that_is_too_large_is_an_error():
    good = radiograph(1, 1, SOPInstanceUID="1.2.9")
    with peer(lambda asked: asked.reply(200, part(good), KIND)) as server:
        opened = open_web_archive(WebAddress(server.url), PacsSettings(), most_bytes=1000)
        with closing(opened) as archive:
            wanted = [Instance("1.2", "1.2.9", "", "CR")]
            ((_, error),) = archive.fetch(ListedStudy("1"), wanted)
            assert isinstance(error, PeerRefused)


def test_an_archives_own_urls_are_not_followed():
    with peer(lambda asked: asked.items()) as stranger:
        item = object_item(1) | {"00081190": {"vr": "UR", "Value": [f"{stranger.url}/secret"]}}

        def answer(asked):
            listing = asked.path.partition("?")[0].endswith("/instances")
            asked.items(item) if listing else asked.reply(404)

        with reading(answer) as (server, archive):
            study = ListedStudy("1.2.3")
            ((_, error),) = archive.fetch(study, archive.instances(study))
            assert isinstance(error, PeerRefused)
            assert len(server.requests) == 3
        assert stranger.requests == []
