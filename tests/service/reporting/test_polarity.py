import pytest

from service.reporting.polarity import normalise, polarity


@pytest.mark.parametrize(
    "sentence",
    [
        "No pneumothorax.",
        "There is no evidence of pleural effusion.",
        "The lungs are clear.",
        "Heart size is within normal limits.",
        "Lungs are free of focal airspace disease.",
        "The effusion has resolved.",
        "Negative for pneumonia.",
        "The bony thorax is unremarkable.",
        "Without focal consolidation.",
        "Right shoulder negative.",
        "Negative chest.",
    ],
)
def test_a_denial_is_heard(sentence):
    assert polarity(sentence) == "denied"


@pytest.mark.parametrize(
    "sentence",
    [
        "Small left pleural effusion.",
        "No significant change in the left effusion.",
        "No interval change in cardiomegaly.",
        "Pneumonia cannot be excluded.",
        "Abnormal left hilum.",
        "The left base is not clear.",
        "Moderate pneumothorax is seen.",
        "A nodule projects over the normally aerated lung.",
        "The effusion has not resolved.",
        "The effusion has nearly resolved.",
        "Pneumothorax cannot be entirely ruled out.",
    ],
)
def test_an_affirmation_is_heard(sentence):
    assert polarity(sentence) == "affirmed"


@pytest.mark.parametrize(
    "sentence", ["No normal lung.", "No effusion is not seen.", "Heart is normal lungs are clear."]
)
def test_two_cues_that_may_cancel_are_unclear(sentence):
    assert polarity(sentence) == "unclear"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece",
    ["no ", "no significantly ", "not really ", "no change, or ", "no change in a, ", "no a"],
)
def test_long_text_is_normalised_in_time(piece):
    assert normalise(piece * 5000) is not None


@pytest.mark.parametrize(
    "sentence", ["Pneumothorax can't be excluded.", "A non-calcified nodule; no change", "No left-"]
)
def test_normalise_words_stay_as_they_are(sentence):
    assert normalise(normalise(sentence)) == normalise(sentence)
