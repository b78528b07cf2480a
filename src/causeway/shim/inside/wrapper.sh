# Causeway: a batch script as Slurm would run it. The lines above say what was asked for.
slurm_home="$CAUSEWAY_OUTPUT_DIR/.slurm"
slurm_own="$slurm_home/${CAUSEWAY_NODE_RANK:-0}"
mkdir -p "$slurm_own/steps" "$slurm_own/bin" "$slurm_home/back"

# The working folder: the submitter's own where the island shares it, which its mark proves; else
# the copy that came along, under the same path where nothing else has that path.
slurm_shared=""
slurm_linked=""
if [ -n "$slurm_mark" ] && [ "$(cat "$slurm_dir/.causeway-folder" 2>/dev/null)" = "$slurm_mark" ] &&
  [ -w "$slurm_dir" ]; then
  slurm_shared=1
  cd "$slurm_dir" || exit 1
else
  rm -f "$CAUSEWAY_OUTPUT_DIR/.causeway-folder"
  if [ -n "${CAUSEWAY_RESUME_DIR:-}" ]; then
    cp -a "$CAUSEWAY_RESUME_DIR/." "$CAUSEWAY_OUTPUT_DIR/" && rm -f "$CAUSEWAY_OUTPUT_DIR/COMPLETE"
  fi
  # A link that an earlier job could not take away leads nowhere.
  [ -L "$slurm_dir" ] && [ ! -e "$slurm_dir" ] && rm -f "$slurm_dir"
  if mkdir -p "$(dirname "$slurm_dir")" 2>/dev/null &&
    ln -sT "$CAUSEWAY_OUTPUT_DIR" "$slurm_dir" 2>/dev/null; then
    slurm_linked=1
  fi
  if [ "$slurm_dir" -ef "$CAUSEWAY_OUTPUT_DIR" ]; then
    cd "$slurm_dir" || exit 1
  else
    cd "$CAUSEWAY_OUTPUT_DIR" || exit 1
  fi
fi

# Files that the submitter's program writes after it has submitted are taken in as they come.
slurm_late=""
if [ -z "$slurm_shared" ] && [ -n "$slurm_key" ] && [ "${CAUSEWAY_NODE_RANK:-0}" = 0 ] &&
  [[ "$SLURM_JOB_ID" =~ ^[0-9]+$ ]]; then
  : >"$slurm_home/late"
  slurm_port=$((20000 + SLURM_JOB_ID % 10000))
  # shellcheck disable=SC2086 # several words
  ${CAUSEWAY_PYTHON:-python3} "$slurm_own/late.py" "$CAUSEWAY_OUTPUT_DIR" "$slurm_key" \
    "$slurm_port" "$((slurm_port + 10000))" "$((slurm_port + 20000))" </dev/null >/dev/null 2>&1 &
  slurm_late=$!
fi

export SLURM_JOBID="$SLURM_JOB_ID" SLURM_JOB_NAME="$slurm_name" SLURM_SUBMIT_DIR="$slurm_dir"
export SLURM_SUBMIT_HOST="$slurm_host" SLURM_JOB_PARTITION="$slurm_partition"
export SLURM_CLUSTER_NAME=causeway SLURM_JOB_ACCOUNT="$slurm_account" SLURM_JOB_USER="$slurm_user"
export SLURM_JOB_NUM_NODES="$CAUSEWAY_NUM_NODES" SLURM_NTASKS="$slurm_ntasks"
export SLURM_NPROCS="$slurm_ntasks" SLURM_NODEID="${CAUSEWAY_NODE_RANK:-0}"
export SLURM_PROCID="${CAUSEWAY_NODE_RANK:-0}" SLURM_LOCALID=0 SLURM_GTIDS=0
export SLURM_CPUS_ON_NODE="$slurm_cpus" SLURM_JOB_CPUS_PER_NODE="$slurm_cpus"
export SLURM_TASKS_PER_NODE="$slurm_tasks_per_node" SLURM_MEM_PER_NODE="$slurm_memory_mib"
export SLURMD_NODENAME="${CAUSEWAY_ISLAND##*:}" SLURM_OPEN_MODE="$slurm_open_mode"
export SLURM_TOPOLOGY_ADDR="${CAUSEWAY_ISLAND##*:}" SLURM_RESTART_COUNT="$((CAUSEWAY_ATTEMPT - 1))"
[ -n "$slurm_cpus_per_task" ] && export SLURM_CPUS_PER_TASK="$slurm_cpus_per_task"
[ -n "$slurm_ntasks_per_node" ] && export SLURM_NTASKS_PER_NODE="$slurm_ntasks_per_node"
[ -n "$slurm_gpus" ] && export SLURM_GPUS_ON_NODE="$slurm_gpus"
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  export SLURM_ARRAY_TASK_COUNT="$slurm_array_count" SLURM_ARRAY_TASK_MIN="$slurm_array_min"
  export SLURM_ARRAY_TASK_MAX="$slurm_array_max" SLURM_ARRAY_TASK_STEP="$slurm_array_step"
