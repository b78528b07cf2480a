#!/bin/bash
# scontrol inside a job: the names of its nodes.
if [ "$1" = show ] && [[ "${2:-}" == hostname* ]]; then
  list="${3:-$SLURM_JOB_NODELIST}"
  while [ -n "$list" ]; do
    if [[ "$list" =~ ^([^],[]*)\[([0-9,-]+)\],?(.*)$ ]]; then
      prefix="${BASH_REMATCH[1]}" inside="${BASH_REMATCH[2]}" list="${BASH_REMATCH[3]}"
      IFS=, read -ra pieces <<<"$inside"
      for piece in "${pieces[@]}"; do
        low="${piece%-*}" high="${piece#*-}"
        for ((i = 10#$low; i <= 10#$high; i++)); do printf '%s%0*d\n' "$prefix" "${#low}" "$i"; done
      done
    else
      printf '%s\n' "${list%%,*}"
      [[ "$list" == *,* ]] && list="${list#*,}" || list=""
    fi
  done
  exit 0
fi
echo "scontrol: error: inside a job of the federation there is only: scontrol show hostnames" >&2
exit 1
