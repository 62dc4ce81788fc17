"""Lists the phrases that only look like a denial, and a plain word for what each of them means.

NegEx calls them pseudo-negations (Chapman et al. 2001, J Biomed Inform 34:301): "no interval change
in the effusion" says that there is an effusion. The list has NegEx's own and their kin in reports
of radiographs. docs/negation.md shows each rule by an example.
"""

import re

REFUTED = r"ruled out|excluded|unlikely|improbable"
GONE = (
    r"absent|resolved|cleared|disappeared|gone|removed|withdrawn|extracted|negative for"
    r"|(?:free|(?:de)?void) (?:of|from)|clear of|lacking|(?<=\bis )negative|(?<=\bare )negative"
)
NORMAL = (
    r"within normal limits|well aerated|normal|clear|unremarkable|intact"
    r"|(?<!\bis )(?<!\bare )(?<!\bgram )negative(?! (?:for|pressure)\b)"
)
LOSS = r"resolution|absence|lack|disappearance|nonvisuali[sz]ation"

_BETWEEN = (
    r"(?:,? (?:be|been|being|yet|at all|any|much|able to|possible to|appear|seem|to have|to be"
    r"|however|therefore|\w+ly)\b,?)*"
)
"""What may stand between "not" and its word."""
_NOT = rf"\b(?:not|never|no longer){_BETWEEN}"
_UNABLE = rf"\b(?:unable|difficult|impossible|hard|fail(?:s|ed)?) to{_BETWEEN}"
_DUE = rf"\b(?:should|must|could|to){_BETWEEN}"
_PARTLY = (
    r"\b(?:incomplete|partial|near|almost|partly|all but|(?:incomplete|partial|near|large|most)ly)"
    r"(?: (?:complete|total|full|entire)(?:ly)?)?"
)
_EXTENT = (
    r"(?:(?:any|acute|additional|adverse|apparent|appreciable|clear|considerable|continued|convincing|definit(?:e|ive)"
    r"|detectable|discernible|discrete|dramatic|evident|further|great|gross|important|interval"
    r"|large|major|marked|material|meaningful|measurable|net|new|notable|noticeable|obvious|other"
    r"|overall|perceptible|radiographic|radiological|real|relevant|short term|significant|slight"
    r"|substantial|suspicious|true|visible|\w+ly) )*"
)
"""Adjectives of a change. Not any word will do: "no degenerative change" denies a finding."""
_NO = rf"\b(?:no|without) (?:{_EXTENT}(?:evidence|signs?|suggestion|indication) (?:of|for) )*"
_NO_SUCH = rf"{_NO}{_EXTENT}"
_ORGAN = r"heart|cardi|mediastin|hil[aiu]|aort|vess|vascul|arter|atri|ventric|lymph|node|thyroid"
_AS_NOUN = r"(?= (?:of|in|or|nor|and|since|from|compared|is|was|has|to)\b|\W*$|[^\w ])"
_COURSE = (
    rf"(?:increase|growth|progression|worsening{_AS_NOUN}|deterioration|evolution|decrease|reduction"
    rf"|improvement|regression|enlargement(?! of (?:the |any )?(?:\w+ )?(?:{_ORGAN})))s?"
)
"""Ways to change. "No enlargement of the heart" is a denial: it does not presuppose a finding."""
_CHANGE = rf"(?:changes?|differences?|{_COURSE})"
_AT_END = r"(?=(?: (?:is|are) \w+)?(?:$|[.,;]))"
_MOVE = r"(?:increase|enlarge|grow|progress|worsen|decrease|improve|regress)(?:e?d|n)?"
_EARLIER = r"(?:prior|previous|comparison|old|earlier)"
_MOVED = r"(?:(?:increas|progress|worsen|decreas|improv|regress)(?:ed|ing)|enlarging|growing)"
_DID_NOT = rf"\b(?:did|does|do|has|have|had) not{_BETWEEN}"
_LARGER = r"larger|bigger|smaller|worse|better|wider|denser"
_STUDY = r"(?:stud(?:y|ies)|exam\w*|radiographs?|films?|images|imaging|x rays?)"
_ASPECT = (
    r"(?:size|number|extent|position|shape|configuration|appearance|density|distribution|severity)"
)
_MEANING = (
    r"(?:(?:suggest|indicat)(?:ive|ing)(?: of)?|(?:concerning|worrisome|suspicious) for"
    r"|(?:consistent|compatible) with|such as)"
)
_EDGE = r"(?:angles?|sulc(?:us|i)|bas(?:e|es)|ap(?:ex|ices)|portions?)"
_JUDGED = (
    r"(?:evaluated|assessed|imaged|included|characteri[sz]ed|determined|ascertained|established"
    r"|delineated|measured)"
)
_JUDGE = r"(?:evaluate|assess|determine|tell)"
_SEEN = rf"(?:seen|present|noted|visuali[sz]ed|demonstrated|appreciated|identified|{_JUDGED})"
_PLAINLY = (
    r"(?:well|(?:ful|clear|complete|optimal|adequate|entire|definite|reliab|proper|confident)ly)"
)

