import gzip
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.sources.table import Row, present, rows
from training.data.study import DataError


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_is_read_plain_or_gzipped(write, name):
    root = write({name: [{"a": "1", "b": "x,\ny"}]})
    assert list(rows(root / "t.csv", ["a"])) == [{"a": "1", "b": "x,\ny"}]


def test_the_plain_table_comes_first(write):
    root = write({"t.csv": [{"a": "plain"}], "t.csv.gz": [{"a": "zipped"}]})
    assert list(rows(root / "t.csv", ["a"])) == [{"a": "plain"}]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffa\n1\n".encode())
    assert list(rows(tmp_path / "t.csv", ["a"])) == [{"a": "1"}]


def test_columns_that_are_missing_are_named(write):
    root = write({"t.csv": [{"a": "1"}]})
    with pytest.raises(DataError, match=r"t\.csv has no column b, c"):
        list(rows(root / "t.csv", ["c", "a", "b"]))


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t\.csv"):
        list(rows(tmp_path / "t.csv", []))


def test_the_first_name_that_is_there_is_taken(write):
    root = write({"old.csv": "", "older.csv": ""})
    assert present(root, "new.csv", "old.csv", "older.csv") == root / "old.csv"
    with pytest.raises(FileNotFoundError, match=r"none of new\.csv, newer\.csv"):
        present(root, "new.csv", "newer.csv")


def read(path, text, columns=("id", "Age")):
    (path / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return list(rows(path / "t.csv", columns))


@pytest.mark.parametrize(
    "text",
    [
        "id,Age\n1,68\n",
        "\ufeffid,Age\r\n1,68\r\n",
        "ID, age \n 1 ,68\xa0\n",
        "Age,id\n68,1\n",
        "id;Age\n1;68\n",
        "id\tAge\n1\t68\n",
        '"id","Age"\n"1","68"\n',
        ",id,Age,Note\n0,1,68,\n",
        "id,Age,\n1,68,,,\n",
        "id,Age\n\n,,\n1,68\nnan,NaN\n\n",
    ],
    ids=[
        "as published",
        "byte order mark and CRLF",
        "case and blanks",
        "another order",
        "semicolons",
        "tabs",
        "quoted",
        "columns of pandas' index and another",
        "trailing commas",
        "blank rows",
    ],
)
def test_a_table_that_was_saved_again_holds_the_same(tmp_path, text):
    (row,) = read(tmp_path, text)
    assert (row["id"], row["Age"]) == ("1", "68")


@pytest.mark.parametrize(
    "cell", ["", " ", "nan", "NaN", "NA", "N/A", "#N/A", "<NA>", "None", "null"]
)
def test_what_stands_for_no_value_is_blank(tmp_path, cell):
    (row,) = read(tmp_path, f"id,Age\n1,{cell}\n")
    assert row["Age"] == ""
    assert row.figure("Age") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv is empty"),
        ("\n", "t.csv is empty"),
        ("id\n1\n", "t.csv has no column Age"),
        ("id,Age,age\n1,2,3\n", "t.csv has the column Age twice"),
        ("id,Age\n1,2\n3\n", "t.csv, row 3: it has 1 cells, and the header 2"),
        ("id,Age\n1,2,3\n", "t.csv, row 2: it has 3 cells, and the header 2"),
        ("id,Age\n1,37\n2,37\xb0\n".encode("latin-1"), "t.csv, line 3: the text is not UTF-8"),
        ("id,Age\n1,2\n".encode("utf-16"), "t.csv, line 1: the text is not UTF-8"),
        ("id,Age\n1," + 200_000 * "x", "cannot read t.csv: field larger"),
    ],
)
def test_what_is_no_such_table_is_refused_with_its_place(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize("damage", ["cut short", "not gzip", "latin-1"])
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    whole = gzip.compress(b"id,Age\n" + b"1,2\n" * 5000 + b"x,\xb0\n" * (damage == "latin-1"))
    data = {"cut short": whole[:-9], "not gzip": b"id,Age\n1,2\n", "latin-1": whole}[damage]
    (tmp_path / "t.csv.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        list(rows(tmp_path / "t.csv", ("id",)))


@pytest.mark.parametrize(
    ("cell", "value"),
    [("50414267", "50414267"), ("50414267.0", "50414267"), ("007", "007"), ("a.0", "a.0")],
)
def test_an_id_that_was_saved_as_a_number_is_the_same_id(cell, value):
    assert Row({"id": cell}, "t.csv", 2).identifier("id") == value


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda row: row.identifier("blank"), "column blank: the cell is blank"),
        (lambda row: row.identifier("rounded"), "'5.04E.07' is an id that a spreadsheet"),
        (lambda row: row.figure("word"), "column word: 'x' is not a number"),
        (lambda row: row.figure("endless"), "'inf' is not a finite number"),
        (lambda row: row.least("minus", 0), "'-1' is not a number from 0 up"),
        (lambda row: row.least("blank", 0), "'' is not a number from 0 up"),
        (lambda row: row.choice("word", {"": 0, "a": 1}), "'x' is none of blank, a"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(call, said):
    cells = {"blank": "", "rounded": "5.04E+07", "word": "x", "endless": "inf", "minus": "-1"}
    with pytest.raises(DataError, match=f"t.csv, row 7, .*{said}"):
        call(Row(cells, "t.csv", 7))


@given(st.binary(max_size=60) | st.text('id,Age;"\n\r\t 1\0', max_size=60))
def test_any_bytes_are_a_table_or_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.mkdir(exist_ok=True)
    with suppress(DataError):
        assert all({"id", "Age"} <= row.keys() for row in read(path, content))
