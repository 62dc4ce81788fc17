"""Finds body parts in the words of a DICOM header: codes' names, defined terms and free text.

Words are the defined terms of PS3.16 Annex L and what devices and people write in their place, in
English and other European languages.
"""

import re
import unicodedata
from collections.abc import Mapping

CHEST = "chest"
UNCLEAR = "unclear"
_WORDS = {
    "spine": """
        *spine* spinal* *vertebr* *wirbel* *wervel* *lumb* lomb* *cervic* *sacrum sacral*
        *sacro(?!il)* *coccy* scolio* skolio* back [bhl]w[sk] kreuzbein steissbein rachis rachide
        colon+[ae] columna coluna""",
    CHEST: """
        *chest(?!er)* ches *thora[cksxz]* *tora[ckx]* thx cxr brust* borst* bryst* brost* pecho
        peito petto lungs? lunge* pulm* polmon* poumons? pleur* bronch* trachea* mediast*
        diaphragm* thymus *esophag* ribs? ribcage ripp* cotes? coste costa* costill* costel*
        stern* ester?non hearts? herz* hart coeur corazon cuore coracao cardi* coronar* *aort* trunk
        torso tronc* rumpf (?:whole|total|entire|full)_body babygram* skelet* ganzko*
        corps cuerpo corpo""",
    "breast": "breast* mamm[aeo]* seno mlo",
    "hand": "hands? finger* thumbs? daumen *metacarp* bone_age mains? doigts? manos? dedos? mao",
    "wrist": """
        wrists? handgelenk* handwurzel* carp[aou]* s[ck]aphoid* poignets? muneca polso punho
        pols""",
    "forearm": "forearms? unterarm* avant_bras antebra* avambraccio onderarm radius* ulna*",
    "elbow": "elbows? ellenbog* ellbog* elleboog coudes? codo gomito cotovelo",
    "shoulder": """
        should* schulter* schouder* epaules? hombros? ombros? spalla scapul* omoplat* clavic*
        klavik* schlue?ssel* collarbone *acromio* ac_joints? axill*""",
    "arm": "arms? upperarm *humer* omero oberarm* bovenarm bras brazos? braccio braco",
    "hip": "hips? hue?ft* hanches? cadera anca quadril heup* acetabul* frog_leg*",
    "abdomen": """
        abd(?!_[aeu]l) abdo* abdmen abdp* addom* bauch* buik vientre ventre kub kidneys? niere*
        renal liver leber foie spleen milz pancrea* stomach magen *gastri* bowel* *intestin*
        *colon duoden* jejun* ileum gall* bile* biliary adrenal* ureter* urethra* urinary
        appendix""",
    "pelvis": """
        *pelvi[cs]* pelv becken* bekken* bassin bacia bacino ilium iliac* sacroil* si_joints?
        *bladder prostat* uterus ovar[iy]* *rectum* anus cervix vagina vulva penis scrotum
        testi[sc]* buttocks? groin inguinal""",
    "knee": "knees? knæ knie* genoux? rodilla* ginocchi* joelhos? patell*",
    "leg": """
        legs? lowerleg tibia* tib_fib* fibula* femur* femor* thighs? calf calves unterschenkel*
        oberschenkel* beine? beinganz* ganzbein* (?:onder|boven)been jambes? cuisses? pierna* muslo
        gamba perna""",
    "ankle": """
        ankles? sprungg* osg knoe?chel* chevilles? tobillos? caviglia tornozelo enkel malleol*""",
    "foot": """
        foot feet *fuss fuss[bgekrw]* pieds? pies? piede voet* heels? calcan* kalkan* fersen?* toes?
        *zehen? orteils? hallux* tars[aou]* metatars* sesamoid* *plantar* plantodorsal""",
    "extremity": "*extremi* extre?m? [ul]?ext exm *limbs? membr[eo]s? gliedmass*",
    "head": """
        heads? headneck *skull* schae?del* schedel kopf hoofd crane cranium cranio(?!_caud)*
        neurocran* *cranial_cav* tete cabe[zc]a testa craneo brain* gehirn cerebr* cerebell* sella*
        mastoid* sinus sinuses *nasal nase nasenbein* nnh nose face facial gesicht* *orbit* eyes?
        (?<![lr])ears? optic_canal zygoma* *acanthi* *auditory* submento* scalp cheek* eyelid cornea
        tongue""",
    "jaw_or_teeth": """
        jaws? *mandib* maxill* *kiefer* teeth tooth dental* dent[ei]s? zahn* zaehne mouth tmj
        temporomandib* panoramic opg orthopan* occlusal""",
    "neck": """
        neck* hals cou cuello collo pescoco *larynx *pharynx thyroid* carotid* parotid*""",
}
"""Region → its words, as regular expressions in which `*` is any letters, `_` a blank or nothing.

The first region that fits a word counts. So "neckchest" is the chest.
"""
_UNCLEAR = """
    picc cvc *catheter* port_?a_?cath* lines? tubes? placement pacemaker pneumo* effusion tb icu
    lordot* pre_op* clearance acute_abd* abd*_series pain swelling schmerz* douleur* dolor* cancer
    ca carcinoma* karzinom* mets staging transplant* donor failure"""
