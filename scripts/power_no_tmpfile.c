// Preloaded into a holder: O_TMPFILE fails, and the lock is published in another way. RVLF_POWER_PUBLISH is
// `private` (a file system without O_TMPFILE) or `created` (a security policy that forbids it).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int openat(int dir, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = strcmp(getenv("RVLF_POWER_PUBLISH"), "private") ? EPERM : EOPNOTSUPP;
        return -1;
    }
    return syscall(SYS_openat, dir, path, flags, mode);
}

int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
