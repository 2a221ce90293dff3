# fish completion of svcdoctor; made by "svcdoctor completion fish"

function __svcdoctor_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    set -l directive (string match -r -g '^:(\d+)$' -- $lines[-1])
    test -n "$directive"; and set -e lines[-1]
    set -l flag (string match -r -- '^-[^=]*=' $current; or echo) # an empty list would leave nothing of what it precedes
    if test (count $lines) -gt 0
        printf '%s\n' $flag$lines
    else if test -z "$directive"; or test (math "bitand($directive, 4)") -eq 0
        for file in (__fish_complete_path (string replace -- "$flag" '' $current))
            printf '%s\n' $flag$file
        end
    end
end

complete -c svcdoctor -f -k -a '(__svcdoctor_complete)'
complete -c kubectl-svcdoctor -f -k -a '(__svcdoctor_complete)'
