#!/bin/sh
# Makes data_samples/ anew: one small synthetic sample per format. Usage: tools/make_samples.sh [FOLDER]
set -eu
out="${1:-data_samples}"
crsrisk="${CRSRISK:-.venv/bin/crsrisk}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
$crsrisk simulate "$work/csv" --courses 6 --seed 25 --therapies axi-cel_LBCL3L,brexu-cel_ALL,tec_MM,tarla_SCLC3L >/dev/null
$crsrisk simulate "$work/dated" --courses 2 --seed 3 --dated --therapies axi-cel_LBCL3L,tarla_SCLC3L >/dev/null
for format in fhir omop meds hl7v2; do
  $crsrisk export "$work/dated" "$work/$format" --to "$format" >/dev/null
done
$crsrisk export "$work/dated" "$work/spreadsheet" --to csv >/dev/null
mkdir -p "$out"
for sample in csv dated fhir omop meds hl7v2 spreadsheet; do
  rm -rf "${out:?}/$sample"
  mv "$work/$sample" "$out/$sample"
done
