
# COMMAND of `rvlf run DATA COMMAND ARGS..` is completed as a command of its own.

# Prints the line from COMMAND to the cursor, if the cursor is at COMMAND or behind it.
function __rvlf_command
    set -l words (commandline -opc)
    test "$words[2]" = run; or return 1
    set -l end (math (count $words) + 1)
    set -l has_data
    set -l i 3
    while test $i -le $end
        switch "$words[$i]"
            case @WITH_VALUE@
                set i (math $i + 1)
            case --wait
                set -l next (math $i + 1)
                string match -qr '^[0-9.]+(ms|s|m|h)?$' -- "$words[$next]"; and set i $next
            case '-*'
            case '*'
                if set -q has_data[1]
                    set -l before
                    test $i -lt $end; and set before (string escape -- $words[$i..-1])
                    string join ' ' -- $before (commandline -ct)
                    return 0
                end
                set has_data 1
        end
        set i (math $i + 1)
    end
    return 1
end

complete -c rvlf -n '__rvlf_command >/dev/null' -x -a '(complete -C (__rvlf_command))'
