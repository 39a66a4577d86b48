/*
 * Checkpoints that claim, lead or go round where they should not: each is refused with an error that names the dataset,
 * without the memory that it asks for, and without a look at any other file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include <errno.h>
#include <sys/inotify.h>
#include <sys/resource.h>

/* More than a small checkpoint needs, HDF5 included, and far less than what the files here claim. */
#define ROOM ((rlim_t)64 << 20)

static char path[128], outside[192];
static igdm_model *model;

static void set_attribute(hid_t file, const char *name, int64_t value) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    REQUIRE(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(attribute);
}

/* A dataset of floats in place of `name`, of which nothing is written; chunked where chunk is not 0. */
static void claim(hid_t file, const char *name, int rank, const hsize_t *shape, hsize_t chunk, int filter) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(rank, shape, NULL);
    const hsize_t chunks[4] = {chunk, 1, 1, 1};
    if (chunk != 0) H5Pset_chunk(creation, rank, chunks);
    if (filter) H5Pset_deflate(creation, 9);
    if (H5Lexists(file, name, H5P_DEFAULT) > 0) REQUIRE(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    hid_t set = H5Dcreate2(file, name, H5T_NATIVE_FLOAT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    REQUIRE(set >= 0);
    if (chunk != 0) { /* one chunk is there */
        const hsize_t start[4] = {0}, count[4] = {chunk, 1, 1, 1};
        float *values = calloc(chunk, sizeof(float));
        hid_t memory = H5Screate_simple(rank, count, NULL);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
        REQUIRE(values != NULL && H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values) >= 0);
        H5Sclose(memory);
        free(values);
    }
    H5Dclose(set), H5Sclose(space), H5Pclose(creation);
}

static const hsize_t ten_gigabytes[1] = {2684354560}, many_images[4] = {41943040, 1, SIDE, SIDE};

static void a_plain_claim(hid_t file) { claim(file, "weights/fc.bias", 1, ten_gigabytes, 0, 0); }
static void a_chunked_claim(hid_t file) { claim(file, "weights/fc.bias", 1, ten_gigabytes, 256, 0); }
static void a_compressed_claim(hid_t file) { claim(file, "weights/fc.bias", 1, ten_gigabytes, 1 << 16, 1); }
static void a_golden_claim(hid_t file) {
    claim(file, "golden/inputs", 4, many_images, 0, 0);
    claim(file, "golden/logits", 2, (hsize_t[]){41943040, CLASSES}, 0, 0);
}
static void a_claim_of_an_extra_array(hid_t file) { claim(file, "weights/extra", 1, ten_gigabytes, 0, 0); }

/* The network itself would need a gigabyte and more, the widest one 500. */
static void a_wide_network(hid_t file) { set_attribute(file, "base_width", 2048); }
static void many_classes(hid_t file) { set_attribute(file, "classes", 1000000); }
static void a_wide_network_of_many_classes(hid_t file) {
    set_attribute(file, "base_width", 4096), set_attribute(file, "classes", 1000000);
    set_attribute(file, "height", 16384), set_attribute(file, "width", 16384);
}

static void nest(hid_t file, const char *name, int depth) {
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < depth; i++) {
        hid_t next = H5Gcreate2(group, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Gclose(group);
        group = next;
    }
    REQUIRE(group >= 0);
    H5Gclose(group);
}

static void deep_groups(hid_t file) { nest(file, "weights/deep", 3000); }
static void deep_groups_for_an_array(hid_t file) {
    H5Ldelete(file, "weights/fc.bias", H5P_DEFAULT);
    nest(file, "weights/fc.bias", 3000);
}
static void a_circle(hid_t file) { H5Lcreate_hard(file, "/", file, "weights/circle", H5P_DEFAULT, H5P_DEFAULT); }
static void a_circle_of_metadata(hid_t file) {
    H5Lcreate_hard(file, "/", file, "metadata", H5P_DEFAULT, H5P_DEFAULT); /* whose attributes are no texts */
}
static void many_groups(hid_t file) {
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "weights/g%d", i);
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
}

