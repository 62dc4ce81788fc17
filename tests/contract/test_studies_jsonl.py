"""studies.jsonl is the second contract: what training writes, `eclip index` takes."""

from dataclasses import replace

import pytest

from service.cases.manifest import ManifestRecord
from training.data.phantom import PhantomConfig, phantom
from training.data.study import Gaze, read_studies, write_studies

DRAWN = phantom(PhantomConfig(size=32), 0)


@pytest.mark.parametrize(
    "study",
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
def test_a_study_that_training_writes_is_one_that_the_service_takes(tmp_path, study):
    path = tmp_path / "studies.jsonl"
    write_studies(path, [study])
    assert list(read_studies(path)) == [study]
    record = ManifestRecord.model_validate_json(path.read_text())
    for name in ("study_id", "patient_id", "source", "report", "view", "metadata"):
        assert getattr(record, name) == getattr(study, name)
    assert tuple(record.images) == study.images
    assert tuple(record.findings or ()) == (study.findings or ())
