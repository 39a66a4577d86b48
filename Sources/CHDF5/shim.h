/*
 * HDF5 as a Swift module.
 *
 * Why this file exists: Swift imports no macro that is more than a literal, and most of HDF5's constants are such
 * macros (H5T_NATIVE_FLOAT opens the library, then reads a variable). Each one that the engine uses is a function here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IGDM_CHDF5_SHIM_H
#define IGDM_CHDF5_SHIM_H

#include <hdf5.h>

/* H5CHECK, a part of the H5F_ACC_* macros, prints and aborts the process where header and library differ. A guest in
 * somebody's process may do neither; the library's soname guards the match. */
#undef H5CHECK
#define H5CHECK

/* Element types */
static inline hid_t chdf5_native_float(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t chdf5_native_uint8(void) { return H5T_NATIVE_UINT8; }
static inline hid_t chdf5_native_int8(void) { return H5T_NATIVE_INT8; }
static inline hid_t chdf5_native_int64(void) { return H5T_NATIVE_INT64; }
static inline hid_t chdf5_native_double(void) { return H5T_NATIVE_DOUBLE; }
static inline hid_t chdf5_float32_little_endian(void) { return H5T_IEEE_F32LE; }
static inline hid_t chdf5_float32_big_endian(void) { return H5T_IEEE_F32BE; }
static inline hid_t chdf5_float64_little_endian(void) { return H5T_IEEE_F64LE; }
static inline hid_t chdf5_int64_little_endian(void) { return H5T_STD_I64LE; }
static inline hid_t chdf5_uint8(void) { return H5T_STD_U8LE; }
static inline hid_t chdf5_c_string(void) { return H5T_C_S1; }
static inline size_t chdf5_variable_length(void) { return H5T_VARIABLE; }

/* Property lists */
static inline hid_t chdf5_default_properties(void) { return H5P_DEFAULT; }
static inline hid_t chdf5_file_creation(void) { return H5P_FILE_CREATE; }
static inline hid_t chdf5_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t chdf5_group_creation(void) { return H5P_GROUP_CREATE; }
static inline hid_t chdf5_dataset_creation(void) { return H5P_DATASET_CREATE; }

/* Everything else */
static inline unsigned chdf5_read_only(void) { return H5F_ACC_RDONLY; }
static inline unsigned chdf5_truncate(void) { return H5F_ACC_TRUNC; }
static inline hid_t chdf5_whole_extent(void) { return H5S_ALL; }
static inline hid_t chdf5_error_stack(void) { return H5E_DEFAULT; }

#endif
