#!/bin/sh
# Set up everything, run the main job on the embedded encoder and the two generated sets, end with the ranked tables.
# Arguments are handed to `benchmark run`, for instance --limit 4. Running it again resumes.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

methods=random,uniform,centre,edge,raw_attention,oracle,occlusion,rise,grad_eclip,grad_eclip[heads=model],fixlip
tasks=scenes-pointing,scenes-grounding,scenes-insertion,scenes-interactions
tasks=$tasks,phantoms-pointing,phantoms-grounding,phantoms-insertion,phantoms-interactions
exec .venv/bin/benchmark run --model embedded --method "$methods" --task "$tasks" --limit 12 "$@"
