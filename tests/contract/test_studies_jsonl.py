"""A study line is the second contract: service and training read the same study from it.

One row is written in every form that a row can have, and read by both programs.
"""

import csv
import io
import json
import tarfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.cases.records import NewStudy
from service.cases.sources import open_source
from service.errors import SourceUnreadable
from service.studies.fields import MAX_VIEWS
from service.studies.images import place_of_images, read_image
from service.studies.line import StudyLine, study_of_json
from tests.service.imaging.conftest import picture, ramp
from training.data.manifest import read_manifest, write_manifest
from training.data.phantom import PhantomConfig, phantom
from training.data.study import DataError, Gaze, write_studies

PNG = picture(Image.fromarray(ramp()), "PNG")
DRAWN = phantom(PhantomConfig(size=32), 0)
ROW = {"study_id": "s1", "patient_id": "p1", "images": ["a.png"], "report": "Clear."}
GAZE = {"x": [0.5], "y": [0.25], "duration": [80.0], "degree": [], "shown": []}


def study(**fields):
    """The study of ROW, with other values: what both programs must find."""
    absent = {"source": "local", "view": None, "findings": None, "metadata": {}}
    return {"study_id": "s1", "patient_id": "p1", "report": "Clear.", **absent, **fields}


TAKEN = {
    "README's row": (
        {**ROW, "findings": ["nodule"], "view": "PA", "source": "ward"},
        study(findings=("nodule",), view="PA", source="ward"),
    ),
    "no source": (ROW, study()),
    "no report": ({**ROW, "report": None}, study(report="")),
    "nulls everywhere": (
        {**ROW, "source": None, "view": None, "findings": None, "metadata": None, "split": None},
        study(),
    ),
    "blank text": ({**ROW, "source": "", "view": " ", "split": ""}, study()),
    "nothing found": ({**ROW, "findings": []}, study(findings=())),
    "several findings": ({**ROW, "findings": ["Mass", "Edema"]}, study(findings=("Mass", "Edema"))),
    "a number as id": (
        {**ROW, "study_id": 7, "patient_id": 12},
        study(study_id="7", patient_id="12"),
    ),
    "a float as id": (
        {**ROW, "study_id": 50414267.0, "patient_id": 1.0},
        study(study_id="50414267", patient_id="1"),
    ),
    "an id with zeros": ({**ROW, "study_id": "007"}, study(study_id="007")),
    "an id with blanks": ({**ROW, "patient_id": " p1 "}, study()),
    "a year as source": ({**ROW, "source": 2021}, study(source="2021")),
    "a date in the metadata": (
        {**ROW, "metadata": {"taken": "2020-01-31"}},
        study(metadata={"taken": "2020-01-31"}),
    ),
    "scalars in the metadata": (
        {**ROW, "metadata": {"age": 61, "ratio": 0.5, "portable": False}},
        study(metadata={"age": 61, "ratio": 0.5, "portable": False}),
    ),
    "metadata as JSON text": ({**ROW, "metadata": '{"age": 61}'}, study(metadata={"age": 61})),
    "a null in the metadata": (
        {**ROW, "metadata": {"age": None, "site": "A"}},
        study(metadata={"site": "A"}),
    ),
    "lists as JSON text": (
        {**ROW, "images": '["a.png"]', "findings": '["Mass"]'},
        study(findings=("Mass",)),
    ),
    "lists with semicolons": (
        {**ROW, "findings": "Mass; Edema"},
        study(findings=("Mass", "Edema")),
    ),
    "names from a spreadsheet": (
        {"Study ID": "s1", " patient_id ": "p1", "IMAGES": ["a.png"], "Report": "Clear."},
        study(),
    ),
    "the index of pandas": ({"__index_level_0__": 3, **ROW}, study()),
    "the index of pandas in a CSV": ({"Unnamed: 0": 3, **ROW}, study()),
    "gaze and a split": ({**ROW, "gaze": [GAZE], "split": "test"}, study()),
    "umlauts": ({**ROW, "report": "Größer."}, study(report="Größer.")),
}
REFUSED = {
    "an unknown column": ({**ROW, "colour": "red"}, "colour"),
    "an id that a spreadsheet rounded": ({**ROW, "study_id": "5.04E+07"}, "study_id"),
    "an id that a German spreadsheet rounded": ({**ROW, "patient_id": "5,04E+07"}, "patient_id"),
    "the text of a missing value as id": ({**ROW, "patient_id": "nan"}, "patient_id"),
    "a long id": ({**ROW, "study_id": "s" * 257}, "study_id"),
    "a long source": ({**ROW, "source": "x" * 129}, "source"),
    "many findings": ({**ROW, "findings": ["x"] * 65}, "findings"),
    "a list in Python's form": ({**ROW, "findings": "['Mass']"}, "findings"),
    "an unknown split": ({**ROW, "split": "validate"}, "split"),
    "ragged gaze": ({**ROW, "gaze": [{**GAZE, "x": [0.5, 0.6]}]}, "gaze"),
    "nested metadata": ({**ROW, "metadata": {"nested": {"a": 1}}}, "metadata"),
    "metadata that is not JSON": ({**ROW, "metadata": "{"}, "metadata"),
    "much metadata": ({**ROW, "metadata": {str(n): n for n in range(33)}}, "metadata"),
    "a field in two spellings": ({**ROW, "Patient ID": "p2"}, "patient_id"),
}


