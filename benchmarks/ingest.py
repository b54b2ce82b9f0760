"""The FHIR reader beside plain `json.loads` of the same bytes, and the whole conversion.

A simulated cohort is written as Bulk Data; its Observations get what hospitals send along (profile, version, category,
second code, specimen, performer, reference range), about 1 kB each. Both read the same files in turns, on one thread:
the reader to record batches, `json.loads` line by line without keeping anything.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figure import Figures, run
from crsrisk.cohort import read_cohort
from crsrisk.readers.account import Account
from crsrisk.readers.fhir import read_fhir
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.writers.fhir import write_fhir

COURSES, SEED, ROUNDS = 60, 11, 9
MANY = (50, 500)
TARGET = 4.0
CHILD = """
import resource, sys
from crsrisk.readers.convert import convert
convert("fhir", sys.argv[1], sys.argv[2])
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024)
"""
THERAPIES = ["axi-cel_LBCL3L", "tec_MM"]


def make_folder(folder: Path, courses: int) -> Path:
    """Bulk Data of a simulated cohort, its Observations as hospitals send them."""
    simulate(courses, SEED, therapies=THERAPIES, absolute_times=True).write(folder / "cohort")
    write_fhir(read_cohort(folder / "cohort"), folder / "fhir")
    file = folder / "fhir" / "Observation.ndjson"
    plain = file.read_text(encoding="utf-8").splitlines()
    with file.open("w", encoding="utf-8") as lines:
        for number, line in enumerate(plain):
            lines.write(json.dumps(as_sent(json.loads(line), number), ensure_ascii=False) + "\n")
    return folder / "fhir"


def as_sent(observation: dict[str, Any], number: int) -> dict[str, Any]:
    """An Observation with the elements that a profile of JP Core asks for and a server adds."""
    subject = observation["subject"]["reference"].removeprefix("Patient/")
    coding = observation["code"]["coding"]
    for one in coding:
        one["display"] = observation["code"].get("text", "")
    coding.append(
        {"system": "urn:oid:1.2.392.100495.20.9.1", "code": f"L{number % 97:04d}", "display": "local"}
    )
    moment = observation.get("effectiveDateTime", "2026-01-01T00:00:00Z")
    hospital = "http://jpfhir.jp/fhir/core"
    return {
        "resourceType": "Observation",
        "id": f"{number:08x}-7d1c-4e0b-9b55-0242ac120002",
        "meta": {
            "versionId": "1",
            "lastUpdated": f"{moment[:17]}{number % 60:02d}.{number % 1000:03d}Z",
            "profile": [f"{hospital}/StructureDefinition/JP_Observation_LabResult"],
        },
        "category": [
            {
                "coding": [
                    {"system": f"{hospital}/CodeSystem/JP_SimpleObservationCategory_CS", "code": "laboratory"}
                ]
            }
        ],
        **observation,
        "encounter": {"reference": f"Encounter/E{subject}"},
        "performer": [{"reference": "Organization/laboratory", "display": "Central laboratory"}],
        "specimen": {"reference": f"Specimen/S{number // 20}"},
        "referenceRange": [{"low": {"value": 0.1}, "high": {"value": 140.5}, "text": "0.1-140.5"}],
    }


def by_reader(folder: Path, quarantine: Path) -> int:
    """Read the folder to record batches; the number of records."""
    with Account(quarantine) as account:
        return sum(batch.num_rows for batch in read_fhir(folder, SiteMap(), account))


def by_json(folder: Path) -> int:
    """Decode every line of the folder; the number of resources."""
    number = 0
    for file in sorted(folder.iterdir()):
        with file.open("rb") as lines:
            for line in lines:
                json.loads(line)
                number += 1
    return number


def as_bundle(folder: Path, file: Path) -> Path:
    """All resources of the folder as one Bundle."""
    resources = [
        line for part in sorted(folder.iterdir()) for line in part.read_text(encoding="utf-8").splitlines()
    ]
    with file.open("w", encoding="utf-8") as text:
        text.write('{"resourceType":"Bundle","type":"collection","entry":[')
        text.write(",\n".join(f'{{"resource":{one}}}' for one in resources))
        text.write("]}")
    return file


def _seconds(act: Callable[[], object]) -> float:
    start = time.process_time()  # one thread each: the time of other programs does not count
    act()
    return time.process_time() - start


def _interleaved(a: Callable[[], object], b: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median processor seconds of a and b, measured in turns, and the median ratio."""
    pairs = [(_seconds(a), _seconds(b)) for _ in range(rounds)]
    ratio = statistics.median(x / y for x, y in pairs)
    return statistics.median(x for x, _ in pairs), statistics.median(y for _, y in pairs), ratio


def main() -> int:
    """Reader against json.loads, for Bulk Data and for one Bundle; then the whole conversion and its memory."""
    from crsrisk.readers.convert import convert

    figures = Figures("ingest")
    with tempfile.TemporaryDirectory() as place:
        folder = make_folder(Path(place), COURSES)
        quarantine = Path(place) / "quarantine.csv"
        resources, size = by_json(folder), sum(file.stat().st_size for file in folder.iterdir())
        each = f"{resources} resources of {size / resources:.0f} bytes on average"
        reader, plain, ratio = _interleaved(
            lambda: by_reader(folder, quarantine), lambda: by_json(folder), ROUNDS
        )
        figures.add(f"resources per second, {each}", round(resources / reader), "none", ok=True)
        figures.add("json.loads, resources per second", round(resources / plain), "none", ok=True)
        figures.add(
            "reader / json.loads, Bulk Data",
            round(ratio, 2),
            f"at most {TARGET:g}",
            ok=ratio <= TARGET,
            against="json.loads of the same bytes",
        )
        bundle = as_bundle(folder, Path(place) / "bundle.json")
        _, _, ratio = _interleaved(
            lambda: by_reader(bundle, quarantine), lambda: json.loads(bundle.read_bytes()), 3
        )
        figures.add(
            f"reader / json.loads, one Bundle of {resources} entries",
            round(ratio, 2),
            f"at most {TARGET:g}",
            ok=ratio <= TARGET,
            against="json.loads of the whole file",
        )
        whole = _seconds(lambda: convert("fhir", folder, Path(place) / "converted"))
        figures.add("convert, resources per second", round(resources / whole), "none", ok=True)
        _memory(figures, Path(place))
    return figures.finish()


def _memory(figures: Figures, place: Path) -> None:
    """Peak of memory of the whole conversion, in a process of its own, for deliveries of two sizes."""
    for courses in MANY:
        folder = make_folder(place / f"many{courses}", courses)
        size = sum(file.stat().st_size for file in folder.iterdir())
        command = [sys.executable, "-c", CHILD, str(folder), str(place / f"converted{courses}")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(told) / 2**30
        what = f"peak of memory of convert, {courses} courses in {size / 1e6:.0f} MB, GiB"
        figures.add(what, round(peak, 3), "at most 1", ok=peak <= 1)


if __name__ == "__main__":
    run(main)
