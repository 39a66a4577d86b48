/*
 * zlib as a Swift module, for gzip-compressed IDX files. Why this file exists: a module map needs a header of its own
 * folder to find one of the system's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IGDM_CZLIB_SHIM_H
#define IGDM_CZLIB_SHIM_H

#include <zlib.h>

#endif
