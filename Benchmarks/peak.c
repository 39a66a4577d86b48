/*
 * The machine's peak rate of single-precision fused multiply-adds, with the widest vectors it has.
 *
 *     ./peak THREADS    prints {"isa": ..., "one_thread": GFLOP/s, "all_threads": GFLOP/s, "threads": THREADS}
 *
 * Each thread keeps 16 independent sums in registers, enough to fill two units of latency 4. The best of several
 * bursts counts, after the processor has had time to raise its clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SUMS = 16, ROUNDS = 2000000, BURSTS = 100, MOST_THREADS = 256 };

typedef float v4 __attribute__((vector_size(16)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v16 __attribute__((vector_size(64)));

/* ROUNDS times SUMS vector multiply-adds. The empty asm keeps the sums in registers and the loop alive. */
#define CHAIN(NAME, VECTOR, TARGET, REGISTER)                                                                   \
    TARGET static void NAME(void) {                                                                             \
        VECTOR sum[SUMS], a = {0}, b = {0};                                                                     \
        a += 0.999f, b += 0.001f;                                                                               \
        for (int i = 0; i < SUMS; i++) sum[i] = a * (float)i;                                                   \
        __asm__ volatile("" : "+" REGISTER(a), "+" REGISTER(b));                                                \
        for (int round = 0; round < ROUNDS; round++) {                                                          \
            _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * a + b;                    \
            __asm__ volatile("" : "+" REGISTER(a));                                                             \
        }                                                                                                       \
        for (int i = 0; i < SUMS; i++) __asm__ volatile("" ::REGISTER(sum[i]));                                 \
    }

#if defined(__x86_64__)
CHAIN(chain_avx512, v16, __attribute__((target("avx512f"))), "v")
CHAIN(chain_avx2, v8, __attribute__((target("avx2,fma"))), "x")
CHAIN(chain_plain, v4, , "x")
#else
CHAIN(chain_plain, v4, , "w")
#endif

static void (*chain)(void) = chain_plain;
static const char *isa = "baseline";
static int lanes = 4;
static double began[MOST_THREADS], ended[MOST_THREADS];
static pthread_barrier_t together;

static void choose(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) chain = chain_avx512, isa = "avx512", lanes = 16;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) chain = chain_avx2, isa = "avx2", lanes = 8;
#endif
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *burst(void *index) {
    int self = (int)(long)index;
    pthread_barrier_wait(&together);
    began[self] = now();
    chain();
    ended[self] = now();
    return NULL;
}

static double best_rate(int threads) {
    double best = 0;
    for (int repeat = 0; repeat < BURSTS; repeat++) {
        pthread_t others[MOST_THREADS];
        pthread_barrier_init(&together, NULL, (unsigned)threads);
        for (long i = 1; i < threads; i++)
            if (pthread_create(&others[i], NULL, burst, (void *)i)) exit(1);
        burst(NULL);
        for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
        pthread_barrier_destroy(&together);
        double first = began[0], last = ended[0];
        for (int i = 1; i < threads; i++) {
            first = began[i] < first ? began[i] : first;
            last = ended[i] > last ? ended[i] : last;
        }
        double rate = 2e-9 * lanes * SUMS * (double)ROUNDS * threads / (last - first);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return fprintf(stderr, "THREADS: 1 .. %d\n", MOST_THREADS), 2;
    choose();
    double one = best_rate(1), all = threads == 1 ? one : best_rate(threads);
    printf("{\"isa\": \"%s\", \"one_thread\": %.1f, \"all_threads\": %.1f, \"threads\": %d}\n", isa, one, all, threads);
    return 0;
}
