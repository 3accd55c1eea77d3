# What the scripts of this directory have to know of the targets.

sanitizer_of() {
    # No unsafe code runs there, and what a killed process leaves would be reported as a leak.
    if [[ $1 == schedule || $1 == store ]]; then echo none; else echo address; fi
}
