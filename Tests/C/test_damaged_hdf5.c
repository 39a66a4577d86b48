/*
 * HDF5 files whose datasets are described by wrong bytes, with their checksums made right again. HDF5 1.10 does not survive
 * some of them; the library must, in silence, at the end of the process too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"

/* Of HDF5, exported but not in its headers. */
uint32_t H5_checksum_metadata(const void *bytes, size_t length, uint32_t start);

enum kind { NUMBERS, ENUMERATION, NAMED_TYPE, CHUNKS };

/* A file in memory, and where the header of its labels is. */
struct image {
    unsigned char *bytes;
    size_t size;
    size_t header, header_size;
    int has_checksum;
};

static char path[128];

static hid_t label_type(hid_t file, enum kind kind) {
    if (kind != ENUMERATION && kind != NAMED_TYPE) return H5Tcopy(H5T_NATIVE_INT64);
    hid_t type = H5Tenum_create(H5T_NATIVE_INT64);
    const int64_t values[] = {0, 1, 2};
    REQUIRE(H5Tenum_insert(type, "zero", &values[0]) >= 0 && H5Tenum_insert(type, "one", &values[1]) >= 0);
    REQUIRE(H5Tenum_insert(type, "two", &values[2]) >= 0);
    if (kind == NAMED_TYPE) REQUIRE(H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    return type;
}

/* How long the messages in the header's first block are, behind which lies the checksum of the newer form. */
static void measure_header(struct image *image) {
    const unsigned char *at = image->bytes + image->header;
    image->has_checksum = memcmp(at, "OHDR", 4) == 0;
    if (!image->has_checksum) {
        image->header_size = 16 + (size_t)(at[8] | at[9] << 8);
        return;
    }
    size_t place = 6 + (at[5] & 0x20 ? 16 : 0) + (at[5] & 0x10 ? 4 : 0), width = (size_t)1 << (at[5] & 3), count = 0;
    for (size_t i = 0; i < width; i++) count |= (size_t)at[place + i] << 8 * i;
    image->header_size = place + width + count;
}

/* "images" and "labels", the labels as `kind` says, with headers of the older or the newer form. */
static struct image make_file(enum kind kind, int newer) {
    const hsize_t shape[4] = {COUNT, 1, SIDE, SIDE}, chunk[1] = {5};
    struct image image = {0};
    H5O_info_t info;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_DATASET_CREATE);
    if (newer) H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    if (kind == CHUNKS) H5Pset_chunk(creation, 1, chunk), H5Pset_deflate(creation, 1);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access), type = label_type(file, kind);
    REQUIRE(file >= 0);
    make_images();
    write_hdf5_array(file, "images", H5T_NATIVE_FLOAT, 4, shape, images);
    hid_t space = H5Screate_simple(1, shape, NULL);
    hid_t set = H5Dcreate2(file, "labels", type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    REQUIRE(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, labels) >= 0);
    REQUIRE(H5Oget_info_by_name2(file, "labels", &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0);
    H5Dclose(set), H5Sclose(space), H5Tclose(type), H5Pclose(creation), H5Pclose(access);
    REQUIRE(H5Fclose(file) >= 0);

    image.size = file_size(path), image.header = (size_t)info.addr;
    image.bytes = malloc(image.size);
    FILE *stream = fopen(path, "rb");
    REQUIRE(stream != NULL && image.bytes != NULL && fread(image.bytes, 1, image.size, stream) == image.size);
    fclose(stream);
    measure_header(&image);
    return image;
}

/* Opens the file with the checksum made right. */
static int32_t open_image(struct image *image) {
    igdm_dataset *dataset = NULL;
    unsigned char *header = image->bytes + image->header;
    uint32_t sum = H5_checksum_metadata(header, image->header_size, 0);
    if (image->has_checksum) memcpy(header + image->header_size, &sum, sizeof sum);
    FILE *file = fopen(path, "r+b"); /* in place: to make a file anew can wait for the disk */
    REQUIRE(file != NULL && fwrite(image->bytes, 1, image->size, file) == image->size && fclose(file) == 0);
    int32_t status = igdm_dataset_open_hdf5(path, NULL, NULL, 0, &dataset);
    igdm_dataset_release(dataset);
    /* Streamed it does no harm either, at once or when the images are read. */
    igdm_dataset *streamed = NULL;
    int32_t other = igdm_dataset_stream_hdf5(path, NULL, NULL, 0, &streamed);
    if (other == IGDM_OK) {
        igdm_dataset_info info;
        info.struct_size = sizeof info;
        REQUIRE(igdm_dataset_get_info(streamed, &info) == IGDM_OK);
        size_t pixels = (size_t)(info.channels * info.height * info.width);
        float *images = malloc((size_t)info.count * pixels * sizeof *images);
        REQUIRE(images != NULL);
        other = igdm_dataset_read(streamed, 0, (size_t)info.count, images, NULL);
        free(images);
    }
    igdm_dataset_release(streamed);
    if (other != IGDM_OK && other != IGDM_ERROR_FORMAT && other != IGDM_ERROR_INVALID_ARGUMENT)
        fail_check(__FILE__, __LINE__, "streamed: %s", igdm_last_error());
    return status;
}

