# Wine for the parts that run programs for Windows. After `source common.bash`.
target=x86_64-pc-windows-gnu

# Sets up a prefix in $1 and the runner of cargo, or skips the part. The caller calls `end_wine`.
set_up_wine() {
    packages gcc-mingw-w64-x86-64-win32 wine wine64
    std_for "$target" || skip "no standard library for $target"
    export WINEPREFIX=$1/wine WINEDEBUG=-all WINEARCH=win64 DISPLAY=
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
    # A prefix without a desktop says so on standard error.
    timeout 300 wine wineboot -i >/dev/null 2>&1 || skip "wine does not start"
    local library=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
    [[ -f $library ]] || make_random_numbers "$library"
}

# Wine before 9 has no bcryptprimitives.dll, which Rust's standard library asks for random numbers.
make_random_numbers() {
    cat >"$1.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return SystemFunction036(p, (ULONG)n); }
C
    x86_64-w64-mingw32-gcc -shared -o "$1" "$1.c" -ladvapi32
}

# Ends what runs in the prefix, and nothing else.
end_wine() {
    [[ ! -d ${WINEPREFIX:-} ]] || wineserver -k 2>/dev/null || true
}
