"""What is needed to read one resource: the clock, the units, and where its references lead."""

from collections.abc import Mapping
from typing import Any

from crsrisk.analytes import JLAC10_MATERIALS
from crsrisk.readers.account import Account
from crsrisk.readers.codes import OWN
from crsrisk.readers.fhir_elements import Object, concept_codes, object_of, objects_of, text_of, unit_reader
from crsrisk.readers.fhir_index import Index, identifier_name, identifier_of, identifiers_of, material_of
from crsrisk.readers.fhir_times import Clock, RefusedError
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME

NO_PATIENT = (
    "NO_PATIENT: accepted: a reference to a Patient of the source, such as Patient/ID or a urn:uuid of the Bundle, "
    "or an identifier"
)
TWO_SERVERS = "NO_PATIENT: two servers of the source use this id; accepted: one server per conversion"
NO_CODE = "NO_CODE: no code; accepted: a CodeableConcept with a coding or a text"
NO_REFERRED = (
    "NO_CODE: what is referred to has no code or is not in the source; accepted: contained, in the Bundle, or in "
    "the same folder"
)
BAD_STATUS = "BAD_STATUS: accepted: the statuses of FHIR R4 for this resource"

STATUS_UNKNOWN = "STATUS_UNKNOWN: no status, or 'unknown'; taken as preliminary"
VERSION_TIME = "VERSION_TIME: meta.lastUpdated is no time; versions are told apart by number alone"
_LONGEST_VERSION = 18


