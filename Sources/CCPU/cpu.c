/*
 * Written in C because Swift reaches neither __builtin_cpu_supports nor the CPUID and XGETBV instructions behind it. The
 * builtin asks the operating system too: a feature counts only where the kernel saves the registers it needs. The
 * affinity calls of glibc are hidden from Swift behind _GNU_SOURCE.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "ccpu.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
int ccpu_level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
                   && __builtin_cpu_supports("avx512vl")
               ? 3
               : 2;
}
#else
int ccpu_level(void) { return 0; }
#endif

int ccpu_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int ccpu_current(void) {
    int processor = sched_getcpu();
    return processor > 0 ? processor : 0;
}

void ccpu_move_from(int from, int steps) {
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) return;
    int processor = from % CPU_SETSIZE;
    steps %= CPU_COUNT(&all);
    if (steps == 0) return;
    for (; steps > 0; steps--) {
        do processor = (processor + 1) % CPU_SETSIZE;
        while (!CPU_ISSET(processor, &all));
    }
    if (!CPU_ISSET(processor, &all)) return;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof all, &all);
}

int ccpu_load_flag(const volatile int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
