"""Reads studies from real nodes: Orthanc and DCMTK's dcmqrscp."""

import time
from datetime import date
from io import BytesIO

import httpx
import pytest
from pydicom import dcmread, uid

from service.errors import EclipError, PeerRefused, SettingInvalid
from service.pacs.address import parse_address
from service.pacs.archive import Instance, ListedStudy, Wanted
from service.pacs.node.archive import open_node_archive
from service.pacs.node.destination import open_node_destination
from service.pacs_settings import PacsSettings
from tests.support.archive import JPEG_XLS, SYNTAXES, archived
from tests.support.dicom_nodes import nothing_left, run_dcmqrscp
from tests.support.orthanc import free_port, run_orthanc
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow
PIXELS = radiograph(60, 50, 12)
UNKNOWN_TO_ORTHANC = {uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, *JPEG_XLS}
"""Syntaxes that Orthanc 1.10 stores, and does not send by C-STORE."""
SETTINGS = PacsSettings()
UTF_8 = "ISO_IR 192"


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with nothing_left():
        yield


@pytest.fixture(scope="module")
def move_port():
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, move_port):
    """Holds a study of each transfer syntax, one of two series, and one without a date."""
    with run_orthanc(
        tmp_path_factory.mktemp("orthanc"),
        DicomModalities={"eclip": ["ECLIP", "127.0.0.1", move_port]},
    ) as running:
        running.put(*(of_study(f"1.2.{i}", syntax) for i, syntax in enumerate(SYNTAXES)))
        running.put(
            of_study("1.9", series="1.9.1", ViewPosition="PA", BodyPartExamined="CHEST"),
            of_study("1.9", series="1.9.1", ViewPosition="LL", BodyPartExamined="CHEST"),
            of_study("1.9", series="1.9.2", Modality="CR", BodyPartExamined="HAND"),
            of_study("1.11", SOPClassUID=uid.EnhancedSRStorage, Modality="SR"),
            of_study("1.10", StudyDate="", PatientName="Müller^Ä", SpecificCharacterSet=UTF_8),
        )  # fmt: skip
        yield running


@pytest.fixture
def archive(orthanc):
    opened = open_node_archive(parse_address(orthanc.node), SETTINGS)
    yield opened
    opened.close()


def of_study(study, syntax=uid.ExplicitVRLittleEndian, *, series=None, **elements):
    return archived(
        syntax,
        PIXELS,
        **{
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series or f"{study}.1",
            "SOPInstanceUID": uid.generate_uid(),
            "StudyDate": "20260110",
            "PatientID": "4711",
            "PatientName": "Roe^Jane",
            "Modality": "DX",
            **elements,
        },
    )


def listed(archive, since=None, **where):
    return {each.study_uid for each in archive.studies(Wanted(where, since))}


def fetched(archive, study):
    return [got for _, got in archive.fetch(study, archive.instances(study))]


def test_all_studies_are_listed_each_once(archive):
    studies = [each.study_uid for each in archive.studies(Wanted())]
    assert sorted(studies) == sorted(
        {*(f"1.2.{i}" for i in range(len(SYNTAXES))), "1.9", "1.10", "1.11"}
    )


def test_a_study_meets_every_attribute_by_one_of_its_values(archive):
    assert listed(archive, ModalitiesInStudy=["CR", "MR"]) == {"1.9"}
    assert listed(archive, ModalitiesInStudy=["CR"], BodyPartExamined=["HAND"]) == {"1.9"}
    assert listed(archive, ModalitiesInStudy=["MR"], BodyPartExamined=["HAND"]) == set()
    assert listed(archive, StudyInstanceUID=["1.2.3", "1.9"], PatientID=["4711", "0815"]) == {
        "1.2.3",
        "1.9",
    }


def test_an_attribute_of_images_is_asked_of_all_of_them(archive):
    assert listed(archive, ViewPosition=["LL"], StudyInstanceUID=["1.9"]) == {"1.9"}
    assert listed(archive, ViewPosition=["AP"], StudyInstanceUID=["1.9"]) == set()


def test_since_leaves_out_earlier_studies_and_those_without_a_date(archive):
    assert "1.10" not in listed(archive, date(2026, 1, 10))
    assert "1.9" in listed(archive, date(2026, 1, 10))
    assert listed(archive, date(2026, 1, 11)) == set()


