#!/usr/bin/env bash
# The main job on a beating phantom: price, search, train, export, prove, segment.
# Every line is a command that works the same on real patients, with other arguments.
set -euo pipefail
BIN=${BIN:-.venv/bin}
RUN=${RUN:-runs/demo}
DATA=$RUN/phantom

# A verdict that fails (exit code 1) is shown in the report and does not stop the demo; anything else does.
verdict() { "$@" || [ $? -eq 1 ]; }
# On a machine that something else uses all the time (exit code 3) the demo goes on with prices that are worth less.
price() {
  local code=0
  "$@" || code=$?
  [ $code -eq 3 ] || return $code
  echo "Busy machine: pricing again with --allow-busy; estimates will be less exact than on a quiet one." >&2
  "$@" --allow-busy
}

rm -rf "$RUN"
mkdir -p "$RUN"
started=$SECONDS
"$BIN/make-phantom" "$DATA" --patients 16 --seed 0
price "$BIN/bench-ops" --space demo --networks 30 -o "$RUN/lut.json"
verdict "$BIN/nas-search" --lut "$RUN/lut.json" --data "$DATA" --fold 0 --epochs 10 -o "$RUN"
"$BIN/train-arch" "$RUN/arch.yaml" --data "$DATA" --fold 0 --epochs 100 -o "$RUN"
verdict "$BIN/export-engine" "$RUN/arch.yaml" --lut "$RUN/lut.json" --data "$DATA" -o "$RUN/bundle"
verdict "$BIN/evaluate-bundle" "$RUN/bundle" --data "$DATA" --fold 0 -o "$RUN/accuracy.json"
verdict "$BIN/bench-engine" "$RUN/bundle" --lut "$RUN/lut.json" -o "$RUN/verify.json"
verdict "$BIN/bench-engine" "$RUN/bundle" --lut "$RUN/lut.json" --mode paced --fps 22 -o "$RUN/verify_paced.json"
verdict "$BIN/segment-cine" "$RUN/bundle" "$DATA/patient901/patient901_4d.nii.gz" \
  -o "$RUN/mask.nii.gz" --overlay "$RUN/overlay.gif" --report "$RUN/segment.json"
"$BIN/cinert" report "$RUN"
echo "Done in $((SECONDS - started)) s. Open $RUN/report.html."
