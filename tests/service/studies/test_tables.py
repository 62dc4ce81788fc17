import codecs
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import SourceUnreadable
from service.studies.line import StudyLine
from service.studies.sources import open_studies


def studies(path):
    """place → study's id or what is wrong with it; the count must be right."""
    opened = open_studies(path)
    found = list(opened.found)
    assert opened.count == len(found)
    return {
        f.place: f.study.study_id if isinstance(f.study, StudyLine) else f.study.detail
        for f in found
    }


@pytest.mark.parametrize(
    "data",
    [
        b'{"study_id": "a"}\n{"study_id": "b"}\n',
        b'{"study_id": "a"}\n{"study_id": "b"}',
        b'{"study_id": "a"}\r\n{"study_id": "b"}\r\n',
        b'\xef\xbb\xbf{"study_id": "a"}\n\xef\xbb\xbf{"study_id": "b"}\n',
        b'\n \n{"study_id": "a"}\n\n\t\r\n{"study_id": "b"}\n\n',
        b'{"study_id": "a", "report": "x\\u2028y"}\n{"study_id": "b", "report": "\xe2\x80\xa8"}\n',
    ],
    ids=["plain", "no last newline", "CRLF", "marks of joined files", "blank lines", "U+2028"],
)
def test_byte_order_marks_and_blank_lines_are_no_studies(tmp_path, data):
    (tmp_path / "s.jsonl").write_bytes(data)
    assert list(studies(tmp_path / "s.jsonl").values()) == ["a", "b"]


def test_a_bad_line_keeps_its_number_and_harms_no_other(tmp_path):
    lines = b'\n{"study_id": "a"}\n{oops\n{"study_id": "\xf6"}\n{"study_id": "b"}\n'
    (tmp_path / "s.ndjson").write_bytes(lines)
    found = studies(tmp_path / "s.ndjson")
    assert list(found) == ["line 2", "line 3", "line 4", "line 5"]
    assert (found["line 2"], found["line 5"]) == ("a", "b")
    assert "not UTF-8" in found["line 4"]


@pytest.mark.parametrize(
    "text",
    [
        "study_id,report\na,Clear.\nb,\n",
        "study_id;report\na;Clear.\nb;\n",
        "study_id\treport\na\tClear.\nb\t\n",
        "\n\nstudy_id,report\n\na,Clear.\n,\n  , \nb\n",
        'Study ID , "report"\n a, "Clear, with a comma."\nb,\n',
        ",study_id,report,\n0,a,Clear.,\n1,b,,\n",
        "Unnamed: 0,study_id,report\n0,a,Clear.\n1,b,\n",
        '"study_id"\r\na\r\nb\r\n',
        "STUDY-ID|report\na|Clear.\nb|\n",
        'study_id,report\na,"Two\nlines"\nb,\n',
        'sep=;\nstudy_id;report\na;"1, 2"\nb;\n',
        "sep=\t\r\nstudy_id\treport\r\na\tClear.\r\nb\t\r\n",
        'study_id,report\na,"sep=;\n;;a ""b"", c;"\nb,\n',
    ],
    ids=[
        "commas",
        "semicolons",
        "tabs",
        "blank rows",
        "blanks",
        "index and a last comma",
        "index that was read again",
        "one column",
        "bars",
        "lines in a cell",
        "Excel's own line",
        "Excel's own line with a tab",
        "all signs in a cell",
    ],
)
def test_a_table_is_read_however_it_was_saved(tmp_path, text):
    for name in ("s.csv", "s.TSV"):
        (tmp_path / name).write_text(text, encoding="utf-8-sig", newline="")
        assert list(studies(tmp_path / name).values()) == ["a", "b"]


def test_a_whole_number_of_pandas_is_an_id_without_decimals(tmp_path):
    (tmp_path / "s.csv").write_text("study_id,patient_id,report\n7.0,12.0,5.0\n1.2.0,p,x\n")
    first, uid = (found.study for found in open_studies(tmp_path / "s.csv").found)
    assert (first.study_id, first.patient_id, first.report) == ("7", "12", "5.0")
    assert uid.study_id == "1.2.0"


