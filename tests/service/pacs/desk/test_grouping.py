"""Received objects are grouped into studies, which are read once nothing new came for a while."""

from service.pacs.desk.grouping import Groups


def groups(*objects, quiet_s=10):
    """Objects: (name, study, instance, second of arrival)."""
    made = Groups(quiet_s)
    for name, study, instance, now in objects:
        made.add(name, study, instance, now)
    return made


def test_a_study_is_due_once_nothing_new_came_for_the_quiet_time():
    made = groups(("a", "s", "1", 0), ("b", "s", "2", 6))
    assert made.wait_s(6) == 10
    assert made.take(15.9) is None
    group = made.take(16)
    assert (group.study_uid, group.names) == ("s", ["a", "b"])
    assert made.take(16) is None


def test_a_study_whose_objects_never_end_is_read_all_the_same():
    made = groups(*((str(second), "s", str(second), second) for second in range(0, 300, 5)))
    assert made.take(199) is None
    assert made.take(200) is not None


def test_the_study_that_has_been_due_longest_comes_first():
    made = groups(("a", "late", "1", 5), ("b", "early", "2", 0))
    assert [made.take(60).study_uid for _ in range(2)] == ["early", "late"]


def test_an_object_that_comes_twice_counts_once_and_the_last_file_counts():
    group = groups(("a", "s", "1", 0), ("b", "s", "2", 0), ("c", "s", "1", 1)).take(20)
    assert group.latest == {"2": "b", "1": "c"}
    assert group.names == ["a", "b", "c"]


def test_what_comes_for_a_busy_study_is_its_next_group():
    made = groups(("a", "s", "1", 0))
    first = made.take(10)
    made.add("b", "s", "2", 11)
    assert len(made) == 1
    assert made.take(100) is None
    assert made.wait_s(100) is None
    made.done(first)
    assert made.take(100).names == ["b"]


def test_a_study_that_is_tried_again_has_what_came_meanwhile():
    made = groups(("a", "s", "1", 0), ("b", "s", "2", 0))
    first = made.take(10)
    made.add("c", "s", "1", 11)
    made.again(first, now=12, wait_s=5)
    assert made.take(20) is None, "the newest object is not quiet yet"
    again = made.take(21)
    assert again is first
    assert (again.names, again.latest) == (["a", "b", "c"], {"2": "b", "1": "c"})
    made.done(again)
    assert len(made) == 0
