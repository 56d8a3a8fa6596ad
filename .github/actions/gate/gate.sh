#!/usr/bin/env bash
# Runs a suite and holds it against a baseline: all that action.yml does after installing, for other systems too.
#
#   SUITE=gate.toml BASELINE=baseline gate.sh
#
# Read from the environment:
#   SUITE, BASELINE   the suite and the results folder that it is held against
#   OUT               the folder of the new results and of verdict.md, .json and .xml; new/gate if empty
#   PLUGIN            files or modules to use as plugins, one a line, where they aren't installed
#   PORTABLE          "true" pins the instruction set; so it is if empty
#   REPEAT            cells to run a second time if the gate passes, and to find the same in every bit; none if empty
#   RUN_OPTIONS, COMPARE_OPTIONS   more options of `finefuse run` and of `finefuse compare`, quoted as in a shell
#
# Exits with 0 if the gate passes, 1 if not, 2 if something asked for makes no sense.
set -uo pipefail
if [ -z "${SUITE:-}" ] || [ -z "${BASELINE:-}" ]; then
    echo "gate.sh: SUITE must name a suite, and BASELINE the results folder that it is held against." >&2
    exit 2
fi
out=${OUT:-new/gate}
rm -f "$out"/verdict.{md,json,xml} "$out/repeated.md" # of a former run

words() { # one a line, as a shell would split them, without carrying anything out
    xargs -r -n 1 printf '%s\n' <<<"$1"
}

summarise() { # on GitHub, for the page of the run
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
        cat "$1" >>"$GITHUB_STEP_SUMMARY"
    fi
}

for given in "${RUN_OPTIONS:-}" "${COMPARE_OPTIONS:-}"; do
    if ! words "$given" >/dev/null; then # else options would be dropped without a word
        echo "gate.sh: these options have a quote that isn't closed: $given" >&2
        exit 2
    fi
done
mapfile -t run < <(words "${RUN_OPTIONS:-}")
mapfile -t compare < <(words "${COMPARE_OPTIONS:-}")
if [ "${PORTABLE:-true}" = true ]; then
    run+=(--portable)
fi
plugins=()
while IFS= read -r plugin; do
    if [ -n "$plugin" ]; then
        plugins+=(--plugin "$plugin")
    fi
done <<<"${PLUGIN:-}"

finefuse run "$SUITE" --out "$out" "${run[@]}" "${plugins[@]}"
ran=$?
if [ "$ran" -gt 1 ]; then # nothing was run: what lies in the folder is another run's
    exit "$ran"
fi

# On GitHub what is printed becomes annotations.
printed=text
if [ "${GITHUB_ACTIONS:-}" = true ]; then
    printed=github
fi
finefuse compare "$BASELINE" "$out" "${compare[@]}" --format "$printed" \
    --format "markdown=$out/verdict.md" --format "json=$out/verdict.json" --format "junit=$out/verdict.xml"
compared=$?
if [ -f "$out/verdict.md" ]; then
    summarise "$out/verdict.md"
fi
passed=$((compared > ran ? compared : ran))
if [ "$passed" -ne 0 ] || [ "${REPEAT:-0}" = 0 ]; then
    exit "$passed"
fi

finefuse verify "$out" --sample "$REPEAT" --suite "$SUITE" "${plugins[@]}" | tee "$out/repeated.md"
passed=$?
summarise "$out/repeated.md"
exit "$passed"
