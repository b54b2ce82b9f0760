"""Writers of other people's formats: a cohort as FHIR, OMOP, MEDS, HL7v2 or a spreadsheet."""
