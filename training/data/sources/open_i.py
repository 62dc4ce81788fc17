"""Reads Open-i, the Indiana University chest radiographs (Demner-Fushman et al. 2016).

The collection has two forms; the XML form is read if it is there:

- from openi.nlm.nih.gov: `NLMCXR_reports.tgz`, unpacked to `ecgen-radiology/1.xml` …, and
  `NLMCXR_png.tgz`, unpacked into `images/`;
- as tables: `indiana_reports.csv` or `reports.csv` with uid, MeSH, Problems, indication,
  comparison, findings and impression; and, for the images, `indiana_projections.csv` (uid,
  filename, projection) next to `images/images_normalized/`.

The collection names no patients, so each report counts as one patient. Words that
de-identification removed read XXXX.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from training.data.labels import NO_FINDING
from training.data.report import titled
from training.data.sources.table import present, rows
from training.data.study import DataError, ManifestStudy, Skipped

SOURCE = "open_i"
XML = "ecgen-radiology"
PROJECTIONS = "indiana_projections.csv"
REPORT_COLUMNS = ("uid", "Problems", "findings", "impression")
_NAMES = {"normal": NO_FINDING}
_NOT_INDEXED = ("", "no indexing")


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each report, without images if none of its frontal ones is there.

    Findings are the headings of the collection's MeSH coding, None if nobody coded the report. The
    XML form states no view, so all its images are taken, in its order.
    """
    return _from_xml(root) if (root / XML).is_dir() else _from_tables(root)


def _from_xml(root: Path) -> Iterator[ManifestStudy | Skipped]:
    for path in sorted((root / XML).glob("*.xml"), key=lambda path: (len(path.name), path.name)):
        try:
            report = ElementTree.parse(path).getroot()  # noqa: S314 — a file that NLM published
        except ElementTree.ParseError as error:
            raise DataError(f"cannot read {path.name} as XML: {error}; unpack it again") from error
        sections = {
            part.get("Label", "").lower(): part.text or "" for part in report.iter("AbstractText")
        }
        images = (f"images/{image.get('id')}.png" for image in report.iter("parentImage"))
        problems = ((major.text or "").split("/")[0] for major in report.iter("major"))
        yield _study(
            uid=path.stem,
            findings=sections.get("findings", ""),
            impression=sections.get("impression", ""),
            problems=problems,
            images=tuple(image for image in images if (root / image).is_file()),
            view=None,
        )


def _from_tables(root: Path) -> Iterator[ManifestStudy | Skipped]:
    images = _frontal(root)
    for row in rows(present(root, "indiana_reports.csv", "reports.csv"), REPORT_COLUMNS):
        uid = row.identifier("uid")
        frontal = tuple(image for image in images[uid] if (root / image).is_file())
        yield _study(
            uid=uid,
            findings=row["findings"],
            impression=row["impression"],
            problems=row["Problems"].split(";"),
            images=frontal,
            view="frontal" if frontal else None,
        )


def _study(
    uid: str,
    findings: str,
    impression: str,
    problems: Iterable[str],
    images: tuple[str, ...],
    view: str | None,
) -> ManifestStudy | Skipped:
    report = titled(findings, impression)
    if not report:
        return Skipped("empty report")
    return ManifestStudy(
        study_id=uid,
        patient_id=uid,
        source=SOURCE,
        images=images,
        report=report,
        view=view,
        findings=_findings(problems) or None,
    )


def _findings(problems: Iterable[str]) -> tuple[str, ...]:
    names = (" ".join(problem.lower().split()) for problem in problems)
    return tuple(dict.fromkeys(_NAMES.get(n, n) for n in names if n not in _NOT_INDEXED))


def _frontal(root: Path) -> dict[str, list[str]]:
    """Returns {uid: frontal images}; {} without the table of projections."""
    images: dict[str, list[str]] = defaultdict(list)
    if (root / PROJECTIONS).is_file():
        for row in rows(root / PROJECTIONS, ("uid", "filename", "projection")):
            if row["projection"].lower() == "frontal":
                image = f"images/images_normalized/{row.required('filename')}"
                images[row.identifier("uid")].append(image)
    return images