def test_a_name_with_umlauts_is_found(archive):
    assert listed(archive, PatientName=["Müller*"]) == {"1.10"}


def test_a_keyword_that_dicom_does_not_have_is_an_error(archive):
    with pytest.raises(SettingInvalid, match="keyword"):
        listed(archive, Modalities=["CR"])


def test_the_objects_of_a_study_are_listed_with_class_and_modality(archive):
    found = archive.instances(ListedStudy("1.9"))
    assert sorted(each.modality for each in found) == ["CR", "DX", "DX"]
    assert {each.series_uid for each in found} == {"1.9.1", "1.9.2"}
    assert {each.sop_class for each in found} == {uid.ComputedRadiographyImageStorage}


def test_a_study_that_the_node_does_not_have_has_no_objects(archive):
    assert archive.instances(ListedStudy("1.77")) == []


@pytest.mark.parametrize("number", range(len(SYNTAXES)), ids=lambda i: uid.UID(SYNTAXES[i]).name)
def test_orthanc_gives_each_object_as_it_is_stored(archive, orthanc, number):
    (file,) = fetched(archive, ListedStudy(f"1.2.{number}"))
    if SYNTAXES[number] in UNKNOWN_TO_ORTHANC:
        assert isinstance(file, EclipError)
        return
    assert dcmread(BytesIO(file)).file_meta.TransferSyntaxUID == SYNTAXES[number]
    held = dcmread(BytesIO(file_of(orthanc, f"1.2.{number}")))
    assert dcmread(BytesIO(file)) == held


def file_of(orthanc, study):
    (found,) = httpx.post(
        f"{orthanc.url}/tools/find",
        json={"Level": "Instance", "Query": {"StudyInstanceUID": study}},
    ).json()
    return httpx.get(f"{orthanc.url}/instances/{found}/file").content


def test_an_object_that_is_gone_is_an_error_and_the_others_follow(archive):
    study = ListedStudy("1.9")
    first, *others = archive.instances(study)
    gone = Instance(first.series_uid, "1.2.3.4.5", first.sop_class, first.modality)
    results = dict(archive.fetch(study, [first, gone, *others]))
    assert isinstance(results.pop(gone), PeerRefused)
    assert len(results) == 3
    assert all(isinstance(each, bytes) for each in results.values())


def test_a_structured_report_is_fetched(archive):
    (file,) = fetched(archive, ListedStudy("1.11"))
    assert dcmread(BytesIO(file)).file_meta.MediaStorageSOPClassUID == uid.EnhancedSRStorage


def test_an_object_of_unknown_class_is_fetched_all_the_same(archive):
    study = ListedStudy("1.9")
    unnamed = [
        Instance(each.series_uid, each.instance_uid, "", each.modality)
        for each in archive.instances(study)
    ]
    assert all(isinstance(got, bytes) for _, got in archive.fetch(study, unnamed))
    report = Instance("1.11.1", archive.instances(ListedStudy("1.11"))[0].instance_uid, "", "SR")
    ((_, got),) = archive.fetch(ListedStudy("1.11"), [report])
    assert isinstance(got, bytes)


def test_leaving_a_fetch_early_ends_its_association(archive):
    study = ListedStudy("1.9")
    fetching = archive.fetch(study, archive.instances(study))
    assert isinstance(next(fetching)[1], bytes)
    fetching.close()


@pytest.fixture(params=["-xs", "-xv"])
def dcmqrscp(request, tmp_path, move_port):
    """Holds a radiograph as it is, and one in the compressed syntax that the node sends."""
    option, compressed = request.param, {"-xs": uid.JPEGLosslessSV1, "-xv": uid.JPEG2000Lossless}
    syntaxes = [uid.ExplicitVRLittleEndian, compressed[option]]
    with run_dcmqrscp(
        tmp_path, option, option.replace("-", "+"), moves_to={"ECLIP": move_port}
    ) as node:
        destination = open_node_destination(node, SETTINGS)
        for number, syntax in enumerate(syntaxes):
            destination.send(of_study(f"1.2.{number}", syntax, SOPInstanceUID=f"1.2.{number}.1.1"))
        destination.close()
        yield node, syntaxes


def test_dcmqrscp_gives_objects_as_they_are_stored_by_c_get(dcmqrscp):
    node, syntaxes = dcmqrscp
    archive = open_node_archive(node, SETTINGS)
    assert syntaxes_of(archive) == syntaxes
    archive.close()


