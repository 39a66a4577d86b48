/*
 * How long the library takes to load: from dlopen to the return of a first call, in this fresh process.
 *
 *     ./load PATH    prints seconds
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: %s PATH\n", argv[0]), 2;
    double began = now();
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
    int32_t (*version)(void) = (int32_t (*)(void))dlsym(library, "igdm_version_number");
    if (version == NULL || version() <= 0) return fprintf(stderr, "%s: no igdm library\n", argv[1]), 1;
    printf("%.6f\n", now() - began);
    return 0;
}
