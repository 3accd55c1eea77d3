
# COMMAND of `rvlf run DATA COMMAND ARGS..` is completed as a command of its own.

# The index of COMMAND, if the cursor is there or behind it.
_rvlf_command_at() {
    local i has_data=
    for ((i = 2; i <= COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            @WITH_VALUE@) [[ ${COMP_WORDS[i + 1]} == "=" ]] || ((i++)) ;;
            --wait) [[ ${COMP_WORDS[i + 1]} =~ ^[0-9.]+(ms|s|m|h)?$ ]] && ((i++)) ;;
            # --wait=5s is three words.
            =) ((i++)) ;;
            -?*) ;;
            *)
                if [[ $has_data ]]; then
                    echo "$i"
                    return
                fi
                has_data=1
                ;;
        esac
    done
    return 1
}

_rvlf_with_command() {
    local at
    if [[ ${COMP_WORDS[1]} != run ]] || ! at=$(_rvlf_command_at); then
        _rvlf "$@"
    elif declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$at"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$at"
    elif ((COMP_CWORD == at)); then
        COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
    else
        COMPREPLY=()
    fi
}

complete -F _rvlf_with_command -o bashdefault -o default rvlf
