#!/bin/bash
# srun inside a job: starts this node's share of the tasks. Every node of the job runs the script,
# so together they start all of them.
ntasks="${SLURM_NTASKS:-1}" nodes="${SLURM_JOB_NUM_NODES:-1}" out="" err="" label="" dir=""
exports="" append=""
[ "${SLURM_OPEN_MODE:-}" = append ] && append=1
own_tasks=""
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    --*=*) name="${1%%=*}" value="${1#*=}" taken=1 ;;
    --ntasks | --nodes | --output | --error | --chdir | --export | --cpus-per-task | --input | \
      --job-name | --ntasks-per-node | --gpus | --gres | --time | --partition | --account | --mem | \
      --nodelist | --exclude | --distribution | --mpi | --cpu-bind | --gpus-per-task | \
      --gpus-per-node | --gpu-bind | --mem-per-cpu | --mem-bind | --open-mode | --constraint | \
      --jobid | --relative | --wait | --gpus-per-socket | --qos | --hint | --multi-prog)
      name="$1" value="$2" taken=2 ;;
    --*) name="$1" value="" taken=1 ;;
    -[nNoeDcJGtpAwxmiCrW]) name="$1" value="$2" taken=2 ;;
    -[nNoeDcJGtpAwxmiCrW]*) name="${1:0:2}" value="${1:2}" taken=1 ;;
    -*) name="$1" value="" taken=1 ;;
    *) break ;;
  esac
  case "$name" in
    -n | --ntasks) ntasks="$value" own_tasks=1 ;;
    -N | --nodes) nodes="${value%%-*}"; [ -n "$own_tasks" ] || ntasks="" ;;
    --ntasks-per-node) per_node="$value" ;;
    -o | --output) out="$value" ;;
    -e | --error) err="$value" ;;
    -D | --chdir) dir="$value" ;;
    -l | --label) label=1 ;;
    --export) exports="$value" ;;
    --open-mode) append=""; [ "${value:0:1}" = a ] && append=1 ;;
    --multi-prog) echo "srun: error: --multi-prog is not supported here" >&2; exit 1 ;;
  esac
  shift "$taken"
done
if [ $# -eq 0 ]; then
  echo "srun: fatal: No command given to execute." >&2
  exit 1
fi
[ "$nodes" -gt "${SLURM_JOB_NUM_NODES:-1}" ] && {
  echo "srun: error: Only allocated ${SLURM_JOB_NUM_NODES:-1} nodes asked for $nodes" >&2
  exit 1
}
[ -n "$ntasks" ] || ntasks=$((nodes * ${per_node:-1}))
here="${SLURM_NODEID:-0}"
share=$(((ntasks + nodes - 1) / nodes))
first=$((here * share))
[ "$here" -ge "$nodes" ] && exit 0
[ -n "$dir" ] && { cd "$dir" || exit 1; }

# The step's number: the first that is still free.
step=0
while ! mkdir "$SLURM_STEPS/$step" 2>/dev/null; do step=$((step + 1)); done
echo $$ >"$SLURM_STEPS/$step.pid"

place() { # pattern, task -> the file that it means
  local text="$1" word
  word="${text//%%/$'\001'}"
  word="${word//%j/$SLURM_JOB_ID}" word="${word//%J/$SLURM_JOB_ID.$step}"
  word="${word//%A/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}"
  word="${word//%a/${SLURM_ARRAY_TASK_ID:-4294967294}}"
  word="${word//%s/$step}" word="${word//%t/$2}" word="${word//%n/$here}"
  word="${word//%N/$(hostname -s)}" word="${word//%x/$SLURM_JOB_NAME}"
  word="${word//%u/$SLURM_JOB_USER}"
  printf '%s' "${word//$'\001'/%}"
}
open_mode() { # every file is begun once per step, then added to
  [ -n "$append" ] || [ "$1" = /dev/null ] || [ -n "${begun[$1]:-}" ] || : >"$1" || exit 1
  begun[$1]=1
}
declare -A begun
pids=()
passing() { [ ${#pids[@]} -gt 0 ] && kill -s "$1" "${pids[@]}" 2>/dev/null; }
for name in TERM INT USR1 USR2 HUP CONT; do trap "passing $name" "$name"; done
for ((local_id = 0; local_id < share && first + local_id < ntasks; local_id++)); do
  task=$((first + local_id))
  to="" err_to=""
  case "$out" in
    "" | all) ;;
    none) to=/dev/null ;;
    *[!0-9]*) to="$(place "$out" "$task")" ;;
    *) [ "$out" = "$task" ] || to=/dev/null ;;
  esac
  case "$err" in
    "" | all) err_to="$to" ;;
    none) err_to=/dev/null ;;
    *) err_to="$(place "$err" "$task")" ;;
  esac
  [ -n "$to" ] && open_mode "$to"
  [ -n "$err_to" ] && open_mode "$err_to"
  (
    trap - TERM INT USR1 USR2 HUP CONT
    export SLURM_PROCID=$task SLURM_LOCALID=$local_id SLURM_STEP_ID=$step SLURM_STEPID=$step
    export SLURM_NTASKS=$ntasks SLURM_NPROCS=$ntasks SLURM_STEP_NUM_TASKS=$ntasks
    export SLURM_STEP_NUM_NODES=$nodes SLURM_TASK_PID=$BASHPID
    export RANK=$task LOCAL_RANK=$local_id WORLD_SIZE=$ntasks LOCAL_WORLD_SIZE=$share
    IFS=, read -ra words <<<"$exports"
    for word in "${words[@]}"; do [[ "$word" == *=* ]] && export "$word"; done
    [ -n "$to" ] && exec >>"$to"
    [ -n "$err_to" ] && exec 2>>"$err_to"
    if [ -n "$label" ] && [ -z "$to" ]; then
      exec > >(sed -u "s/^/$task: /") 2> >(sed -u "s/^/$task: /" >&2)
    fi
    exec "$@"
  ) </dev/null &
  pids+=($!)
done
worst=0
for ((i = 0; i < ${#pids[@]}; i++)); do
  wait "${pids[i]}"
  code=$?
  while kill -0 "${pids[i]}" 2>/dev/null; do
    wait "${pids[i]}"
    code=$?
  done
  if [ "$code" -gt 128 ]; then
    echo "srun: error: $(hostname -s): task $((first + i)): $(kill -l $((code - 128)))" >&2
  elif [ "$code" -ne 0 ]; then
    echo "srun: error: $(hostname -s): task $((first + i)): Exited with exit code $code" >&2
  fi
  [ "$code" -gt "$worst" ] && worst="$code"
done
rm -f "$SLURM_STEPS/$step.pid"
exit "$worst"
