#!/bin/sh
# One run in eight parts, each with a GPU and a store of its own, and a merge when all are done:
#   job=$(sbatch --parsable scripts/slurm.sh -m all -t 'coco-*' --model openai/clip-vit-base-patch16 --data-dir /data/coco)
#   sbatch --dependency=afterok:$job --wrap 'benchmark merge stores/shard-*.duckdb --store results/benchmark.duckdb'
# Other numbers of parts: SHARDS=16 sbatch --array=1-16 scripts/slurm.sh ...
# A task that is killed or runs out of time is submitted again alone (sbatch --array=3 ...) and goes on where it was.
#SBATCH --job-name=xlip-bench
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -eu
mkdir -p stores
exec benchmark run "$@" --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-8}" --unit-timeout 3600 \
    --store "stores/shard-$SLURM_ARRAY_TASK_ID.duckdb"