def test_a_row_that_is_not_utf_8_harms_no_other(tmp_path):
    table = "study_id,report\na,Clear.\nb,Größer.\nc,Clear.\n"
    (tmp_path / "s.csv").write_bytes(table.encode("cp1252"))
    found = studies(tmp_path / "s.csv")
    assert (found["row 2"], found["row 4"]) == ("a", "c")
    assert found["row 3"].startswith("report: The text is not UTF-8")


def test_a_quote_that_never_ends_is_refused_and_ends_no_run(tmp_path):
    rows = "".join(f"s{number},Clear.\n" for number in range(20_000))
    (tmp_path / "s.csv").write_text(f'study_id,report\na,Clear.\nb,"{rows}')
    found = list(studies(tmp_path / "s.csv").values())
    assert found[0] == "a"
    assert "quotes" in found[1]


@pytest.mark.parametrize("name", ["s.jsonl", "s.csv"])
@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_utf_16_is_refused_in_words(tmp_path, name, mark):
    (tmp_path / name).write_bytes(mark + "study_id".encode("utf-16-le"))
    with pytest.raises(SourceUnreadable, match="UTF-16"):
        open_studies(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "column `study_id`"),
        ("a,b", "column `study_id`"),
        ("study_id,report,Report", "two columns report"),
        ("study_id,Study ID", "two columns study_id"),
    ],
)
def test_a_table_without_an_id_or_with_a_column_twice_is_refused(tmp_path, header, reason):
    (tmp_path / "s.csv").write_text(f"{header}\nx,y,z\n")
    with pytest.raises(SourceUnreadable, match=reason):
        open_studies(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"study_id": pa.array([1, 2])}, ["1", "2"]),
        ({"study_id": pa.array([1.0, 2.0])}, ["1", "2"]),
        ({"study_id": pa.array([1, 2], pa.uint8())}, ["1", "2"]),
        ({"study_id": pa.array([b"a", b" b"]), "images": [b"x.png;y.png", b""]}, ["a", "b"]),
        ({"study_id": pa.array([Decimal("70"), Decimal(10**20)])}, ["70", "1" + 20 * "0"]),
        ({"study_id": pa.array(["a", "b"], pa.string_view())}, ["a", "b"]),
        ({"study_id": ["a", "b"], "view": pa.nulls(2)}, ["a", "b"]),
        ({"report": ["x", "y"], "study_id": ["a", "b"]}, ["a", "b"]),
        ({"study_id": ["a", "b"], "__index_level_0__": [5, 6]}, ["a", "b"]),
        ({"study_id": ["a", "b"], "metadata": [{"age": 1, "site": None}, None]}, ["a", "b"]),
        (
            {
                "study_id": ["a", "b"],
                "metadata": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
            },
            ["a", "b"],
        ),
        ({"study_id": ["a", "b"], "images": [["x.png"], None]}, ["a", "b"]),
    ],
)
def test_a_parquet_file_is_read_whatever_its_types(tmp_path, columns, expected):
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    assert list(studies(tmp_path / "s.parquet").values()) == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.5, float("nan")], "study_id: the number was rounded"),
        ([Decimal("7.5")], "study_id: the number was rounded"),
        ([b"a/../b"], "study_id: An id must have"),
        ([b"nan"], "study_id: the text stands for a missing value"),
        ([b"\xff"], "study_id: the text is not UTF-8"),
        ([True, False], "study_id: Input should be a valid string"),
        ([None, None], "study_id: Field required"),
    ],
)
def test_a_parquet_value_that_is_no_id_is_refused(tmp_path, values, reason):
    pq.write_table(pa.table({"study_id": pa.array(values)}), tmp_path / "s.parquet")
    assert all(reason in found for found in studies(tmp_path / "s.parquet").values())
