from service.cases.passages import split_report


def test_passages_are_sentences_with_their_sections():
    passages = split_report("HISTORY: Cough. FINDINGS: Clear. Heart normal.", "stu_1")
    assert [(passage.section, passage.text) for passage in passages] == [
        ("history", "Cough."),
        ("findings", "Clear."),
        ("findings", "Heart normal."),
    ]


def test_ids_name_the_study_section_and_place():
    first, second = split_report("FINDINGS: One. IMPRESSION: Two.", "stu_1")
    assert (first.id, second.id) == ("stu_1/findings/0", "stu_1/impression/1")


def test_a_report_without_words_has_no_passages():
    assert split_report(" . \n", "stu_1") == ()