"""Words of free text that may belong to a chest: what is checked there, why the patient came.

Examples: "PICC line, left arm", "leg pain", "breast cancer staging".
"""
_AMBIGUOUS = re.compile(
    r"\b(?:c arms?|back|bras|cou|crane|dos|ears?|enkel|ext|eyes?|face|hart|mains?(?! droit| gauche)"
    r"|mao|pies?|seno|sinus|testa|hals nasen|(?:feet|head) first|head (?:bed|up|elevat\w+)"
    r"|arms? (?:up|down|raised|above head))\b"
)
"""Not body parts in free text. Examples: "C-arm", "main campus", "de pie", "head of bed 30"."""
_THORACIC = r"(?:thora[ck]\w*|torac\w*|dorsal\w*|dorso)"
_SIDE = r"(?:lt?|rt?|left|right)?"
_VIEW = r"(?:ap|pa|lat\w*|obl\w*|l|r)?"
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_JOINTS = frozenset({"and", "und", "et", "y", "to", "of", "the", "de"})


def stated_regions(words: str) -> list[str]:
    """Returns the regions that a coded value or a code's name states, in order."""
    return _found(_STATED, _plain(words))


def described_regions(words: str) -> list[str]:
    """Returns the regions that free text names, in order; `UNCLEAR` for what may be of a chest."""
    return _found(_DESCRIBED, _AMBIGUOUS.sub(" ", _plain(words)))


def _found(pattern: re.Pattern[str], words: str) -> list[str]:
    return [str(match.lastgroup).replace("_", " ") for match in pattern.finditer(words)]


def _plain(words: str) -> str:
    """Lower case without accents, digits, signs and conjunctions. "T_Spine, 2" → "t spine"."""
    decomposed = unicodedata.normalize("NFKD", words.casefold())
    letters = "".join(each for each in decomposed if not unicodedata.combining(each))
    return " ".join(word for word in _NOT_LETTERS.split(letters) if word not in _JOINTS).strip()


def _pattern(regions: Mapping[str, str]) -> re.Pattern[str]:
    """One group a region. A thoracic spine is a spine, although its first word is not."""
    parts = {region: "|".join(map(_expand, words.split())) for region, words in regions.items()}
    parts["spine"] = rf"(?:{_THORACIC} ){{0,3}}(?:{parts['spine']})(?: {_THORACIC}){{0,3}}"
    groups = "|".join(f"(?P<{region}>{pattern})" for region, pattern in parts.items())
    return re.compile(rf"\b{_SIDE}(?:{groups}){_VIEW}\b")


def _expand(word: str) -> str:
    return word.replace("*", r"\w*").replace("_", " ?")


_STATED = _pattern(_WORDS)
_DESCRIBED = _pattern({UNCLEAR: _UNCLEAR, **_WORDS})