def jsonl(folder, row):
    path = folder / "studies.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\r\n\r\n\n")
    return path


def table(delimiter):
    def write(folder, row):
        path = folder / "studies.csv"
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([list(row), list(map(cell, row.values())), [""] * len(row)])
        return path

    return write


def cell(value):
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else value


def parquet(change=lambda array: array):
    def write(folder, row):
        arrays = {name: change(pa.array([parquet_value(name, row[name])])) for name in row}
        path = folder / "studies.parquet"
        pq.write_table(pa.table(arrays), path)
        return path

    return write


def parquet_value(name, value):
    """Parquet has no column of mixed scalars: those are JSON text."""
    return json.dumps(value) if name == "metadata" and isinstance(value, dict) else value


def as_pandas(array):
    """large_string in a dictionary, and lists of large_string."""
    if array.type == pa.string():
        return array.cast(pa.large_string()).dictionary_encode()
    return array.cast(pa.large_list(pa.large_string())) if is_texts(array) else array


def as_polars(array):
    """string_view, and large lists of it."""
    if array.type == pa.string():
        return array.cast(pa.string_view())
    return array.cast(pa.large_list(pa.string_view())) if is_texts(array) else array


def is_texts(array):
    return pa.types.is_list(array.type) and array.type.value_type == pa.string()


def tar(folder, row):
    path = folder / "studies.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("./s1.json", json.dumps(row).encode()), ("./s1.front.png", PNG)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


FORMS = {
    "jsonl": jsonl,
    "csv": table(","),
    "csv with semicolons": table(";"),
    "csv with tabs": table("\t"),
    "parquet": parquet(),
    "parquet of pandas": parquet(as_pandas),
    "parquet of polars": parquet(as_polars),
    "tar": tar,
}


def in_the_service(path):
    source = open_source(path)
    (entry,) = source.entries
    assert source.count == 1
    if not isinstance(entry.study, NewStudy):
        return entry.study.detail
    found = entry.study.record.model_dump() | {"study_id": entry.study.study_id}
    assert entry.study.images == (PNG,)
    return found | {"findings": tuple(found["findings"]), "report": found["report"] or ""}


