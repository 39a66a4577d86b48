/*
 * Memory that runs out. Every allocation of some size that a call makes is refused once, the first, the second, ...: the
 * call must fail with an error (or manage without), never end the process, and leave its outputs untouched. Small
 * allocations, which Swift's own objects are made of, are always granted: a process that has not even a page left cannot
 * go on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { SOME_SIZE = 8000, MANY = 8200 }; /* so many samples that a byte for each is more than some */

/* The allocation to refuse, counted from 1; 0: none. */
static atomic_int refused, seen;

static int refuses(size_t size) {
    int wanted = atomic_load(&refused);
    return wanted != 0 && size >= SOME_SIZE && atomic_fetch_add(&seen, 1) + 1 == wanted && (errno = ENOMEM);
}

/* In place of the C library's, for this program and the libraries that it has loaded. */
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { return refuses(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return refuses(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return refuses(size) ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { return refuses(size) ? NULL : __libc_memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made = refuses(size) ? NULL : __libc_memalign(alignment, size);
    return made == NULL ? ENOMEM : (*memory = made, 0);
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (refuses(size)) return MAP_FAILED;
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    return next(address, size, protection, flags, file, offset);
}

static float many_images[MANY * PIXELS], outputs[MANY * PIXELS];
static unsigned char many_bytes[MANY * PIXELS];
static int64_t many_labels[MANY], first_success[MANY];
static uint8_t flags[MANY];
static double distances[MANY];
static igdm_model *large, *model, *teacher, *guarded; /* guarded has a golden block */
static igdm_dataset *dataset;
static igdm_attack_options attack_options;
static char golden[128], checkpoint[128], image_file[128], label_file[128], hdf5_file[128];

static igdm_model_options large_options(void) {
    igdm_model_options options = model_options();
    options.base_width = 32; /* weights of more than some size */
    return options;
}

static void write_many(void) {
    static unsigned char image_bytes[16 + MANY * PIXELS] = {
        0, 0, 8, 3, 0, 0, MANY >> 8, MANY & 255, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    static unsigned char label_bytes[8 + MANY] = {0, 0, 8, 1, 0, 0, MANY >> 8, MANY & 255};
    const hsize_t shape[4] = {MANY, 1, SIDE, SIDE};
    memcpy(image_bytes + 16, many_bytes, sizeof many_bytes);
    for (size_t i = 0; i < MANY; i++) label_bytes[8 + i] = (unsigned char)many_labels[i];
    write_file(image_file, image_bytes, sizeof image_bytes);
    write_file(label_file, label_bytes, sizeof label_bytes);
    write_cifar(path_to("test_batch.bin"), MANY);
    hid_t file = H5Fcreate(hdf5_file, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_hdf5_array(file, "images", H5T_NATIVE_FLOAT, 4, shape, many_images);
    write_hdf5_array(file, "labels", H5T_NATIVE_INT32, 1, shape, many_bytes);
    REQUIRE(H5Fclose(file) >= 0);
}

static void make_world(void) {
    igdm_model_options options = large_options();
    make_folder();
    make_images();
    strcpy(checkpoint, path_to("model.h5")), strcpy(image_file, path_to("images"));
    strcpy(label_file, path_to("labels")), strcpy(hdf5_file, path_to("data.h5"));
    for (size_t i = 0; i < MANY; i++) {
        memcpy(many_images + i * PIXELS, images + i % COUNT * PIXELS, PIXELS * sizeof(float));
        many_labels[i] = labels[i % COUNT];
    }
    write_many();
    OK(igdm_model_create("small_cnn", &options, &large));
    OK(igdm_model_save(large, checkpoint));
    guarded = new_model("small_cnn", 0);
    OK(igdm_model_set_golden(guarded, many_images, MANY, NULL, NULL));
    OK(igdm_model_save(guarded, strcpy(golden, path_to("golden.h5"))));
    model = new_model("small_cnn", 0), teacher = new_model("small_cnn", 1);
    OK(igdm_dataset_from_floats(many_images, many_labels, MANY, 1, SIDE, SIDE, CLASSES, &dataset));
    OK(igdm_attack_options_init(&attack_options));
    attack_options.attack = "fgsm";
}

/* The calls; what they make is released at once. */
static int32_t keep_dataset(int32_t status, igdm_dataset *made) { return igdm_dataset_release(made), status; }
static int32_t keep_model(int32_t status, igdm_model *made) { return igdm_model_release(made), status; }

static int32_t create_model(void) {
    igdm_model_options options = large_options();
    igdm_model *made = NULL;
    int32_t status = igdm_model_create("small_cnn", &options, &made);
    return keep_model(status, made);
}

static int32_t load(void) {
    igdm_model *made = NULL;
    int32_t status = igdm_model_load(checkpoint, &made);
    return keep_model(status, made);
}

static int32_t load_weights(void) { return igdm_model_load_weights(large, checkpoint); }
static int32_t save(void) { return igdm_model_save(large, checkpoint); }

static int32_t copy(void) {
    igdm_model *made = NULL;
    int32_t status = igdm_model_copy(large, &made);
    return keep_model(status, made);
}

static int32_t load_with_golden(void) {
    igdm_load_options options;
    igdm_model *made = NULL;
    int32_t status = igdm_load_options_init(&options);
    options.verify = 1;
    if (status == IGDM_OK) status = igdm_model_load_with_options(golden, &options, &made);
    return keep_model(status, made);
}

static int32_t set_golden(void) { return igdm_model_set_golden(model, many_images, MANY, NULL, NULL); }
static int32_t verify(void) { return igdm_model_verify(guarded, 0, NULL, NULL); }

static int32_t set_strided(void) {
    static float values[32 * 64 * 9];
    const int64_t strides[4] = {1, 64, 64 * 32, 64 * 32 * 3};
    return igdm_model_set_parameter_strided(large, "conv2.weight", values, sizeof values / sizeof *values, strides, 4);
}

static int32_t predict_many(void) { return igdm_model_predict(model, many_images, MANY, outputs); }

static int32_t input_gradient(void) {
    return igdm_model_input_gradient(model, many_images, many_images, MANY, NULL, outputs);
}

static int32_t from_floats(void) {
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_from_floats(many_images, many_labels, MANY, 1, SIDE, SIDE, CLASSES, &made);
    return keep_dataset(status, made);
}

static int32_t from_bytes(void) {
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_from_bytes(many_bytes, many_labels, MANY, 1, SIDE, SIDE, CLASSES, &made);
    return keep_dataset(status, made);
}

static int32_t open_idx(void) {
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_open_idx(image_file, label_file, CLASSES, &made);
    return keep_dataset(status, made);
}

static int32_t open_cifar(void) {
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_open_cifar(folder, 10, "test", &made);
    return keep_dataset(status, made);
}

static int32_t open_hdf5(void) {
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_open_hdf5(hdf5_file, NULL, NULL, CLASSES, &made);
    return keep_dataset(status, made);
}

static int32_t stream_hdf5(void) {
    static float image[PIXELS];
    igdm_dataset *made = NULL;
    int32_t status = igdm_dataset_stream_hdf5(hdf5_file, NULL, NULL, CLASSES, &made);
    if (status == IGDM_OK) status = igdm_dataset_read(made, 0, 1, image, NULL);
    if (status != IGDM_OK) igdm_dataset_release(made);
    return status == IGDM_OK ? keep_dataset(status, made) : status;
}

static int32_t attack(void) {
    igdm_attack_report report;
    int32_t status = igdm_attack_report_init(&report);
    report.success = flags, report.first_success = first_success, report.l2 = distances;
    if (status == IGDM_OK)
        status = igdm_attack_with_report(model, many_images, many_labels, MANY, &attack_options, outputs, &report);
    return status;
}

static int32_t evaluate(void) {
    igdm_evaluation *made = NULL;
    igdm_evaluate_options options;
    int32_t status = igdm_evaluate_options_init(&options);
    options.attacks = "fgsm", options.batch_size = MANY;
    if (status == IGDM_OK) status = igdm_evaluate(model, dataset, teacher, &options, &made);
    return igdm_evaluation_release(made), status;
}

static int32_t train(igdm_dataset *data) {
    igdm_trainer *made = NULL;
    igdm_trainer_options options;
    igdm_batch batch;
    int32_t status = igdm_trainer_options_init(&options);
    options.steps = 1, options.epochs = 1, options.igdm = 1, options.mirror = "clip", options.batch_size = MANY;
    options.steps_per_epoch = 1, options.crop_padding = 1, options.validation_steps = 1, options.validation_count = 10;
    if (status == IGDM_OK) status = igdm_trainer_create(model, teacher, &options, &made);
    if (status == IGDM_OK) status = igdm_batch_init(&batch);
    batch.images = many_images, batch.labels = many_labels, batch.count = MANY, batch.update = 0;
    if (status == IGDM_OK)
        status = data == NULL ? igdm_trainer_step(made, &batch, NULL)
                              : igdm_trainer_fit(made, data, data, NULL, NULL);
    return igdm_trainer_release(made), status;
}

static int32_t step(void) { return train(NULL); }
static int32_t fit(void) { return train(dataset); }

static const struct call { const char *name; int32_t (*make)(void); } calls[] = {
    {"create", create_model},
    {"load", load},
    {"load with a golden block", load_with_golden},
    {"set golden block", set_golden},
    {"verify", verify},
    {"set strided", set_strided},
    {"load weights", load_weights},
    {"save", save},
    {"copy", copy},
    {"predict", predict_many},
    {"input gradient", input_gradient},
    {"from floats", from_floats},
    {"from bytes", from_bytes},
    {"open IDX", open_idx},
    {"open CIFAR", open_cifar},
    {"open HDF5", open_hdf5},
    {"stream HDF5", stream_hdf5},
    {"attack", attack},
    {"evaluate", evaluate},
    {"step", step},
    {"fit", fit},
};

static void wipe(void) {
    memset(outputs, 0x5a, sizeof outputs), memset(flags, 0x5a, sizeof flags);
    memset(first_success, 0x5a, sizeof first_success), memset(distances, 0x5a, sizeof distances);
}

static int is_wiped(const void *memory, size_t size) {
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0x5a) return 0;
    }
    return 1;
}

/* Refuses one allocation after the other until the call needs no more. */
static void without_memory(const struct call *call) {
    int failures = 0;
    context = call->name;
    OK(call->make()); /* what is made once and kept is there */
    for (int n = 1;; n++) {
        wipe();
        atomic_store(&seen, 0), atomic_store(&refused, n);
        int32_t status = call->make();
        atomic_store(&refused, 0);
        if (atomic_load(&seen) < n) {
            CHECK(status == IGDM_OK);
            break;
        }
        if (status == IGDM_OK) continue;
        failures++;
        /* Of a file HDF5 does not always say that it was memory that it lacked. */
        int is_expected = status == IGDM_ERROR_OUT_OF_MEMORY || status == IGDM_ERROR_FORMAT || status == IGDM_ERROR_IO;
        if (!is_expected) fail_check(__FILE__, __LINE__, "allocation %d: %s", n, igdm_last_error());
        CHECK(is_wiped(outputs, sizeof outputs) && is_wiped(flags, sizeof flags)
              && is_wiped(first_success, sizeof first_success) && is_wiped(distances, sizeof distances));
    }
    CHECK(failures > 0);
}

static void no_allocation_of_some_size_is_taken_for_granted(void) {
    make_world();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) without_memory(&calls[i]);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(no_allocation_of_some_size_is_taken_for_granted)};
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