_SPELLING = {
    r"(?<=\bca)n't\b": "n not",
    r"n't\b|(?<=\bcan)not\b": " not",
    r"\bnon[ -]": "non",
    r"\br/o\b": "rule out",
    r"\bw/o\b": "without",
    r"\be/o\b": "evidence of",
    r"\bs/p\b": "status post",
    r"\bno\. ?(?=\d)": "number ",
    r" -+ (?=(?:none|no|nil|absent|negative)(?: (?:seen|present|identified))?(?:$|[.;,]))": ": ",
    r"(?<=\w)-(?=\w)": " ",
}
_REMARKS = {
    r"\bnot (?:only|just|merely|simply|solely|limited to)\b": "",
    r"\b(?:no|not|nothing) (?:more|greater|less|fewer|other) than\b": "",
    rf"\b(?:on|in) (?:today's|this|the (?:current|present)) (?:\w+ )?{_STUDY}\b": "",
    r"\b(?:little|few) (?:or|to) no\b": "no",
    r"\bfindings? (?:to suggest|suggest(?:ive|ing)(?: of)?|consistent with)\b": "evidence of",
    r"\bnot (?:surprising|unexpected|uncommon|unusual|infrequent)(?:ly)?\b": "",
    r"\b(?:no|without)(?: an?y?)? (?:doubt|question|difficult(?:y|ies)|incident)\b": "",
    r"\bwithout (?:(?:iv|intravenous|oral) )?(?:contrast|exception)\b": "",
    rf"\b(?:no|without) (?:\w+ ){{0,2}}{_EARLIER} (?:\w+ )?{_STUDY}(?: (?:is |are )?available)?": (
        "undecided"
    ),
    r"\b(?:no|none|without)(?: \w+){0,4} for comparison\b": "undecided",
}
"""They deny nothing that the image could show."""
_DOUBLE = {
    r"\b(?:not|never) without\b": "with",
    rf"{_NOT} (?:{REFUTED})\b": "possible",
    rf"(?:{_NOT}|{_UNABLE}) (?:exclude|rule out)\b": "possible",
    rf"{_DUE} (?:ruled out|excluded)\b": "possible",
    rf"{_NOT} (?:{GONE})\b": "persistent",
    rf"(?:{_NO_SUCH}|{_PARTLY} )(?:{LOSS}|clearing|removal)(?: of)?\b": "persistent",
    rf"{_PARTLY} (?:{GONE})\b": "persistent",
    rf"(?:{_DID_NOT}|{_UNABLE}|\byet to) (?:resolve|clear|disappear)\b": "persistent",
    rf"\binterval (?=(?:{LOSS}|removal)\b)": "",
    r"\b(?:complete|total|full) clearing\b": "resolution",
}
_REACH = {
    rf"\bnot{_BETWEEN}(?: (?:show|demonstrate|reveal)n?)?(?: an?y?)? (?={_EXTENT}{_CHANGE}\b)": (
        "no "
    ),
    rf"\b({_ASPECT}) or (?:the )?(?={_ASPECT}\b)": r"\1 and ",
    r"\b(?:no|without) (?:(?:acute|definite|radiographic|evidence of) )*changes of"
    r"(?! (?:the|this|these|known|left|right|bilateral)\b)": "no",
    rf"({_NO_SUCH}{_CHANGE}) {_MEANING}\b": r"\1; no",
    rf"({_NO_SUCH}{_CHANGE}\b[^.;]{{0,200}}?) to (?:suggest|indicate)\b": r"\1; no",
    rf"{_NO_SUCH}(?:progression|evolution|development) (?:in)?to (?!the\b)": "no new ",
    rf"{_NO_SUCH}{_CHANGE}, (?=[^.;]{{0,200}} (?:or|nor) )": "unchanged appearance; no ",
    rf"({_NO_SUCH}{_CHANGE} (?:in|of) [^.;,]{{0,200}}?)(?: or |, (?=[^.;]{{0,200}} or ))": (
        r"\1; undecided "
    ),
}
"""They show how far the denial of a change reaches: what it would mean, and what else changes."""
_CHANGES = {
    rf"\bneither {_MOVED} n?or {_MOVED}\b": "unchanged",
    rf"(?:{_NO_SUCH}|\bneither ){_CHANGE}(?:(?:,| or| nor)+ {_EXTENT}{_CHANGE})+\b": "unchanged",
    rf"{_NO_SUCH}{_CHANGE} (?:or|nor) ": "unchanged appearance; no ",
    rf"(?:,| and| with)+ {_NO_SUCH}changes? (?=in\b|of\b)": "; unchanged ",
    rf"{_NO_SUCH}(?:changes?|differences?)\b": "unchanged",
    rf"\b((?:no|without) [^.;]{{0,200}}?\w),? n?or {_EXTENT}changes? (?=in\b|of\b)": (
        r"\1; unchanged "
    ),
    rf"\b(?:not|no){_BETWEEN} (?:changed?|different)\b": "unchanged",
    rf"\b((?:no|without) [^.;]{{0,200}}?\w)(?:,| or| nor)+ {_EXTENT}{_CHANGE}{_AT_END}": (
        r"\1; unchanged appearance"
    ),
    rf"{_NO_SUCH}({_COURSE})\b": r"non\1",
    rf"(?:{_DID_NOT}|{_UNABLE}) ({_MOVE})\b": r"non\1",
    rf"{_NOT} ({_MOVED})\b": r"non\1",
    r"\bnot(?: \w+)? as (?:large|big|dense|prominent|extensive|severe|conspicuous)(?: as)?\b": (
        "decreased"
    ),
    rf"\b(?:not|no){_BETWEEN} ({_LARGER})(?= than\b| in\b|$|[.,;])": r"non\1",
    rf"\bnot{_BETWEEN} ((?:extend|caus|drain|reach|cross|obscur)(?:e|ed|ing)?)\b": r"non\1",
    rf"\bnot {_SEEN} (?:previously|before|(?:on|in) (?:the )?{_EARLIER}(?: {_STUDY})?)\b": "new",
    r"\bno (?:interval )?(?:development|appearance|onset) of\b": "no new",
}
"""They deny how a finding has changed or what it does, not the finding."""
_OPEN = {
    r"\bnot necessarily\b|\bif not\b": "possibly",
    rf"\bnot{_BETWEEN} (?:certain|sure|clear|known|evident) (?:if|whether)\b": "undecided",
    r"\b(?:uncertain|unclear|unknown|unsure) (?:if|whether)\b": "undecided",
    rf"\bnot{_BETWEEN} {_JUDGED}\b": "undecided",
    rf"\bnot(?: (?:be|been|being))*(?: {_PLAINLY})+ {_SEEN}\b": "undecided",
    rf"\b(?:poor|suboptimal|inadequate)ly {_SEEN}\b": "undecided",
    rf"\b(?:(?:can|could) not|unable to)(?: \w+ly)? {_JUDGE}\b": "undecided",
    r"\bwith(?: or |/)(?:without|no)\b": "undecided",
    r"\bexcluded from\b": "undecided",
    rf"\b({_EDGE}(?: (?:is|are|was|were))?) excluded\b": r"\1 undecided",
    r"\b(?:could|may|might) be (?:missed|obscured|overlooked)\b": "undecided",
    r"\bfavou?rs?\b([^.;,]{0,60}?) over\b(?! the\b)": r"likely\1; less likely",
    r"\bfavou?red over\b|\bmore (?:likely|probable) than\b": "likely; less likely",
    r"\b(?:unable|not able) to be\b|\b(?:may|might) not\b": "undecided",
    r"\b(?:no|without)(?: any)? further\b": "undecided",
}
"""They leave open whether the finding is there."""
_REST = {
    r"\bnot(?: \w+ly| very)? (?:likely|probable|suspected|favou?red)\b": "unlikely",
    rf"{_NOT} (?:optimal|ideal)(?:ly)?\b": "suboptimal",
    rf"{_NOT} remarkable\b": "unremarkable",
    rf"{_NOT} (?:{NORMAL})\b": "abnormal",
}
PLAIN = [
    (re.compile(phrase), meaning)
    for rules in (_SPELLING, _REMARKS, _DOUBLE, _REACH, _CHANGES, _OPEN, _REST)
    for phrase, meaning in rules.items()
]
"""Phrases of lower-case text and their meanings, to be applied in this order."""
