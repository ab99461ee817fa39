#!/bin/sh
# `make demo`: the main job once, on a capture of our own. $1 is the tapwall command.
set -eu
cd "$(dirname "$0")/.."
tapwall=$1
capture=captures/office-intruder.pcap
echo "== tapwall analyze $capture -o report"
"$tapwall" analyze "$capture" -o report
echo
echo "== tapwall rules $capture --permit 192.168.10.0/24 -o report"
"$tapwall" rules "$capture" --permit 192.168.10.0/24 -o report
echo
echo "The report:  $(pwd)/report/report.html"
echo "The rules:   $(pwd)/report/rules.v4 (and rules.v6, rules.nft, apply.sh, undo.sh)"
