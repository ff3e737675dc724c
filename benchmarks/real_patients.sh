#!/usr/bin/env bash
# The searched network against a plain 3D U-Net of the same grid, on real patients: as long a training, the same recipe.
#
#     DATA=/data/acdc WORK=runs/real benchmarks/real_patients.sh
#
# Every line continues where it was killed. bench-ops and bench-engine want a machine that does nothing else.
set -euo pipefail
BIN=${BIN:-.venv/bin}
: "${DATA:?folder of patients}" "${WORK:=runs/real}"
EPOCHS=${EPOCHS:-100} BUDGET_MS=${BUDGET_MS:-7.5}
export CINERT_DATA=$DATA

verdict() { "$@" || [ $? -eq 1 ]; }

mkdir -p "$WORK"
[ -e "$WORK/lut.json" ] || "$BIN/bench-ops" --space small -o "$WORK/lut.json"
"$BIN/nas-search" --lut "$WORK/lut.json" --fold 0 --method random --paths 4 --budget-ms "$BUDGET_MS" --epochs 24 \
  --batch-size 4 -o "$WORK/searched"
[ -e "$WORK/unet/arch.yaml" ] || "$BIN/cinert" baseline unet3d --space small -o "$WORK/unet/arch.yaml"
for network in searched unet; do
  "$BIN/train-arch" "$WORK/$network/arch.yaml" --fold 0 --epochs "$EPOCHS"
done
for network in searched unet; do
  run=$WORK/$network
  lut=()
  [ "$network" = unet ] || lut=(--lut "$WORK/lut.json")
  verdict "$BIN/export-engine" "$run/arch.yaml" "${lut[@]}" -o "$run/bundle"
  verdict "$BIN/evaluate-bundle" "$run/bundle" --fold 0 -o "$run/accuracy.json" --plot "$run/bland_altman.png"
  verdict "$BIN/bench-engine" "$run/bundle" "${lut[@]}" -o "$run/verify.json"
  verdict "$BIN/bench-engine" "$run/bundle" "${lut[@]}" --mode paced --fps 22 -o "$run/verify_paced.json"
  "$BIN/cinert" report "$run"
done
