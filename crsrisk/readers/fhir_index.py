"""What has to be known of a FHIR source before its resources can be read: patients, and what references lead to.

References are resolved inside the source alone; nothing is ever fetched.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crsrisk.analytes import JLAC10_MATERIALS
from crsrisk.readers.codes import OWN
from crsrisk.readers.fhir_elements import Object, concept_codes, object_of, objects_of, text_of
from crsrisk.readers.fhir_json import Entry, bundle_entry
from crsrisk.readers.fhir_source import FhirFile, entries

LOOKED_UP = ("Patient", "Medication", "Device", "Specimen")
"""Types that other resources refer to."""
BUNDLE_DEPTH = 4
JP_MATERIALS = "http://jpfhir.jp/fhir/core/CodeSystem/JP_ObservationSampleMaterialCode_CS"
"""Material codes of JLAC10 as systems of JP Core name them (023 serum, 001 urine)."""

_TYPE_FIRST = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"(\w*)"')
_WANTED = frozenset(name.encode() for name in (*LOOKED_UP, "Bundle"))
_ANYWHERE = re.compile(rb'"resourceType"\s*:\s*"(?:' + b"|".join(sorted(_WANTED)) + rb')"')
_UUID = re.compile(r"urn:uuid:([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_LONGEST_ID = 256

Identifier = tuple[str, str]


@dataclass
class Index:
    """Patients and referred resources of a source.

    A key is 'Type/id', or 'FILE#NUMBER' of a resource in a Bundle.

    names: key of a Patient -> the name under which records carry the patient.
    identifiers: (system, value) -> names of the patients who bear it.
    links: (name, file, reference, replaced) of a Patient that is replaced by, or replaces, another one.
    codes: key of a Medication or Device -> its codings; '' when two under one key differ.
    materials: key of a Specimen -> its material in JLAC10, where it is not blood.
    servers: id of a Patient -> the servers that its full URLs name.
    bundles: file -> full URL or 'Type/id' of its Bundle -> key.
    merged: name of a replaced patient -> name of the one who remains.
    """

    names: dict[str, str] = field(default_factory=dict)
    identifiers: dict[Identifier, set[str]] = field(default_factory=dict)
    links: list[tuple[str, str, str, bool]] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)
    materials: dict[str, str] = field(default_factory=dict)
    servers: dict[str, set[str]] = field(default_factory=dict)
    bundles: dict[str, dict[str, str]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)

    def survivor(self, name: str) -> str:
        """The patient who remains of a merged one; the least of a circle."""
        seen = [name]
        while (follower := self.merged.get(seen[-1])) is not None:
            if follower in seen:
                return min(seen[seen.index(follower) :])
            seen.append(follower)
        return seen[-1]

    def is_ambiguous(self, name: str) -> bool:
        """Whether two servers of the source call different patients so."""
        return len(self.servers.get(name, ())) > 1

    def key_of(self, reference: str, file: str) -> str:
        """The key that a literal reference leads to; '' for one that leads out of the source."""
        local = self.bundles.get(file, {})
        key = local.get(reference)
        if key is not None:
            return key
        relative = relative_of(reference)
        return local.get(relative, relative)


def relative_of(reference: str) -> str:
    """'Type/id' of a relative or absolute reference, whatever its version; '' of any other.

    >>> relative_of("https://ehr.example/fhir/Patient/7/_history/2")
    'Patient/7'
    """
    parts = reference.partition("/_history/")[0].split("/")
    if len(parts) < 2 or not parts[-1] or not parts[-2].isalpha() or len(parts[-1]) > _LONGEST_ID:
        return ""
    return f"{parts[-2]}/{parts[-1]}"


def build_index(files: Iterable[FhirFile], encoding: str) -> Index:
    """The index of all files; what can't be read is left to the reading itself."""
    index = Index()
    for file in files:
        for number, entry in enumerate(_flat(entries(file, encoding, _is_wanted))):
            kind = entry.resource.get("resourceType")
            if kind in LOOKED_UP:
                _add(index, kind, entry, file.name, number)
    _merge(index)
    return index


def _is_wanted(line: bytes) -> bool:
    """Whether a line may hold a resource of the index; told by its first bytes where the type stands first."""
    first = _TYPE_FIRST.match(line)
    return first[1] in _WANTED if first is not None else _ANYWHERE.search(line) is not None