def syntaxes_of(archive):
    studies = sorted(archive.studies(Wanted({"ModalitiesInStudy": ["DX"]})), key=str)
    files = [file for study in studies for file in fetched(archive, study)]
    return [dcmread(BytesIO(file)).file_meta.TransferSyntaxUID for file in files]


def test_objects_come_by_c_move_where_the_node_has_no_c_get(tmp_path, move_port):
    with run_dcmqrscp(tmp_path, "--disable-get", moves_to={"ECLIP": move_port}) as node:
        held(node, of_study("1.2"), of_study("1.2"), of_study("1.3"))
        archive = open_node_archive(node, PacsSettings(listen_port=move_port))
        files = [file for study in archive.studies(Wanted()) for file in fetched(archive, study)]
        archive.close()
    assert sorted(dcmread(BytesIO(file)).StudyInstanceUID for file in files) == [
        "1.2",
        "1.2",
        "1.3",
    ]


def test_orthanc_that_forbids_c_get_sends_objects_as_they_are_stored_by_c_move(tmp_path, move_port):
    ours = {"AET": "ECLIP", "Host": "127.0.0.1", "Port": move_port, "AllowGet": False}
    syntaxes = [each for each in SYNTAXES if each not in UNKNOWN_TO_ORTHANC]
    with run_orthanc(
        tmp_path, DicomAlwaysAllowGet=False, DicomModalities={"eclip": ours}
    ) as orthanc:
        orthanc.put(*(of_study("1.2", each) for each in syntaxes))
        archive = open_node_archive(
            parse_address(orthanc.node), PacsSettings(listen_port=move_port)
        )
        files = fetched(archive, ListedStudy("1.2"))
        archive.close()
    assert {dcmread(BytesIO(file)).file_meta.TransferSyntaxUID for file in files} == set(syntaxes)


def held(node, *files):
    destination = open_node_destination(node, SETTINGS)
    for file in files:
        destination.send(file)
    destination.close()


def test_c_move_without_a_port_is_an_error_that_says_what_to_set(tmp_path):
    with run_dcmqrscp(tmp_path, "--disable-get") as node:
        held(node, of_study("1.2"))
        archive = open_node_archive(node, PacsSettings(listen_port=0))
        with pytest.raises(SettingInvalid, match="ECLIP_LISTEN_PORT"):
            fetched(archive, ListedStudy("1.2"))
        archive.close()


def test_c_move_to_a_node_that_does_not_know_us_is_an_error_that_says_so(tmp_path):
    with run_dcmqrscp(tmp_path, "--disable-get") as node:
        held(node, of_study("1.2"))
        archive = open_node_archive(node, PacsSettings(listen_port=free_port()))
        (error,) = fetched(archive, ListedStudy("1.2"))
        assert isinstance(error, PeerRefused)
        assert "must know ECLIP_AE_TITLE" in error.detail
        archive.close()


def test_a_port_in_use_is_an_error(tmp_path):
    with run_dcmqrscp(tmp_path, "--disable-get") as node:
        held(node, of_study("1.2"))
        archive = open_node_archive(node, PacsSettings(listen_port=node.port))
        with pytest.raises(SettingInvalid, match="no program listens"):
            fetched(archive, ListedStudy("1.2"))
        archive.close()


@pytest.mark.parametrize("limit", ["LimitFindResults", "LimitFindStudies"])
def test_orthanc_that_lists_few_studies_is_asked_for_fewer_days(tmp_path, limit):
    days = [f"202601{day:02}" for day in range(1, 13)]
    with run_orthanc(tmp_path, **{limit: 5}) as orthanc:
        orthanc.put(*(of_study(f"1.{day}", StudyDate=day) for day in days))
        archive = open_node_archive(parse_address(orthanc.node), SETTINGS)
        assert listed(archive) == {f"1.{day}" for day in days}
        archive.close()


def test_orthanc_that_ends_an_idle_association_is_called_again(tmp_path):
    with run_orthanc(tmp_path, DicomScpTimeout=1) as orthanc:
        orthanc.put(*(of_study("1.2") for _ in range(3)))
        archive = open_node_archive(parse_address(orthanc.node), SETTINGS)
        study = ListedStudy("1.2")
        for _, file in archive.fetch(study, archive.instances(study)):
            assert isinstance(file, bytes)
            time.sleep(2)
        archive.close()
        assert orthanc.log.count("Association Received") > 2
