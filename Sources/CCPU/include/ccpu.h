/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CCPU_H
#define CCPU_H

/* Which vector instructions this process may use: 3 = AVX-512 F, DQ, BW and VL; 2 = AVX2 and FMA; 0 = neither is certain
 * (older processors, other architectures). */
int ccpu_level(void);

/* Processors that this process may run on, at least 1. */
int ccpu_processor_count(void);

/* The processor that the calling thread runs on, or 0. */
int ccpu_current(void);

/* Moves the calling thread to the processor `steps` places behind `from` among those that it may run on, without tying it
 * to it: afterwards it may run on all of them again. */
void ccpu_move_from(int from, int steps);

/* Reads a flag that another thread may be writing. */
int ccpu_load_flag(const volatile int *flag);

/* Asks for the cache line at an address that will be read soon; inlined to one instruction. Any address is allowed. */
static inline void ccpu_prefetch(const void *address) { __builtin_prefetch(address); }

/* For whole vectors of floats, inlined to a few instructions, which Swift's conversions between vectors of bytes and of
 * numbers are not: values become 0 where the mask's byte is 0; a byte becomes 1 where the value is positive, else 0. */
static inline void ccpu_mask(void *values, const unsigned char *mask, int count) {
    float *x = (float *)values;
    for (int i = 0; i < count; i++) x[i] = mask[i] ? x[i] : 0.0f;
}
static inline void ccpu_signs(const void *values, unsigned char *signs, int count) {
    const float *x = (const float *)values;
    for (int i = 0; i < count; i++) signs[i] = x[i] > 0.0f;
}

/* 3x3 filters from memory, nine taps each, into vectors across filters: shuffles of whole vectors, for which Swift has no
 * words. CCPU_LANES is the number of floats in a vector. */
#if defined(__AVX512F__)
#define CCPU_LANES 16
#define CCPU_EACH_LANE(f, a, b) \
    f(a, b, 0), f(a, b, 1), f(a, b, 2), f(a, b, 3), f(a, b, 4), f(a, b, 5), f(a, b, 6), f(a, b, 7), f(a, b, 8), \
        f(a, b, 9), f(a, b, 10), f(a, b, 11), f(a, b, 12), f(a, b, 13), f(a, b, 14), f(a, b, 15)
#elif defined(__AVX2__)
#define CCPU_LANES 8
#define CCPU_EACH_LANE(f, a, b) \
    f(a, b, 0), f(a, b, 1), f(a, b, 2), f(a, b, 3), f(a, b, 4), f(a, b, 5), f(a, b, 6), f(a, b, 7)
#else
#define CCPU_LANES 4
#define CCPU_EACH_LANE(f, a, b) f(a, b, 0), f(a, b, 1), f(a, b, 2), f(a, b, 3)
#endif

typedef float ccpu_lanes __attribute__((vector_size(4 * CCPU_LANES), aligned(4)));

/* a + b*c, fused, as one instruction: Swift's addingProduct goes lane by lane, and what the compiler makes of that in large
 * functions are vectors half as wide, taken apart and put together. */
typedef float ccpu_vector __attribute__((ext_vector_type(CCPU_LANES)));
typedef float ccpu_half_vector __attribute__((ext_vector_type(CCPU_LANES / 2)));
static inline ccpu_vector ccpu_multiply_add(ccpu_vector a, ccpu_vector b, ccpu_vector c) {
    return __builtin_elementwise_fma(b, c, a);
}
static inline ccpu_half_vector ccpu_multiply_add_half(ccpu_half_vector a, ccpu_half_vector b, ccpu_half_vector c) {
    return __builtin_elementwise_fma(b, c, a);
}

/* target[column][row] of a square of CCPU_LANES rows, `stride` floats apart. */
static inline void ccpu_transpose(const float *source, long stride, float *target) {
    ccpu_lanes a[CCPU_LANES], b[CCPU_LANES];
#pragma clang loop unroll(full)
    for (int i = 0; i < CCPU_LANES; i++) a[i] = *(const ccpu_lanes *)(source + i * stride);
    /* Each round merges row i with row i + CCPU_LANES/2, element by element; after log2(CCPU_LANES) rounds an element
     * has changed its row with its column. */
#define CCPU_LOW(x, y, lane) ((lane) / 2 + (lane) % 2 * CCPU_LANES)
#define CCPU_HIGH(x, y, lane) (CCPU_LANES / 2 + (lane) / 2 + (lane) % 2 * CCPU_LANES)
#pragma clang loop unroll(full)
    for (int width = 1; width < CCPU_LANES; width *= 2) {
#pragma clang loop unroll(full)
        for (int i = 0; i < CCPU_LANES / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + CCPU_LANES / 2], CCPU_EACH_LANE(CCPU_LOW, 0, 0));
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + CCPU_LANES / 2], CCPU_EACH_LANE(CCPU_HIGH, 0, 0));
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < CCPU_LANES; i++) a[i] = b[i];
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < CCPU_LANES; i++) *(ccpu_lanes *)(target + i * CCPU_LANES) = a[i];
}

/* target[tap][filter] of CCPU_LANES filters that lie one after the other. Tap t of filter c is element 9c + t, and because 9 is
 * odd the elements of a tap lie in different lanes: each is taken where it is, from one of nine vectors, and then they are
 * put in order. */
static inline void ccpu_gather_taps(const float *source, float *target) {
    ccpu_lanes a[9];
#pragma clang loop unroll(full)
    for (int i = 0; i < 9; i++) a[i] = *(const ccpu_lanes *)(source + i * CCPU_LANES);
/* The filter whose tap is in a lane: 9 is its own inverse modulo 16, 8 and 4. */
#define CCPU_FILTER(tap, lane) ((9 * ((lane) + 16 - (tap))) % CCPU_LANES)
#define CCPU_TAKE(tap, vector, lane) \
    ((9 * CCPU_FILTER(tap, lane) + (tap)) / CCPU_LANES == (vector) ? CCPU_LANES + (lane) : (lane))
#define CCPU_ORDER(tap, unused, lane) ((9 * (lane) + (tap)) % CCPU_LANES)
#define CCPU_TAP_FROM(tap, vector) x = __builtin_shufflevector(x, a[vector], CCPU_EACH_LANE(CCPU_TAKE, tap, vector));
#define CCPU_TAP(tap)                                                                                  \
    {                                                                                                  \
        ccpu_lanes x = a[0];                                                                           \
        CCPU_TAP_FROM(tap, 1) CCPU_TAP_FROM(tap, 2) CCPU_TAP_FROM(tap, 3) CCPU_TAP_FROM(tap, 4)        \
        CCPU_TAP_FROM(tap, 5) CCPU_TAP_FROM(tap, 6) CCPU_TAP_FROM(tap, 7) CCPU_TAP_FROM(tap, 8)        \
        x = __builtin_shufflevector(x, x, CCPU_EACH_LANE(CCPU_ORDER, tap, 0));                         \
        *(ccpu_lanes *)(target + (tap) * CCPU_LANES) = x;                                              \
    }
    CCPU_TAP(0) CCPU_TAP(1) CCPU_TAP(2) CCPU_TAP(3) CCPU_TAP(4) CCPU_TAP(5) CCPU_TAP(6) CCPU_TAP(7) CCPU_TAP(8)
}

#endif
