import pytest

from training.data.sources.table import present, rows
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
