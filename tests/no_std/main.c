/* Reads a lock file and prints what the library, linked without std, makes of it. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

uint32_t rvlf_pid(const uint8_t *bytes, size_t len);
bool rvlf_refresh(const uint8_t *bytes, size_t len, uint64_t timestamp_ns, uint8_t to[104]);
int32_t rvlf_row(const uint8_t *bytes, size_t len, uint64_t age_seconds);

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        perror("usage: main LOCKFILE");
        return 2;
    }
    uint8_t bytes[105], refreshed[104];
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    printf("pid %u\n", rvlf_pid(bytes, len));
    printf("row %d, later %d\n", rvlf_row(bytes, len, 0), rvlf_row(bytes, len, 301));
    if (rvlf_refresh(bytes, len, UINT64_C(0x0102030405060708), refreshed)) {
        printf("refreshed ");
        for (size_t at = 0; at < sizeof refreshed; at++) printf("%02x", refreshed[at]);
        printf("\n");
    }
    return 0;
}
