/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CCLOSURE_H
#define CCLOSURE_H

#include <stdint.h>

/* A Swift closure (Int) -> Void that somebody else keeps alive: its code, and the context with what it has captured. */
typedef struct cclosure {
    void *code;
    void *context;
} cclosure;

/* Calls the closure, from any thread. */
void cclosure_call(cclosure closure, intptr_t argument);

#endif
