#!/bin/bash
# One node, a worker for each of its GPUs:  sbatch deploy/slurm-node.sh MODEL DATA RESULTS
#SBATCH --job-name=atman-bench
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

model=$1 data=$2 results=$3

# SLURM signals two minutes before the time is up: the driver stores what is at hand and ends. Submitting again goes on.
trap 'kill -TERM "$run"; wait "$run"' TERM
atman-bench eval --model "hf:$model" --dtype bfloat16 --dataset squad --data "$data" --results "$results" \
    --workers "${SLURM_GPUS_ON_NODE:-8}" --gpus-per-worker 1 --item-timeout 1800 &
run=$!
wait "$run"
