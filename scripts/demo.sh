#!/bin/sh
# Set up everything, run the main job on the embedded encoder and the two generated sets, end with the ranked table.
# Arguments are handed to `benchmark run`, for instance --limit 4. Running it again resumes.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

methods=random,uniform,centre,edge,raw_attention,oracle,occlusion,rise,grad_eclip,grad_eclip[heads=model],fixlip
status=0
.venv/bin/benchmark run --model embedded --method "$methods" --task 'scenes-*,phantoms-*' --tier smoke "$@" || status=$?
if [ "$status" -gt 1 ]; then # 1: some units failed, and the table says which
    exit "$status"
fi
.venv/bin/benchmark leaderboard
exit "$status"
