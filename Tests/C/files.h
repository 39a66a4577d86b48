/*
 * Writes small data files of each kind that the library reads, into the folder of fixtures.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef FILES_H
#define FILES_H

#include "fixtures.h"
#include <hdf5.h>
#include <sys/stat.h>

enum { CIFAR_RECORD = 1 + 3 * 32 * 32 };

static inline void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(bytes, 1, size, file) == size);
    REQUIRE(fclose(file) == 0);
}

static inline size_t file_size(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (size_t)status.st_size : 0;
}

/* The images of make_images, in 8 bits, as the pair of files in which MNIST comes. */
static inline void write_idx(const char *image_path, const char *label_path) {
    unsigned char image_file[16 + COUNT * PIXELS] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    unsigned char label_file[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    make_images();
    for (size_t i = 0; i < COUNT * PIXELS; i++) image_file[16 + i] = (unsigned char)(images[i] * 255);
    for (size_t i = 0; i < COUNT; i++) label_file[8 + i] = (unsigned char)labels[i];
    write_file(image_path, image_file, sizeof image_file);
    write_file(label_path, label_file, sizeof label_file);
}

/* cifar-10's test split: records of a label and 3072 bytes. */
static inline void write_cifar(const char *path, size_t records) {
    unsigned char *bytes = calloc(records, CIFAR_RECORD);
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < records; i++) bytes[i * CIFAR_RECORD] = (unsigned char)(i % 10);
    write_file(path, bytes, records * CIFAR_RECORD);
    free(bytes);
}

static inline void write_hdf5_array(hid_t file, const char *name, hid_t type, int rank, const hsize_t *shape,
                                    const void *values) {
    hid_t space = H5Screate_simple(rank, shape, NULL);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    REQUIRE(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

/* "images" and "labels" in one HDF5 file. */
static inline void write_hdf5(const char *path) {
    hsize_t shape[4] = {COUNT, 1, SIDE, SIDE};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    REQUIRE(file >= 0);
    make_images();
    write_hdf5_array(file, "images", H5T_NATIVE_FLOAT, 4, shape, images);
    write_hdf5_array(file, "labels", H5T_NATIVE_INT64, 1, shape, labels);
    REQUIRE(H5Fclose(file) >= 0);
}

#endif
