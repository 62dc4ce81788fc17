"""Writes the report of a phantom, and the prompts that ask for a finding in its words."""

import numpy as np

from training.data.phantom.findings import GLOBAL, LABELS, ZONES, PhantomFinding, possible_zones

_SIZES = {"mild": "small", "moderate": "moderate", "severe": "large"}
_NODULE_SIZES = {"mild": "small", "moderate": "medium-sized", "severe": "large"}
_DEGREES = {"mild": "mild", "moderate": "moderate", "severe": "severe"}
_WORDS_OF_DEGREE = {
    "nodule": _NODULE_SIZES,
    "pleural effusion": _SIZES,
    "pneumothorax": _SIZES,
}

_OBSERVATIONS: dict[str, tuple[str, ...]] = {
    "atelectasis": (
        "There is {degree} plate-like atelectasis in the {zone}.",
        "Linear bands of {degree} atelectasis cross the {zone}.",
        "{Degree} subsegmental atelectasis is seen in the {zone}.",
        "Streaky opacities in the {zone} represent {degree} atelectasis.",
    ),
    "cardiomegaly": (
        "There is {degree} cardiomegaly.",
        "The cardiac silhouette is enlarged, in keeping with {degree} cardiomegaly.",
        "{Degree} cardiomegaly is present.",
        "The heart is enlarged with {degree} cardiomegaly.",
    ),
    "consolidation": (
        "There is {degree} consolidation in the {zone}.",
        "{Degree} airspace consolidation is seen in the {zone}.",
        "A patchy opacity with air bronchograms in the {zone} represents {degree} consolidation.",
        "The {zone} shows {degree} focal consolidation.",
    ),
    "fibrosis": (
        "There is {degree} interstitial fibrosis in the {zone}.",
        "Coarse reticular opacities in the {zone} indicate {degree} fibrosis.",
        "{Degree} fibrosis with a reticular pattern is seen in the {zone}.",
        "The {zone} shows {degree} reticular fibrosis.",
    ),
    "nodule": (
        "There is a {degree} nodule in the {zone}.",
        "A {degree} round nodule projects over the {zone}.",
        "A well-circumscribed {degree} nodule is seen in the {zone}.",
        "The {zone} contains a {degree} pulmonary nodule.",
    ),
    "pleural effusion": (
        "There is a {degree} {side} pleural effusion.",
        "A {degree} {side} pleural effusion blunts the costophrenic angle.",
        "{Degree} pleural effusion is present in the {zone}.",
        "A {degree} pleural effusion layers at the {side} base.",
    ),
    "pneumothorax": (
        "There is a {degree} {side} apical pneumothorax.",
        "A {degree} pneumothorax is seen in the {zone}.",
        "A visceral pleural line in the {zone} marks a {degree} pneumothorax.",
        "{Degree} {side} pneumothorax is present at the apex.",
    ),
    "pulmonary edema": (
        "There is {degree} pulmonary edema.",
        "Bilateral perihilar haze is consistent with {degree} pulmonary edema.",
        "{Degree} pulmonary edema with vascular congestion is present.",
        "Hazy perihilar opacities and septal lines indicate {degree} pulmonary edema.",
    ),
}

_CONCLUSIONS = {
    "atelectasis": "{degree} {zone} atelectasis",
    "cardiomegaly": "{degree} cardiomegaly",
    "consolidation": "{degree} {zone} consolidation",
    "fibrosis": "{degree} {zone} fibrosis",
    "nodule": "{degree} {zone} nodule",
    "pleural effusion": "{degree} {side} pleural effusion",
    "pneumothorax": "{degree} {side} pneumothorax",
    "pulmonary edema": "{degree} pulmonary edema",
}

_NEGATED = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "consolidation": "focal consolidation",
    "fibrosis": "interstitial fibrosis",
    "nodule": "pulmonary nodule",
    "pleural effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
    "pulmonary edema": "pulmonary edema",
}
_NEGATIONS = ("No {noun}.", "There is no {noun}.", "No evidence of {noun}.", "No {noun} is seen.")

