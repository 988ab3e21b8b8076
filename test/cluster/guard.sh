#!/bin/sh
# usage: guard.sh DOWN
# Runs DOWN, which ends the cluster of WORKDIR, when standard input ends. Before that, it continues each nsenter of the
# cluster: an nsenter stops together with the program below it, and a stopped one doesn't reap the cluster's processes.
set -u
read -r _
for process in /proc/[0-9]*; do
  if tr '\0' ' ' 2> /dev/null < "$process/cmdline" | grep -q "^nsenter .*--wd=$WORKDIR/"; then
    kill -CONT "${process#/proc/}"
  fi
done
exec "$1"
