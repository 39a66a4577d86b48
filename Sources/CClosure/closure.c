/*
 * Written in C because Swift has no way to lend a closure to other threads for the length of a call but
 * withoutActuallyEscaping, which allocates a box each time: one for every operation of every layer. Swift's calling
 * convention passes a closure as two words; Clang knows it (its attributes swiftcall and swift_context), and in C the
 * words are out of the reach of reference counting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cclosure.h"

#define SWIFT __attribute__((swiftcall))
#define CONTEXT __attribute__((swift_context))

typedef void (*cclosure_borrower)(cclosure, intptr_t count, void *borrower);

/* Declared to Swift in Runtime/BorrowedClosure.swift: the first two words are a closure there. */
SWIFT void cclosure_lend(void *code, void *context, intptr_t count, void *borrower, cclosure_borrower run);

SWIFT void cclosure_lend(void *code, void *context, intptr_t count, void *borrower, cclosure_borrower run) {
    run((cclosure){code, context}, count, borrower);
}

void cclosure_call(cclosure closure, intptr_t argument) {
    ((SWIFT void (*)(intptr_t, CONTEXT void *))closure.code)(argument, closure.context);
}