_ZONE_NOUNS = ("lung zone", "zone", "lung")

_OPENINGS = (
    "Single frontal view of the chest.",
    "PA radiograph of the chest.",
    "The lungs are adequately inflated.",
    "The trachea is midline.",
)
_UNREMARKABLE = (
    "The mediastinal contours are within normal limits.",
    "The osseous structures are intact.",
    "The visualized upper abdomen is unremarkable.",
    "The bony thorax is unremarkable.",
)
_CLEAR = (
    "The lungs are clear.",
    "The lungs are clear bilaterally.",
    "Both lungs are well aerated without focal abnormality.",
)
_NO_DISEASE = (
    "No acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "No acute cardiopulmonary abnormality.",
    "No radiographic evidence of acute disease.",
)


def write_report(rng: np.random.Generator, findings: tuple[PhantomFinding, ...]) -> str:
    """Writes FINDINGS (boilerplate, observations, negations) and an IMPRESSION."""
    sentences = [_pick(rng, _OPENINGS)] if rng.random() < 0.6 else []
    sentences += [_observation(rng, finding) for finding in findings] or [_pick(rng, _CLEAR)]
    sentences += _negations(rng, {finding.label for finding in findings})
    if rng.random() < 0.6:
        sentences.append(_pick(rng, _UNREMARKABLE))
    impression = _impression(findings) if findings else _pick(rng, _NO_DISEASE)
    return f"FINDINGS: {' '.join(sentences)} IMPRESSION: {impression}"


def _pick(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    return phrases[rng.integers(len(phrases))]


def _observation(rng: np.random.Generator, finding: PhantomFinding) -> str:
    return _say(_pick(rng, _OBSERVATIONS[finding.label]), finding, _pick(rng, _ZONE_NOUNS))


def _say(template: str, finding: PhantomFinding, noun: str) -> str:
    """Fills a template with the finding's degree, side and zone."""
    degree = _WORDS_OF_DEGREE.get(finding.label, _DEGREES)[finding.severity]
    zone = finding.zone or ""
    return template.format(
        degree=degree,
        Degree=degree.capitalize(),
        side=zone.partition(" ")[0],
        zone=f"{zone} {noun}",
    )


def _negations(rng: np.random.Generator, present: set[str]) -> list[str]:
    """Denies one to four absent findings in one or two sentences."""
    absent = [label for label in LABELS if label not in present]
    denied = [_NEGATED[str(label)] for label in rng.permutation(absent)[: rng.integers(1, 5)]]
    together = len(denied) if len(denied) < 4 else 2
    groups = [denied[:together], denied[together:]]
    return [_deny(rng, group) for group in groups if group]


def _deny(rng: np.random.Generator, nouns: list[str]) -> str:
    listed = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} or {nouns[-1]}"
    return _pick(rng, _NEGATIONS).format(noun=listed)


def _impression(findings: tuple[PhantomFinding, ...]) -> str:
    phrases = [_say(_CONCLUSIONS[finding.label], finding, "lung") for finding in findings]
    text = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def _present_prompts(label: str) -> list[str]:
    """Returns every observation of a moderate finding in every zone where it can be."""
    zones = (None,) if label in GLOBAL else possible_zones(label, list(ZONES))
    return list(
        dict.fromkeys(
            _say(template, PhantomFinding(label, "moderate", zone, 0.0, 0.0, 0.0, 0.0), "lung zone")
            for template in _OBSERVATIONS[label]
            for zone in zones
        )
    )


PROMPTS: dict[str, dict[str, list[str]]] = {
    label: {
        "present": _present_prompts(label),
        "absent": [template.format(noun=_NEGATED[label]) for template in _NEGATIONS],
    }
    for label in LABELS
}
"""Label → sentences that affirm it and sentences that deny it."""
