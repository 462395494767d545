#!/bin/bash
# Many nodes, a Ray cluster among them:  sbatch deploy/slurm-ray.sh MODEL DATA RESULTS
# The driver runs on the first node and is the only one that writes to RESULTS; MODEL and DATA have to be readable on all.
#SBATCH --job-name=atman-bench
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

model=$1 data=$2 results=$3
port=6379
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_USAGE_STATS_ENABLED=0

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --num-gpus="$SLURM_GPUS_ON_NODE" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 20
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
        ray start --address="$head:$port" --num-gpus="$SLURM_GPUS_ON_NODE" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
    sleep 20
fi

# As in slurm-node.sh. Nodes that come late join in; those that go are done without.
trap 'kill -TERM "$run"; wait "$run"' TERM
atman-bench eval --model "hf:$model" --dtype bfloat16 --dataset squad --data "$data" --results "$results" \
    --ray "$head:$port" --workers $((SLURM_JOB_NUM_NODES * SLURM_GPUS_ON_NODE)) --gpus-per-worker 1 --item-timeout 1800 &
run=$!
wait "$run"
