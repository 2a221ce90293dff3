#!/usr/bin/env bash
# One run of svcdoctor in a workflow: annotations go to the log, the other forms to files, which the outputs name.
set -euo pipefail

words=("$SVCDOCTOR_COMMAND" --fail-on "$SVCDOCTOR_FAIL_ON")
if [[ $SVCDOCTOR_COMMAND == lint ]]; then
  while IFS= read -r line; do
    [[ -z $line ]] || words+=(-f "$line")
  done <<<"$SVCDOCTOR_FILES"
fi
while IFS= read -r line; do
  [[ -z $line ]] || words+=("$line")
done <<<"$SVCDOCTOR_ARGUMENTS"

sarif=$RUNNER_TEMP/svcdoctor-$SVCDOCTOR_COMMAND.sarif
junit=$RUNNER_TEMP/svcdoctor-$SVCDOCTOR_COMMAND.xml
summary=$RUNNER_TEMP/svcdoctor-$SVCDOCTOR_COMMAND.md
rm -f "$sarif" "$junit" "$summary"

code=0
svcdoctor "${words[@]}" -o github -o sarif="$sarif" -o junit="$junit" -o markdown="$summary" || code=$?
echo "exit-code=$code" >>"$GITHUB_OUTPUT"
if [[ -e $sarif ]]; then
  echo "sarif=$sarif" >>"$GITHUB_OUTPUT"
  echo "junit=$junit" >>"$GITHUB_OUTPUT"
  cat "$summary" >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
