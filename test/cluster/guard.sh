#!/bin/sh
# Ends the cluster of WORKDIR once its own input ends: guard.sh DOWN
# A program of the cluster that was stopped has stopped the nsenter above it, which then goes on only when it is told to,
# and without it the cluster's processes cannot be reaped.
set -u
read -r _
for process in /proc/[0-9]*; do
  if tr '\0' ' ' 2> /dev/null < "$process/cmdline" | grep -q "^nsenter .*--wd=$WORKDIR/"; then
    kill -CONT "${process#/proc/}"
  fi
done
exec "$1"
