import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import manifest as module
from training.data.manifest import SCHEMA, read_manifest, write_manifest
from training.data.study import DataError, Gaze, ManifestStudy, write_studies

BLANKS = {"Zs", "Zl", "Zp", "Cc", "Cs"}
WORDS = st.text(st.characters(exclude_categories=BLANKS), min_size=1, max_size=12)
IDS = st.text("abXY09äß._:-", min_size=1, max_size=12).map("id-{}".format)  # words may be no ids
FRACTIONS = st.floats(0, 1)
DEGREES = st.floats(0, 1, exclude_min=True)


@st.composite
def gazes(draw):
    def each(values):
        return draw(st.lists(values, min_size=fixations, max_size=fixations).map(tuple))

    fixations = draw(st.integers(0, 3))
    interval = st.sampled_from([(0.0, 1.0), (0.25, 0.5), (0.1, 0.30000000000000004)])
    windows = st.tuples(interval, interval).map(lambda w: (w[0][0], w[1][0], w[0][1], w[1][1]))
    return Gaze(
        each(FRACTIONS),
        each(FRACTIONS),
        each(st.floats(0, 1e6)),
        each(st.tuples(DEGREES, DEGREES)) if draw(st.booleans()) else (),
        each(windows) if draw(st.booleans()) else (),
    )


SCALARS = WORDS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
STUDIES = st.builds(
    ManifestStudy,
    study_id=IDS,
    patient_id=IDS,
    source=WORDS,
    images=st.lists(WORDS, max_size=3).map(tuple),
    report=st.just("") | WORDS,
    view=st.none() | WORDS,
    findings=st.none() | st.lists(WORDS, max_size=3).map(tuple),
    gaze=st.lists(gazes(), max_size=3).map(tuple),
    split=st.sampled_from([None, "train", "validation", "test"]),
    metadata=st.dictionaries(WORDS, SCALARS, max_size=3),
)
STUDY = ManifestStudy(
    "s1", "p1", "test", ("s1.png",), "Normal.", gaze=(Gaze((0.5,), (0.5,), (80.0,)),)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("manifest") / "studies.parquet"


@pytest.mark.slow
@given(st.lists(STUDIES, max_size=4, unique_by=lambda study: study.study_id))
def test_a_parquet_manifest_reads_back_what_was_written(path, studies):
    write_manifest(path, studies)
    again = list(read_manifest(path))
    assert again == studies
    for study, copy in zip(studies, again, strict=True):  # 1 == True == 1.0
        types = [type(value) for value in copy.metadata.values()]
        assert types == [type(value) for value in study.metadata.values()]


def test_more_studies_than_a_row_group_are_read_in_order(path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 3)
    studies = [replace(STUDY, study_id=str(number)) for number in range(8)]
    write_manifest(path, iter(studies))
    assert pq.ParquetFile(path).num_row_groups == 3
    assert list(read_manifest(path)) == studies


def test_the_suffix_says_which_form_is_read(tmp_path):
    write_manifest(tmp_path / "studies.parquet", [STUDY])
    write_studies(tmp_path / "studies.jsonl", [STUDY])
    assert list(read_manifest(tmp_path / "studies.parquet")) == [STUDY]
    assert list(read_manifest(tmp_path / "studies.jsonl")) == [STUDY]
    with pytest.raises(DataError, match=r"studies\.xml: .*\.parquet"):
        list(read_manifest(tmp_path / "studies.xml"))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "studies.parquet").write_text('{"study_id": "s1"}')
    with pytest.raises(DataError, match=r"studies\.parquet: Cannot read the file as Parquet"):
        list(read_manifest(tmp_path / "studies.parquet"))


def test_a_parquet_file_without_an_id_or_with_a_strange_column_is_refused(tmp_path):
    strange = {"study_id": ["s1"], "patient_id": ["p1"], "colour": ["red"]}
    for columns, reason in (({"report": ["x"]}, "study_id"), (strange, "row 1: colour")):
        pq.write_table(pa.table(columns), tmp_path / "studies.parquet")
        with pytest.raises(DataError, match=reason):
            list(read_manifest(tmp_path / "studies.parquet"))


def test_unlabelled_and_nothing_found_stay_apart(tmp_path):
    studies = [replace(STUDY, findings=findings) for findings in (None, (), ("edema",))]
    write_manifest(tmp_path / "studies.parquet", studies)
    write_studies(tmp_path / "studies.jsonl", studies)
    for name in ("studies.parquet", "studies.jsonl"):
        assert [study.findings for study in read_manifest(tmp_path / name)] == [
            None,
            (),
            ("edema",),
        ]


def test_a_manifest_of_version_0_1_whose_findings_are_never_null_is_read(tmp_path):
    column = SCHEMA.get_field_index("findings")
    old = SCHEMA.set(column, SCHEMA.field(column).with_nullable(False))
    row = module._row(replace(STUDY, findings=("edema",)))
    pq.write_table(pa.Table.from_pylist([row], old), tmp_path / "studies.parquet")
    assert next(read_manifest(tmp_path / "studies.parquet")).findings == ("edema",)


def test_data_sets_that_give_the_same_ids_can_be_joined(tmp_path):
    joined = [ManifestStudy("1", f"p of {source}", source, ("1.png",), "R.") for source in "ab"]
    write_studies(tmp_path / "studies.jsonl", joined)
    assert list(read_manifest(tmp_path / "studies.jsonl")) == joined


def test_a_row_that_is_no_study_is_refused_with_its_number(tmp_path):
    good = module._row(STUDY)
    bad = good | {"study_id": "s2", "gaze": [good["gaze"][0] | {"x": (math.nan,)}]}
    path = tmp_path / "studies.parquet"
    pq.write_table(pa.Table.from_pylist([good, bad], SCHEMA), path)
    with pytest.raises(
        DataError, match=r"studies\.parquet, row 2: gaze\.0: x and y must be fractions"
    ):
        list(read_manifest(path))


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    def broken():
        yield STUDY
        raise OSError("disk full")

    path = tmp_path / "studies.parquet"
    write_manifest(path, [STUDY])
    with pytest.raises(OSError, match="disk full"):
        write_manifest(path, broken())
    assert list(read_manifest(path)) == [STUDY]
    assert list(tmp_path.iterdir()) == [path]