/* In place of something, a link to a good file elsewhere. */
static void link_outside(hid_t file, const char *name, const char *target, const char *object) {
    if (H5Lexists(file, name, H5P_DEFAULT) > 0) H5Ldelete(file, name, H5P_DEFAULT);
    REQUIRE(H5Lcreate_external(target, object, file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static void an_external_array(hid_t file) { link_outside(file, "weights/fc.bias", outside, "/weights/fc.bias"); }
static void an_external_extra(hid_t file) { link_outside(file, "weights/extra", outside, "/weights/fc.bias"); }
static void external_weights(hid_t file) { link_outside(file, "weights", outside, "/weights"); }
static void external_metadata(hid_t file) { link_outside(file, "metadata", outside, "/metadata"); }
static void an_external_golden_block(hid_t file) { link_outside(file, "golden", outside, "/golden"); }
static void external_inputs(hid_t file) { link_outside(file, "golden/inputs", outside, "/golden/inputs"); }
static void a_path_upwards(hid_t file) {
    link_outside(file, "weights/fc.bias", "outside/../outside/good.h5", "/weights/fc.bias");
}

static void raw_data_outside(hid_t file) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, (hsize_t[]){CLASSES}, NULL);
    H5Pset_external(creation, outside, 0, CLASSES * sizeof(float));
    H5Ldelete(file, "weights/fc.bias", H5P_DEFAULT);
    hid_t set = H5Dcreate2(file, "weights/fc.bias", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    REQUIRE(set >= 0);
    H5Dclose(set), H5Sclose(space), H5Pclose(creation);
}

static void virtual_data_outside(hid_t file) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, (hsize_t[]){CLASSES}, NULL);
    H5Pset_virtual(creation, space, outside, "/weights/fc.bias", space);
    H5Ldelete(file, "weights/fc.bias", H5P_DEFAULT);
    hid_t set = H5Dcreate2(file, "weights/fc.bias", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    REQUIRE(set >= 0);
    H5Dclose(set), H5Sclose(space), H5Pclose(creation);
}

static const struct hostile {
    const char *name;
    void (*change)(hid_t file);
    const char *text;  /* in the message */
    int weights_alone; /* whether igdm_model_load_weights refuses the file too */
} cases[] = {
    {"a plain claim", a_plain_claim, "weights/\"fc.bias\"", 1},
    {"a chunked claim", a_chunked_claim, "weights/\"fc.bias\"", 1},
    {"a compressed claim", a_compressed_claim, "weights/\"fc.bias\"", 1},
    {"a golden claim", a_golden_claim, "golden/inputs", 0},
    {"a claim of an extra array", a_claim_of_an_extra_array, "1 unexpected: \"extra\"", 1},
    {"a wide network", a_wide_network, "got shape", 0},
    {"many classes", many_classes, "fc.weight", 0},
    {"a wide network of many classes", a_wide_network_of_many_classes, "too large", 0},
    {"deep groups", deep_groups, "1 unexpected: \"deep\"", 1},
    {"deep groups for an array", deep_groups_for_an_array, "weights/\"fc.bias\": got a group, want a dataset", 1},
    {"a circle", a_circle, "1 unexpected: \"circle\"", 1},
    {"a circle of metadata", a_circle_of_metadata, "attribute", 0},
    {"many groups", many_groups, "5000 unexpected", 1},
    {"an external array", an_external_array, "weights/\"fc.bias\": got an external link", 1},
    {"an external extra", an_external_extra, "1 unexpected: \"extra\"", 1},
    {"external weights", external_weights, "weights: got an external link", 1},
    {"external metadata", external_metadata, "metadata: got an external link", 0},
    {"an external golden block", an_external_golden_block, "golden: got an external link", 0},
    {"external inputs", external_inputs, "golden/inputs: got an external link", 0},
    {"a path upwards", a_path_upwards, "weights/\"fc.bias\": got an external link", 1},
    {"raw data outside", raw_data_outside, "weights/\"fc.bias\": got data in other files", 1},
    {"virtual data outside", virtual_data_outside, "weights/\"fc.bias\": got data in other files", 1},
};

/* What igdm_trainer_resume reads besides the weights. */
static void set_number(hid_t file, const char *part, const char *name, double value) {
    hid_t group = H5Gopen2(file, part, H5P_DEFAULT), attribute = H5Aopen(group, name, H5P_DEFAULT);
    REQUIRE(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute), H5Gclose(group);
}

static void a_claim_of_the_optimiser(hid_t file) {
    claim(file, "training/optimiser/velocity", 1, ten_gigabytes, 1 << 16, 1);
}
static void an_extra_part(hid_t file) { nest(file, "training/more", 3000); }
static void a_missing_part(hid_t file) { H5Ldelete(file, "training/optimiser", H5P_DEFAULT); }
static void missing_settings(hid_t file) { H5Ldelete(file, "training/settings", H5P_DEFAULT); }
static void external_settings(hid_t file) { link_outside(file, "training/settings", outside, "/weights"); }
static void an_external_part(hid_t file) { link_outside(file, "training/optimiser", outside, "/weights"); }
static void an_external_velocity(hid_t file) {
    link_outside(file, "training/optimiser/velocity", outside, "/weights/fc.bias");
}
static void a_circle_of_trainings(hid_t file) {
    H5Ldelete(file, "training", H5P_DEFAULT);
    H5Lcreate_hard(file, "/", file, "training", H5P_DEFAULT, H5P_DEFAULT); /* whose attributes are others */
}
static void an_endless_epoch(hid_t file) { set_number(file, "training/position", "steps_per_epoch", 1e300); }

static const struct hostile training_cases[] = {
    {"a claim of the optimiser", a_claim_of_the_optimiser, "training/optimiser/velocity", 0},
    {"an extra part", an_extra_part, "more", 0},
    {"a missing part", a_missing_part, "optimiser", 0},
    {"missing settings", missing_settings, "training/settings: is missing", 0},
    {"external settings", external_settings, "training/settings: got an external link", 0},
    {"an external part", an_external_part, "training/optimiser: got an external link", 0},
    {"an external velocity", an_external_velocity, "training/optimiser/velocity: got an external link", 0},
    {"a circle of trainings", a_circle_of_trainings, "attribute version", 0},
    {"an endless epoch", an_endless_epoch, "check sum", 0},
    {"a plain claim", a_plain_claim, "weights/\"fc.bias\"", 0},
    {"external weights", external_weights, "weights: got an external link", 0},
};

/* A good checkpoint with a golden block at `path`, and another at `outside`, which nobody may open. */
static void make_files(void) {
    char elsewhere[160];
    make_folder();
    make_images();
    strcpy(path, path_to("model.h5"));
    snprintf(elsewhere, sizeof elsewhere, "%s/outside", folder);
    REQUIRE(mkdir(elsewhere, 0700) == 0);
    snprintf(outside, sizeof outside, "%s/good.h5", elsewhere);
    model = new_model("small_cnn", 0);
    OK(igdm_model_set_golden(model, images, COUNT, NULL, NULL));
    OK(igdm_model_save(model, path));
    OK(igdm_model_save(model, outside));
}

/* All that this process may map from now on is ROOM more than it has. */
static void limit_memory(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%lu", &pages) == 1 && fclose(file) == 0);
    rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ROOM;
    REQUIRE(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
}

static void refuse(const struct hostile *hostile) {
    igdm_model *loaded = NULL;
    igdm_checkpoint *opened = NULL;
    char event[4096];
    int watch = inotify_init1(IN_NONBLOCK);
    context = hostile->name;
    make_files();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    REQUIRE(file >= 0);
    hostile->change(file);
    REQUIRE(H5Fclose(file) >= 0);
    REQUIRE(watch >= 0 && inotify_add_watch(watch, outside, IN_OPEN | IN_ACCESS) >= 0);
    limit_memory();
    FAILS(igdm_model_load(path, &loaded), IGDM_ERROR_FORMAT, hostile->text);
    FAILS(igdm_checkpoint_open(path, &opened), IGDM_ERROR_FORMAT, hostile->text);
    if (hostile->weights_alone) FAILS(igdm_model_load_weights(model, path), IGDM_ERROR_FORMAT, hostile->text);
    CHECK(read(watch, event, sizeof event) == -1 && errno == EAGAIN);
    OK(igdm_model_load(outside, &loaded)); /* the process goes on, within the same memory */
    CHECK(read(watch, event, sizeof event) > 0);
    CHECK(same_predictions(model, loaded));
}

static void refuse_training(const struct hostile *hostile) {
    char event[4096];
    int watch = inotify_init1(IN_NONBLOCK);
    context = hostile->name;
    make_files();
    igdm_trainer *trainer = new_trainer(model, new_model("small_cnn", 1));
    OK(igdm_trainer_save(trainer, path));
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    REQUIRE(file >= 0);
    hostile->change(file);
    REQUIRE(H5Fclose(file) >= 0);
    REQUIRE(watch >= 0 && inotify_add_watch(watch, outside, IN_OPEN | IN_ACCESS) >= 0);
    limit_memory();
    FAILS(igdm_trainer_resume(trainer, path), IGDM_ERROR_FORMAT, hostile->text);
    CHECK(read(watch, event, sizeof event) == -1 && errno == EAGAIN);
    OK(igdm_trainer_save(trainer, path)); /* the process goes on, within the same memory */
    OK(igdm_trainer_resume(trainer, path));
}

static void try_each(const struct hostile *cases, size_t count, void (*refuse)(const struct hostile *)) {
    for (size_t i = 0; i < count; i++) {
        int status;
        fflush(stdout);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            alarm(TIME_LIMIT);
            failed_checks = 0;
            refuse(&cases[i]);
            exit(failed_checks != 0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_check(cases[i].name, 0, "status %x", (unsigned)status);
    }
}

static void each_is_refused_within_little_memory(void) { try_each(cases, sizeof cases / sizeof *cases, refuse); }
static void trainings_likewise(void) {
    try_each(training_cases, sizeof training_cases / sizeof *training_cases, refuse_training);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(each_is_refused_within_little_memory), TEST(trainings_likewise)};
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
