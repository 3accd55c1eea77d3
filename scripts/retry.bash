# For scripts that install from registries.

# A registry's hiccup is not a failure of ours.
retry() {
    local pause
    for pause in 5 20; do
        "$@" && return
        echo "failed, again in $pause s: $*"
        sleep "$pause"
    done
    "$@"
}