def _flat(found: Iterable[Entry], depth: int = 0) -> Iterator[Entry]:
    """Resources, and those of Bundles within, as far as they are objects."""
    for entry in found:
        if isinstance(entry.resource, dict):
            yield entry
            inner = entry.resource.get("entry")
            if (
                entry.resource.get("resourceType") == "Bundle"
                and isinstance(inner, list)
                and depth < BUNDLE_DEPTH
            ):
                yield from _flat((bundle_entry("", one) for one in inner), depth + 1)


def _add(index: Index, kind: str, entry: Entry, file: str, number: int) -> None:
    resource, full_url = entry.resource, entry.full_url
    material = material_of(resource) if kind == "Specimen" else ""
    if kind == "Specimen" and (not material or material in JLAC10_MATERIALS):
        return  # most are blood, and there are as many as there are results
    own = text_of(resource.get("id"))
    by_id = f"{kind}/{own}" if own else relative_of(full_url)
    key = by_id if by_id and (kind == "Patient" or not full_url) else f"{file}#{number}"
    if full_url:
        local = index.bundles.setdefault(file, {})
        local[full_url] = key
        if by_id:
            local[by_id] = key
    if kind == "Patient":
        _add_patient(index, resource, full_url, key, file)
        return
    if kind == "Specimen":
        index.materials[key] = index.materials[by_id or key] = material
        return
    codes = concept_codes(resource.get("code" if kind == "Medication" else "type"))
    for one in {key, by_id or key}:
        index.codes[one] = codes if index.codes.get(one, codes) == codes else ""


def _add_patient(index: Index, resource: Object, full_url: str, key: str, file: str) -> None:
    name = patient_name(resource, full_url)
    if not name:
        return
    index.names[key] = name
    for identifier in identifiers_of(resource):
        index.identifiers.setdefault(identifier, set()).add(name)
    if key.startswith("Patient/") and "://" in full_url:
        server = full_url.partition("://")[2].partition("/Patient/")[0]
        index.servers.setdefault(name, set()).add(server)
    for link in objects_of(resource.get("link")):
        kind = link.get("type")
        other = text_of(object_of(link.get("other")).get("reference"))
        if other and kind in ("replaced-by", "replaces"):
            index.links.append((name, file, other, kind == "replaced-by"))


def _merge(index: Index) -> None:
    for name, file, reference, replaced in sorted(index.links):
        key = index.key_of(reference, file)
        other = index.names.get(key, key.partition("/")[2])
        if other and other != name:
            gone, stays = (name, other) if replaced else (other, name)
            index.merged[gone] = stays


def patient_name(resource: Object, full_url: str) -> str:
    """The name of a Patient in records: its identifier of our own system, its id, its first identifier, its UUID.

    An identifier without an id is told with its system: two hospitals may give the same number. '' for a Patient
    without any.
    """
    identifiers = identifiers_of(resource)
    own = next((value for system, value in identifiers if system == OWN), "")
    name = own or text_of(resource.get("id")) or relative_of(full_url).partition("/")[2]
    if not name and identifiers:
        name = identifier_name(identifiers[0])
    if not name:
        match = _UUID.fullmatch(full_url)
        name = match.group(1).lower() if match else ""
    return name if len(name) <= _LONGEST_ID else ""


def identifier_name(identifier: Identifier) -> str:
    """The name of a patient who is known by an identifier alone."""
    system, value = identifier
    return f"{system}|{value}" if system and system != OWN else value


def identifiers_of(resource: Object) -> list[Identifier]:
    """(system, value) of every identifier with a value."""
    found = [identifier_of(one) for one in objects_of(resource.get("identifier"))]
    return [one for one in found if one[1]]


def identifier_of(identifier: Object) -> Identifier:
    """(system, value) of an identifier; '' where there is none."""
    return text_of(identifier.get("system")), text_of(identifier.get("value"))


def material_of(specimen: Object) -> str:
    """The material of a Specimen in JLAC10, '' when it is not told in these codes."""
    for coding in objects_of(object_of(specimen.get("type")).get("coding")):
        if coding.get("system") == JP_MATERIALS:
            return text_of(coding.get("code"))
    return ""
