# shellcheck shell=bash
# What the .sbatch files share: a Ray cluster for the length of one job, on the job's nodes, and one lvseg verb on it.
# Before the time is up a run saves its state, and the job is queued again.
set -euo pipefail

# A virtual environment with lvseg, on storage that every node sees.
: "${LVSEG_ENVIRONMENT:=$HOME/lvseg/.venv}"
# shellcheck source=/dev/null
source "$LVSEG_ENVIRONMENT/bin/activate"

# This script runs on the job's first node: the head. Set HEAD_IP where the first address is not of the fast network.
: "${HEAD_IP:=$(hostname -I | awk '{print $1}')}"
address=$HEAD_IP:$((20000 + SLURM_JOB_ID % 20000))
nodes=$SLURM_JOB_NUM_NODES

# Each job's cluster has a token and folders of its own.
umask 077
mkdir -p "$HOME/.ray"
status_file=$HOME/.ray/slurm-$SLURM_JOB_ID.status
export RAY_AUTH_TOKEN_PATH=$HOME/.ray/slurm-$SLURM_JOB_ID.token RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
python -c 'import secrets; print(secrets.token_hex(32))' > "$RAY_AUTH_TOKEN_PATH"
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID # short: Ray's sockets lie in it; Ray makes it on every node
export TMPDIR=$RAY_TMPDIR
export LVSEG_CACHE=${SLURM_TMPDIR:-/tmp}/lvseg-cache-$SLURM_JOB_ID
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds for all nodes to join

# The cache holds images of patients: nothing stays behind on the nodes.
# shellcheck disable=SC2329 # called by the trap
clean() {
  rm -f "$RAY_AUTH_TOKEN_PATH" "$status_file"
  srun --overlap --ntasks="$nodes" --ntasks-per-node=1 rm -rf "$RAY_TMPDIR" "$LVSEG_CACHE" || true
}
trap clean EXIT

# A job that is in the queue again has no steps any more: first clean.
requeue() {
  clean
  trap - EXIT
  scontrol requeue "$SLURM_JOB_ID"
}

# Slurm sends USR1 to this script some minutes before the end (--signal=B:USR1@SECONDS). A training run stops when it
# finds the file `stop` in its folder, with its state saved; anything else goes on from where it was when called again.
stopping=
# shellcheck disable=SC2329 # called by the trap
stop() {
  stopping=yes
  if [[ -n ${RUN_FOLDER:-} && -d $RUN_FOLDER ]]; then
    touch "$RUN_FOLDER/stop"
  else
    requeue
  fi
}
trap stop USR1

# One task a node: symmetric-run starts Ray on each, runs the command on the head, and ends all of this user's Ray on
# the node; hence --exclusive. Its own exit status is 0 also when Ray did not start: the command's goes into a file.
# RAY_ADDRESS tells lvseg to use this cluster.
# shellcheck disable=SC2016 # expanded on the head
command='status=0; RAY_ADDRESS=$1 lvseg "${@:3}" || status=$?; echo "$status" > "$2"; exit "$status"'
rm -f "$status_file"
srun --ntasks="$nodes" --ntasks-per-node=1 \
  ray symmetric-run --address "$address" --min-nodes "$nodes" \
  --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
  -- bash -c "$command" lvseg "$address" "$status_file" "$@" &

# A signal ends `wait`, not srun.
while kill -0 $! 2> /dev/null; do
  wait $! || true
done
status=1
if [[ -s $status_file ]]; then
  status=$(< "$status_file")
fi
# 75: stopped, and can be gone on with.
if [[ -n $stopping && $status -eq 75 ]]; then
  requeue
fi
exit "$status"
