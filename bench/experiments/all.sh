#!/usr/bin/env bash
# Runs the experiments of EXPERIMENTS (all), one after the other; when one fails the others go on, and the exit code is its.
set -uo pipefail
cd "$(dirname "$0")"
code=0
for name in ${EXPERIMENTS:-*/}; do
	printf '\n=== %s\n' "${name%/}"
	bash "${name%/}/run.sh" || code=$?
done
exit $code
