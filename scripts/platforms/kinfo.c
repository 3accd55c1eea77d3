/* The places in Apple's struct kinfo_proc that src/sys/bsd/layout.rs states. Compiled, not run. */
#include <stddef.h>
#include <sys/types.h>
#include <sys/proc.h>
#include <sys/sysctl.h>

#define AT(field, where, bytes)                                              \
    _Static_assert(offsetof(struct kinfo_proc, kp_proc.field) == (where) &&  \
                       sizeof(((struct kinfo_proc *)0)->kp_proc.field) == (bytes), \
                   #field)

_Static_assert(sizeof(struct kinfo_proc) == 648, "size");
AT(p_starttime.tv_sec, 0, 8);
AT(p_starttime.tv_usec, 8, 4);
AT(p_stat, 36, 1);
AT(p_pid, 40, 4);
_Static_assert(SZOMB == 5, "SZOMB");
