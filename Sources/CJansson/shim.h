/*
 * Jansson as a Swift module.
 *
 * Why this file exists: Swift imports neither Jansson's macros for types and flags nor a struct whose last bytes are a
 * status. Each that the engine uses is a function here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IGDM_CJANSSON_SHIM_H
#define IGDM_CJANSSON_SHIM_H

#include <jansson.h>

/* Reads one JSON text. Duplicate keys are an error; so are NUL, broken UTF-8 and numbers beyond int64 and double. */
static inline json_t *cjansson_read(const char *bytes, size_t count, json_error_t *error) {
    return json_loadb(bytes, count, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
}

/* One line of JSON, to be freed. Nine digits are what a float needs. NULL: no memory. */
static inline char *cjansson_write(const json_t *value) {
    return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
}

static inline json_type cjansson_type(const json_t *value) { return json_typeof(value); }
static inline void cjansson_release(json_t *value) { json_decref(value); }
static inline const char *cjansson_error_text(const json_error_t *error) { return error->text; }
static inline int cjansson_is_out_of_memory(const json_error_t *error) {
    return json_error_code(error) == json_error_out_of_memory;
}

#endif
