#!/usr/bin/env bash
# The full experiment of both clients on this machine, with the files in memory: experiment_docs.sh PROGRAM FOLDER. Its tables
# and plots go to FOLDER; the rows they are made of do not.
set -euo pipefail
program=$1 folder=$2

memory=/dev/shm
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
work=$(mktemp -d "$memory/shoal-experiment-XXXXXX")
trap 'rm -rf "$work"' EXIT

"$program" --results "$work" >/dev/null
"$program" --results "$work" --client libtorrent --python "$PYTHON"
mkdir -p "$folder/libtorrent"
cp "$work"/{tables.md,throughput.svg,overhead.svg,bittorrent_summary.csv} "$folder"
cp "$work/libtorrent/bittorrent_summary.csv" "$folder/libtorrent"