class Scope:
    """Context of the resources of one file. The reader sets the three texts before each resource.

    position: of the resource, for its records.
    full_url: of its entry in a Bundle.
    patient_id: of its patient, as soon as it is known.
    """

    def __init__(self, index: Index, site: SiteMap, account: Account) -> None:
        self.account = account
        self.clock = Clock(site.time_zone)
        self.unit_of = unit_reader(site)
        self.position = ""
        self.full_url = ""
        self.patient_id = ""
        self._index = index
        self._file = ""
        self._patients: dict[str, str] = {}

    def enter(self, file: str) -> None:
        """Begin a file: full URLs are those of its Bundle from now on."""
        self._file = file
        self._patients = {}

    def patient(self, subject: object, resource: Object) -> str:
        """The patient that a Reference leads to, by the name of the one who remains after merging.

        Raises:
            RefusedError: it leads to none, or to two.
        """
        if type(subject) is not dict:
            raise RefusedError(NO_PATIENT)
        reference = subject.get("reference")
        name = self._patients.get(reference) if type(reference) is str else None
        if name is None:
            name = self.resolved(self._name(subject, text_of(reference), resource))
            if type(reference) is str and not reference.startswith("#"):
                self._patients[reference] = name
        self.patient_id = name
        return name

    def resolved(self, name: str) -> str:
        """The patient who remains of the one with this name.

        Raises:
            RefusedError: there is no name, or two servers give it.
        """
        name = self._index.survivor(name) if name else ""
        if not name:
            raise RefusedError(NO_PATIENT)
        if self._index.is_ambiguous(name):
            raise RefusedError(TWO_SERVERS)
        return name

    def is_replaced(self, name: str) -> bool:
        """Whether another patient remains of the one with this name."""
        return self._index.survivor(name) != name

    def _name(self, subject: Mapping[str, Any], reference: str, resource: Object) -> str:
        if reference.startswith("#"):
            contained = self._contained(reference, resource)
            return self._name_by_identifiers(identifiers_of(contained))
        if not reference:
            return self._name_by_identifiers([identifier_of(object_of(subject.get("identifier")))])
        head, _, query = reference.partition("?")
        if query:
            system, _, value = query.removeprefix("identifier=").rpartition("|")
            asked = (
                head.rpartition("/")[2] == "Patient" and query.startswith("identifier=") and "&" not in query
            )
            return self._name_by_identifiers([(system, value)]) if asked else ""
        if subject.get("type") == "Patient" and not any(sign in reference for sign in "/:#"):
            reference = f"Patient/{reference}"
        key = self._index.key_of(reference, self._file)
        known = self._index.names.get(key)
        return known or (key.partition("/")[2] if key.startswith("Patient/") else "")

    def _name_by_identifiers(self, identifiers: list[tuple[str, str]]) -> str:
        """The patient of the source who bears one of the identifiers; else the first of them."""
        given = [one for one in identifiers if one[1]]
        for system, value in given:
            if system == OWN:
                return value
            names = {self._index.survivor(name) for name in self._index.identifiers.get((system, value), ())}
            if len(names) == 1:
                return names.pop()
            if names:
                raise RefusedError(NO_PATIENT)
        return identifier_name(given[0]) if given else ""

    def _contained(self, reference: str, resource: Object) -> Object:
        for one in objects_of(resource.get("contained")):
            if one.get("id") == reference[1:]:
                return one
        return {}

    def referred_codes(self, reference: object, resource: Object, element: str) -> str:
        """Codings of the Medication or Device that a Reference leads to; its words where it leads nowhere.

        Args:
            reference: of the resource.
            resource: that holds it and what is contained.
            element: of the contained resource that holds the codings.

        Raises:
            RefusedError: it is not in the source, or two different ones are, and it has no words.
        """
        given = object_of(reference)
        text, words = text_of(given.get("reference")), text_of(given.get("display"))
        if text.startswith("#"):
            codes = concept_codes(self._contained(text, resource).get(element))
        else:
            codes = self._index.codes.get(self._index.key_of(text, self._file), "")
        codes = codes or concept_codes({"text": words})
        if not codes:
            raise RefusedError(NO_REFERRED)
        return codes

    def other_material(self, resource: Object) -> str:
        """JLAC10 code of the specimen's material when it is known and not blood, '' otherwise."""
        text = text_of(object_of(resource.get("specimen")).get("reference"))
        if text.startswith("#"):
            material = material_of(self._contained(text, resource))
            return "" if material in JLAC10_MATERIALS else material
        if not text or not self._index.materials:
            return ""
        return self._index.materials.get(self._index.key_of(text, self._file), "")

    def version(self, resource: Object) -> tuple[int, int]:
        """When the resource was written, and the number of its version; NOT_A_TIME and 0 when it does not say."""
        meta = resource.get("meta")
        if type(meta) is not dict:
            return NOT_A_TIME, 0
        revised, number = meta.get("lastUpdated"), meta.get("versionId")
        moment = NOT_A_TIME
        if revised is not None:
            try:
                moment = self.clock.read(revised) if type(revised) is str else self.clock.moment(revised)
            except RefusedError:
                self.account.adjust(VERSION_TIME)
        return moment, _whole(number)

    def identity(self, resource: Object, codes: str, start_us: int) -> str:
        """What stays the same over deliveries and versions: type and id; without one identifier, code and time.

        Hospitals give one identifier to all results of an order, so that it does not suffice alone.
        """
        kind, own = resource["resourceType"], resource.get("id")
        if type(own) is str and own:
            return f"{kind}/{own}"
        if "://" in self.full_url:
            return f"{kind}/{self.full_url.rpartition('/')[2]}"
        for system, value in identifiers_of(resource):
            return f"{kind}?{system}|{value}&{codes}&{start_us}"
        return ""

    def status(self, resource: Object, meanings: Mapping[str, str]) -> str:
        """The status of a record; 'planned' for what has not begun.

        Raises:
            RefusedError: a status that this resource does not have.
        """
        given = resource.get("status")
        found = meanings.get(given) if type(given) is str else None
        if found is not None:
            return found
        if given is None or given == "unknown":
            self.account.adjust(STATUS_UNKNOWN)
            return "preliminary"
        raise RefusedError(BAD_STATUS)


def _whole(number: object) -> int:
    """The number of a version; 0 for ids that are none."""
    if (
        type(number) is not str
        or len(number) > _LONGEST_VERSION
        or not number.isascii()
        or not number.isdigit()
    ):
        return 0
    return int(number)
