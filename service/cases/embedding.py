"""Embeds accepted studies: their images, reports and passages, through one encoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from service.bundle.manifest import Bundle
from service.cases.records import NewStudy
from service.cases.renditions import RENDITION_SIDE, name_of, to_jpeg
from service.cases.schema import EmbeddedStudy, Image, Passage, Study, Vector
from service.deadline import Deadline
from service.errors import EclipError
from service.imaging.deidentify import PatientRef, StudyRef
from service.inference.encoder import EncodedRadiograph, EncodedText

IMAGES_AT_ONCE = 16
"""Images (and studies) that are decoded and embedded in one call. It bounds the memory held."""


class StudyEncoder(Protocol):
    """What a library asks of an encoder, in this process or on a cluster."""

    bundle: Bundle

    def radiographs(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        """Returns one result per image, with its radiograph reduced to `side` pixels."""

    def texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        """Returns one result per text."""

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises TextInvalid for a text that `texts` would refuse."""


@dataclass(frozen=True, slots=True)
class AcceptedStudy:
    """A checked study that is to be embedded, under its references."""

    reference: StudyRef
    patient: PatientRef | None
    digest: str
    new: NewStudy
    passages: tuple[Passage, ...]
    moment: int | None
    """See `Study.moment`."""

    @property
    def texts(self) -> list[str]:
        """The report and its passages; empty without a report."""
        report = self.new.record.report
        return [report, *(passage.text for passage in self.passages)] if report else []


@dataclass(frozen=True, slots=True)
class IllustratedStudy:
    """An embedded study with its renditions, name → JPEG."""

    embedded: EmbeddedStudy
    renditions: Mapping[str, bytes]


def in_batches(studies: Sequence[AcceptedStudy]) -> Iterator[list[AcceptedStudy]]:
    """Yields batches of at most `IMAGES_AT_ONCE` studies with as many images.

    A study with more images is a batch of its own.
    """
    batch: list[AcceptedStudy] = []
    for study in studies:
        images = sum(len(each.new.images) for each in [*batch, study])
        if batch and (images > IMAGES_AT_ONCE or len(batch) == IMAGES_AT_ONCE):
            yield batch
            batch = []
        batch.append(study)
    if batch:
        yield batch


def embed(
    studies: Sequence[AcceptedStudy], encoder: StudyEncoder, deadline: Deadline
) -> list[IllustratedStudy | EclipError]:
    """Returns one result per study, in order: all images are one call of the encoder, then texts.

    An error of a whole call (queue full, deadline passed) is the error of every study.
    """
    try:
        images = _encode_images(studies, encoder, deadline)
        good = [s for s, views in zip(studies, images, strict=True) if isinstance(views, list)]
        vectors = iter(embed_texts([study.texts for study in good], encoder, deadline))
    except EclipError as error:
        return [error] * len(studies)
    return [
        views if isinstance(views, EclipError) else _illustrated(study, views, next(vectors))
        for study, views in zip(studies, images, strict=True)
    ]


def embed_texts(
    groups: Sequence[Sequence[str]], encoder: StudyEncoder, deadline: Deadline
) -> list[list[Vector]]:
    """Returns the vectors of each group's texts. All texts are one call of the encoder.

    A bundle that encodes no texts gives none: such texts are found by their words alone.
    """
    if not encoder.bundle.manifest.has_text:
        return [[] for _ in groups]
    texts = [text for group in groups for text in group]
    encoded = iter(encoder.texts(texts, deadline) if texts else ())
    return [[text.vector for text in islice(encoded, len(group))] for group in groups]


def _encode_images(
    studies: Sequence[AcceptedStudy], encoder: StudyEncoder, deadline: Deadline
) -> list[list[EncodedRadiograph] | EclipError]:
    """Returns each study's encoded images, or the error of its first bad image."""
    images = [image for study in studies for image in study.new.images]
    encoded = iter(encoder.radiographs(images, deadline, RENDITION_SIDE) if images else ())
    return [_all_or_first_error(list(islice(encoded, len(s.new.images)))) for s in studies]


def _all_or_first_error(
    images: Sequence[EncodedRadiograph | EclipError],
) -> list[EncodedRadiograph] | EclipError:
    for image in images:
        if isinstance(image, EclipError):
            return image
    return [image for image in images if isinstance(image, EncodedRadiograph)]


def _illustrated(
    study: AcceptedStudy, encoded: Sequence[EncodedRadiograph], texts: Sequence[Vector]
) -> IllustratedStudy:
    record, views = study.new.record, study.new.views or (None,) * len(encoded)
    jpegs = [to_jpeg(image.radiograph) for image in encoded]
    names = [name_of(study.reference, jpeg) for jpeg in jpegs]
    stored = Study(
        study_id=study.reference,
        patient_id=study.patient,
        source=record.source,
        digest=study.digest,
        report=record.report,
        passages=study.passages,
        images=tuple(
            Image(rendition=name, view=view or image.radiograph.view or record.view)
            for name, image, view in zip(names, encoded, views, strict=True)
        ),
        findings=tuple(record.findings),
        metadata=record.metadata,
        moment=study.moment,
    )
    embedded = EmbeddedStudy(
        study=stored,
        image_vectors=tuple(image.vector for image in encoded),
        report_vector=texts[0] if texts else None,
        passage_vectors=tuple(texts[1:]),
    )
    return IllustratedStudy(embedded, dict(zip(names, jpegs, strict=True)))