fi
# The first name is one that the others reach it by.
SLURM_JOB_NODELIST="$(hostname)"
if [ "$CAUSEWAY_NUM_NODES" -gt 1 ]; then
  SLURM_JOB_NODELIST="${MASTER_ADDR:-$SLURM_JOB_NODELIST}"
  for ((slurm_i = 1; slurm_i < CAUSEWAY_NUM_NODES; slurm_i++)); do
    SLURM_JOB_NODELIST+=",$SLURMD_NODENAME-$slurm_i"
  done
fi
export SLURM_JOB_NODELIST SLURM_NODELIST="$SLURM_JOB_NODELIST" SLURM_STEPS="$slurm_own/steps"
export PATH="$slurm_own/bin:$PATH"

# What changed goes back however the script ends: as outputs of a job that succeeds, else as a
# checkpoint, with which the next attempt begins.
slurm_keep() {
  local to="$slurm_home/back" known="$slurm_home/late"
  [ -e "$known" ] || known=/dev/null
  [ "$1" = 0 ] || to="$CAUSEWAY_CHECKPOINT_DIR/step-$CAUSEWAY_ATTEMPT"
  mkdir -p "$to"
  printf '%s\n' "$1" >"$slurm_home/back/.exit"
  (
    cd "$CAUSEWAY_OUTPUT_DIR" &&
      find . -path ./.slurm -prune -o -path ./.partial -prune -o -type f -cnewer "$slurm_own/begin" -print0 |
      grep -zvxFf "$known" |
      xargs -0 -r cp -lf --parents -t "$to"
  )
  if [ "$1" != 0 ]; then
    printf '{"step": %d}\n' "$CAUSEWAY_ATTEMPT" >"$to/.complete.tmp"
    mv "$to/.complete.tmp" "$to/COMPLETE"
  fi
}
slurm_leave() {
  local code=$?
  trap - EXIT
  [ -n "$slurm_timer" ] && kill "$slurm_timer" 2>/dev/null
  [ -n "$slurm_late" ] && kill "$slurm_late" 2>/dev/null
  [ -n "$slurm_linked" ] && rm -f "$slurm_dir"
  if [ -n "$slurm_shared" ]; then
    printf '%s\n' "$code" >"$slurm_home/back/.exit"
  elif [ "$code" = 0 ] || [ "${CAUSEWAY_NODE_RANK:-0}" = 0 ]; then
    # The nodes of a job share its folder; each keeps what there is when it is done.
    slurm_keep "$code"
  fi
  exit "$code"
}
slurm_timer=""
trap slurm_leave EXIT
trap : TERM

# --signal: to the steps, or with B: to the script alone.
slurm_warn() {
  sleep "$1" || return
  if [ -n "$slurm_signal_batch" ]; then
    kill -s "$slurm_signal" "$2" 2>/dev/null
  else
    cat "$slurm_own"/steps/*.pid 2>/dev/null | xargs -r kill -s "$slurm_signal" 2>/dev/null
  fi
}

[ -n "$slurm_merge" ] && exec 2>&1
chmod 700 "$slurm_own/script" "$slurm_own"/bin/*
touch "$slurm_own/begin"
# Clocks of file systems tick every few milliseconds: what is written next has to be newer.
sleep 0.02
"$slurm_own/script" "${slurm_args[@]}" &
slurm_script=$!
if [ -n "$slurm_signal" ] && [ "$slurm_limit_s" -gt "$slurm_signal_before_s" ]; then
  slurm_warn "$((slurm_limit_s - slurm_signal_before_s))" "$slurm_script" &
  slurm_timer=$!
fi
wait "$slurm_script"
slurm_code=$?
# A signal ends a wait, not the script.
while kill -0 "$slurm_script" 2>/dev/null; do
  wait "$slurm_script"
  slurm_code=$?
done
exit "$slurm_code"