/* Where in the header these bytes are. */
static unsigned char *find_in(struct image *image, const void *bytes, size_t count) {
    unsigned char *header = image->bytes + image->header;
    unsigned char *place = memmem(header, image->header_size, bytes, count);
    REQUIRE(place != NULL);
    return place;
}

static void undamaged_files_open(void) {
    make_folder();
    strcpy(path, path_to("labels.h5"));
    for (int newer = 0; newer < 2; newer++) {
        struct image numbers = make_file(NUMBERS, newer), chunks = make_file(CHUNKS, newer);
        CHECK(numbers.has_checksum == newer);
        OK(open_image(&numbers));
        OK(open_image(&chunks));
    }
}

static void what_opening_would_not_survive(void) {
    make_folder();
    strcpy(path, path_to("labels.h5"));
    for (int newer = 0; newer < 2; newer++) {
        struct image image = make_file(ENUMERATION, newer);
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "enumeration");
        const unsigned char members[] = {8 | (newer ? 3 : 1) << 4, 3, 0, 0}; /* class and version, how many */
        unsigned char *place = find_in(&image, members, sizeof members);
        place[1] = place[2] = 0xff; /* 65535 members */
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "\"labels\": got an enumeration");

        image = make_file(NAMED_TYPE, newer);
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "named type");

        image = make_file(CHUNKS, newer);
        const unsigned char chunked[] = {3, 2, 2}; /* version 3, chunked, dimensions of a chunk and its elements */
        place = find_in(&image, chunked, sizeof chunked);
        place[2] = 0; /* no dimensions: a division by zero */
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "chunks");
        place[2] = 3; /* more than the dataset has: an endless loop */
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "labels");
        place[2] = 2, memset(place + 3 + 8, 0, 4);
        FAILS(open_image(&image), IGDM_ERROR_FORMAT, "chunks");
    }
}

/* What lies in memory that is free, from which HDF5 takes its own. */
static void fill_free_memory(int byte) {
    void *taken[200];
    for (size_t i = 0; i < 200; i++) {
        taken[i] = malloc(16 * (i % 40 + 1));
        REQUIRE(taken[i] != NULL);
        memset(taken[i], byte, 16 * (i % 40 + 1));
    }
    for (size_t i = 0; i < 200; i++) free(taken[i]);
}

/* Chunks that are said to be larger than what is in them: HDF5 would read the rest from memory that nobody has written. */
static void short_chunks_are_refused(void) {
    make_folder();
    strcpy(path, path_to("labels.h5"));
    for (int newer = 0; newer < 2; newer++) {
        struct image image = make_file(CHUNKS, newer);
        const unsigned char chunked[] = {3, 2, 2}; /* version 3, chunked, dimensions of a chunk and its elements */
        unsigned char *size = find_in(&image, chunked, sizeof chunked) + 3 + 8;
        CHECK(*size == 5);
        for (int wrong = 6; wrong < 256; wrong++) {
            *size = (unsigned char)wrong;
            fill_free_memory(wrong % 2);
            FAILS(open_image(&image), IGDM_ERROR_FORMAT, "\"labels\"");
        }
        *size = 5;
        OK(open_image(&image));
        free(image.bytes);
    }
}

/* Every byte of the header in turn becomes something else. */
static void try_all_bytes(void) {
    for (int newer = 0; newer < 2; newer++) {
        for (enum kind kind = NUMBERS; kind <= CHUNKS; kind++) {
            struct image image = make_file(kind, newer);
            for (size_t i = newer ? 6 : 0; i < image.header_size; i++) {
                unsigned char *place = image.bytes + image.header + i, whole = *place;
                const unsigned char others[] = {0, 1, 0xff, whole ^ 2, whole ^ 0x10, whole + 1, whole - 1};
                for (size_t k = 0; k < sizeof others; k++) {
                    *place = others[k];
                    int32_t status = open_image(&image);
                    if (status == IGDM_OK || status == IGDM_ERROR_FORMAT || status == IGDM_ERROR_INVALID_ARGUMENT)
                        continue;
                    fail_check(__FILE__, __LINE__, "kind %d, byte %zu: %s", kind, i, igdm_last_error());
                }
                *place = whole;
            }
            free(image.bytes);
        }
    }
}

static void no_byte_does_harm(void) {
    char printed[1000];
    int ends[2], status;
    make_folder();
    strcpy(path, path_to("labels.h5"));
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        folder[0] = '\0'; /* the parent's to remove */
        dup2(ends[1], STDERR_FILENO), close(ends[0]), close(ends[1]);
        alarm(TIME_LIMIT);
        try_all_bytes();
        exit(failed_checks != 0); /* with all that HDF5 does at exit */
    }
    close(ends[1]);
    ssize_t length = read(ends[0], printed, sizeof printed - 1);
    printed[length > 0 ? length : 0] = '\0';
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (length != 0) fail_check(__FILE__, __LINE__, "stderr: %s", printed);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(undamaged_files_open), TEST(what_opening_would_not_survive), TEST(short_chunks_are_refused), TEST(no_byte_does_harm),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
