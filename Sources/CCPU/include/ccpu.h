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
static inline void ccpu_mask(float *values, const unsigned char *mask, int count) {
    for (int i = 0; i < count; i++) values[i] = mask[i] ? values[i] : 0.0f;
}
static inline void ccpu_signs(const float *values, unsigned char *signs, int count) {
    for (int i = 0; i < count; i++) signs[i] = values[i] > 0.0f;
}

#endif