def in_training(path):
    try:
        (found,) = read_manifest(path)
    except DataError as error:
        return str(error)
    assert read_image(place_of_images(path), found.images[0]) == PNG
    return {name: getattr(found, name) for name in study()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", TAKEN)
def test_a_row_is_the_same_study_in_every_form_and_for_both_programs(folder, row, form):
    values, expected = TAKEN[row]
    path = FORMS[form](folder, values)
    assert in_training(path) == expected
    assert in_the_service(path) == expected | {"findings": expected["findings"] or ()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", REFUSED)
def test_a_bad_row_is_refused_in_every_form_with_its_field(folder, row, form):
    values, field = REFUSED[row]
    path = FORMS[form](folder, values)
    try:
        in_service = in_the_service(path)
    except SourceUnreadable as error:  # two columns of one name make a whole table unreadable
        in_service = error.detail
    for reason in (in_service, in_training(path)):
        assert isinstance(reason, str)
        assert field in reason


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"tar"}))  # a tar's key is the id
def test_a_study_without_an_id_is_refused(folder, form):
    path = FORMS[form](folder, {**ROW, "study_id": None})
    for reason in (in_the_service(path), in_training(path)):
        assert "study_id: Field required" in reason


@pytest.mark.parametrize("form", ["jsonl", "parquet", "parquet of polars", "tar"])
@pytest.mark.parametrize("number", [1.5, 2.0**53])
def test_a_number_that_is_not_whole_or_not_exact_is_no_id(folder, form, number):
    path = FORMS[form](folder, {**ROW, "study_id": number})
    for reason in (in_the_service(path), in_training(path)):
        assert "study_id: the number was rounded or is not whole" in reason


def test_as_many_images_as_the_service_takes_are_taken_by_training(folder):
    for images, taken in ((MAX_VIEWS, True), (MAX_VIEWS + 1, False)):
        path = jsonl(folder, {**ROW, "images": ["a.png"] * images})
        assert isinstance(study_of_json(path.read_bytes().strip()), StudyLine) == taken
        if taken:
            assert len(next(iter(read_manifest(path))).images) == MAX_VIEWS
        else:
            with pytest.raises(DataError, match="images"):
                list(read_manifest(path))


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["study_id", "report", "view", "metadata"])
def test_what_is_no_number_is_refused_with_its_field(folder, wrong, field):
    value = f'{{"age": {wrong}}}' if field == "metadata" else wrong
    line = json.dumps({**ROW, field: "HERE"}).replace('"HERE"', value)
    (folder / "studies.jsonl").write_text(line)
    for reason in (in_the_service(folder / "studies.jsonl"), in_training(folder / "studies.jsonl")):
        assert f"{field}" in reason


def test_a_key_that_comes_twice_is_refused_with_its_name(folder):
    path = folder / "studies.jsonl"
    path.write_text(
        '{"study_id": "s1", "patient_id": "p1", "patient_id": "p2", "report": "Clear."}'
    )
    for reason in (in_the_service(path), in_training(path)):
        assert "patient_id: a field comes twice" in reason


@pytest.mark.parametrize(
    "drawn",
    [
        DRAWN.study,
        replace(DRAWN.study, gaze=(DRAWN.gaze, Gaze())),
        replace(DRAWN.study, gaze=(), view=None, findings=(), metadata={}),
        replace(DRAWN.study, findings=None),
        replace(DRAWN.study, images=()),
        replace(DRAWN.study, split="test"),
    ],
    ids=["phantom", "with gaze", "sparse", "unlabelled", "without image", "with split"],
)
def test_a_study_that_training_writes_is_one_that_the_service_takes(tmp_path, drawn):
    write_studies(tmp_path / "studies.jsonl", [drawn])
    write_manifest(tmp_path / "studies.parquet", [drawn])
    assert list(read_manifest(tmp_path / "studies.jsonl")) == [drawn]
    assert list(read_manifest(tmp_path / "studies.parquet")) == [drawn]
    line = study_of_json((tmp_path / "studies.jsonl").read_bytes())
    for name in StudyLine.model_fields:
        assert getattr(line, name) == getattr(drawn, name)
