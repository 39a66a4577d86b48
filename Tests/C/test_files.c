/*
 * Files that are missing, foreign, cut short or in the way: an error that says what is wrong, the old file intact, and
 * the model unchanged.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

static igdm_model *made_model;
static igdm_dataset *made_dataset;

static char *read_file(const char *path, size_t *size) {
    *size = file_size(path);
    char *bytes = malloc(*size + 1);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL && bytes != NULL && fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

static int count_files(const char *path) {
    int count = 0;
    DIR *entries = opendir(path);
    REQUIRE(entries != NULL);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

/* Loading `path` in every way that a model can, gives this status, and a message that names the path. */
static void loading_fails(igdm_model *model, const char *path, int32_t status) {
    context = path;
    FAILS(igdm_model_load(path, &made_model), status, path);
    FAILS(igdm_model_load_weights(model, path), status, path);
    CHECK(made_model == NULL);
}

static void a_saved_model_loads(void) {
    float mean[1] = {0.3f}, std[1] = {0.4f}, loaded_mean[1], loaded_std[1];
    igdm_model_options options = model_options();
    igdm_model *model = NULL, *loaded = NULL, *other = new_model("resnet8", 7);
    igdm_model_info info = {.struct_size = sizeof info};
    make_folder();
    options.mean = mean, options.std = std, options.normalisation_count = 1, options.seed = 3;
    OK(igdm_model_create("resnet8", &options, &model));
    OK(igdm_model_save(model, path_to("model.h5")));
    OK(igdm_model_load(path_to("model.h5"), &loaded));
    CHECK(same_predictions(model, loaded));
    CHECK(count_files(folder) == 1);
    OK(igdm_model_get_info(loaded, &info));
    CHECK(strcmp(info.architecture, "resnet8") == 0 && info.classes == CLASSES && info.channels == 1);
    CHECK(info.height == SIDE && info.width == SIDE && info.base_width == 4 && info.has_normalisation == 1);
    OK(igdm_model_get_normalisation(loaded, loaded_mean, loaded_std));
    CHECK(loaded_mean[0] == mean[0] && loaded_std[0] == std[0]);
    CHECK(!same_predictions(model, other));
    OK(igdm_model_save(other, path_to("model.h5"))); /* over the old file */
    OK(igdm_model_load(path_to("model.h5"), &loaded));
    CHECK(same_predictions(other, loaded));
}

static void models_from_wrong_files(void) {
    igdm_model *model = new_model("small_cnn", 0), *reference = new_model("small_cnn", 0),
               *foreign = new_model("resnet8", 0);
    size_t size;
    make_folder();
    OK(igdm_model_save(model, path_to("whole.h5")));
    char *whole = read_file(path_to("whole.h5"), &size);

    loading_fails(model, path_to("missing.h5"), IGDM_ERROR_NOT_FOUND);
    loading_fails(model, path_to("no/such/folder.h5"), IGDM_ERROR_NOT_FOUND);
    loading_fails(model, folder, IGDM_ERROR_IO);
    write_file(path_to("text.h5"), "This is not HDF5.\n", 18);
    loading_fails(model, path_to("text.h5"), IGDM_ERROR_FORMAT);
    const size_t lengths[] = {0, 1, 7, 8, 9, 64, 100, 512, size / 4, size / 2, size - size / 8, size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_file(path_to("cut.h5"), whole, lengths[i]);
        loading_fails(model, path_to("cut.h5"), IGDM_ERROR_FORMAT);
    }
    context = "data, no model";
    write_hdf5(path_to("data.h5"));
    loading_fails(model, path_to("data.h5"), IGDM_ERROR_FORMAT);

    context = "weights of another architecture";
    OK(igdm_model_save(foreign, path_to("foreign.h5")));
    FAILS(igdm_model_load_weights(model, path_to("foreign.h5")), IGDM_ERROR_FORMAT, "weight");
    CHECK(same_predictions(model, reference));
    free(whole);
}

/* Rewrites one dataset of a saved model through HDF5 itself. */
static void replace_weights(const char *path, const char *name, hid_t type, int rank, const hsize_t *shape,
                            const void *values) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    char place[128];
    REQUIRE(file >= 0);
    snprintf(place, sizeof place, "weights/%s", name);
    REQUIRE(H5Ldelete(file, place, H5P_DEFAULT) >= 0);
    if (values != NULL) write_hdf5_array(file, place, type, rank, shape, values);
    REQUIRE(H5Fclose(file) >= 0);
}

static void damaged_weights_are_named(void) {
    igdm_model *model = new_model("small_cnn", 0);
    const char *name;
    size_t count;
    const float good[CLASSES] = {0}, not_finite[CLASSES] = {0, 0, HUGE_VALF};
    const char *strings[CLASSES] = {"a", "b", "c"};
    const hsize_t right[1] = {CLASSES}, wrong[1] = {CLASSES - 1}, square[2] = {CLASSES, 1};
    hid_t text = H5Tcopy(H5T_C_S1);
    make_folder();
    H5Tset_size(text, H5T_VARIABLE);
    OK(igdm_model_parameter_count(model, &count));
    OK(igdm_model_parameter_info(model, count - 1, &name, NULL, NULL, NULL));
    const struct {
        const char *what;
        hid_t type;
        int rank;
        const hsize_t *shape;
        const void *values;
        int32_t status;
    } cases[] = {
        {"missing", 0, 0, NULL, NULL, IGDM_ERROR_FORMAT},
        {"too short", H5T_NATIVE_FLOAT, 1, wrong, good, IGDM_ERROR_FORMAT},
        {"other rank", H5T_NATIVE_FLOAT, 2, square, good, IGDM_ERROR_FORMAT},
        {"text", text, 1, right, strings, IGDM_ERROR_FORMAT},
        {"infinite", H5T_NATIVE_FLOAT, 1, right, not_finite, IGDM_ERROR_NOT_FINITE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OK(igdm_model_save(model, path_to("damaged.h5")));
        replace_weights(path_to("damaged.h5"), name, cases[i].type, cases[i].rank, cases[i].shape, cases[i].values);
        context = cases[i].what;
        FAILS(igdm_model_load(path_to("damaged.h5"), &made_model), cases[i].status, name);
        FAILS(igdm_model_load_weights(model, path_to("damaged.h5")), cases[i].status, name);
    }
    CHECK(made_model == NULL);
    CHECK(same_predictions(model, new_model("small_cnn", 0)));
}

static void datasets_from_wrong_files(void) {
    char data[2][96];
    size_t sizes[2];
    igdm_dataset_info info = {.struct_size = sizeof info};
    make_folder();
    snprintf(data[0], sizeof data[0], "%s/images", folder), snprintf(data[1], sizeof data[1], "%s/labels", folder);
    write_idx(data[0], data[1]);
    OK(igdm_dataset_open_idx(data[0], data[1], CLASSES, &made_dataset));
    OK(igdm_dataset_get_info(made_dataset, &info));
    CHECK(info.count == COUNT && info.classes == CLASSES && info.channels == 1 && info.height == SIDE
          && info.width == SIDE);
    made_dataset = NULL;

    FAILS(igdm_dataset_open_idx(path_to("missing"), data[1], CLASSES, &made_dataset), IGDM_ERROR_NOT_FOUND, "missing");
    FAILS(igdm_dataset_open_idx(data[0], path_to("missing"), CLASSES, &made_dataset), IGDM_ERROR_NOT_FOUND, "missing");
    FAILS(igdm_dataset_open_idx(data[1], data[0], CLASSES, &made_dataset), IGDM_ERROR_FORMAT, data[1]);
    FAILS(igdm_dataset_open_idx(data[0], data[1], CLASSES - 1, &made_dataset), IGDM_ERROR_INVALID_ARGUMENT, "classes");
    FAILS(igdm_dataset_open_idx(data[0], data[1], 1, &made_dataset), IGDM_ERROR_INVALID_ARGUMENT, "classes");
    char *whole[2] = {read_file(data[0], &sizes[0]), read_file(data[1], &sizes[1])};
    for (int which = 0; which < 2; which++) {
        const size_t lengths[] = {0, 1, 4, 7, sizes[which] / 2, sizes[which] - 1};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            write_file(data[which], whole[which], lengths[i]);
            FAILS(igdm_dataset_open_idx(data[0], data[1], CLASSES, &made_dataset), IGDM_ERROR_FORMAT, data[which]);
        }
        write_file(data[which], whole[which], sizes[which]);
    }
    memset(whole[0] + 4, 0xff, 12); /* dimensions whose product overflows */
    write_file(data[0], whole[0], sizes[0]);
    FAILS(igdm_dataset_open_idx(data[0], data[1], CLASSES, &made_dataset), IGDM_ERROR_FORMAT, data[0]);

    context = "cifar";
    FAILS(igdm_dataset_open_cifar(path_to("missing"), 10, "test", &made_dataset), IGDM_ERROR_NOT_FOUND, "missing");
    FAILS(igdm_dataset_open_cifar(folder, 10, "test", &made_dataset), IGDM_ERROR_NOT_FOUND, "test_batch.bin");
    FAILS(igdm_dataset_open_cifar(folder, 11, "test", &made_dataset), IGDM_ERROR_INVALID_ARGUMENT, "classes");
    write_file(path_to("test_batch.bin"), whole[0], sizes[0]);
    FAILS(igdm_dataset_open_cifar(folder, 10, "test", &made_dataset), IGDM_ERROR_FORMAT, "test_batch.bin");

    context = "hdf5";
    write_hdf5(path_to("data.h5"));
    OK(igdm_dataset_open_hdf5(path_to("data.h5"), NULL, NULL, 0, &made_dataset));
    igdm_dataset *streamed = NULL;
    OK(igdm_dataset_stream_hdf5(path_to("data.h5"), NULL, NULL, 0, &streamed));
    igdm_dataset_release(streamed);
    OK(igdm_dataset_get_info(made_dataset, &info));
    CHECK(info.count == COUNT && info.classes == CLASSES);
    made_dataset = NULL;
    FAILS(igdm_dataset_open_hdf5(path_to("missing.h5"), NULL, NULL, 0, &made_dataset), IGDM_ERROR_NOT_FOUND, "missing");
    FAILS(igdm_dataset_open_hdf5(data[0], NULL, NULL, 0, &made_dataset), IGDM_ERROR_FORMAT, data[0]);
    FAILS(igdm_dataset_open_hdf5(path_to("data.h5"), "nothing", NULL, 0, &made_dataset), IGDM_ERROR_NOT_FOUND,
          "nothing");
    FAILS(igdm_dataset_open_hdf5(path_to("data.h5"), "labels", NULL, 0, &made_dataset), IGDM_ERROR_FORMAT, "labels");
    FAILS(igdm_dataset_open_hdf5(path_to("data.h5"), NULL, "images", 0, &made_dataset), IGDM_ERROR_FORMAT, "images");
    FAILS(igdm_dataset_open_hdf5(path_to("data.h5"), NULL, NULL, 1, &made_dataset), IGDM_ERROR_INVALID_ARGUMENT,
          "classes");
    CHECK(made_dataset == NULL);
}

/* Training can drive a weight to infinity. Nobody could load the file: the old one stays. */
static void a_model_that_overflowed_is_not_saved(void) {
    igdm_model *model = new_model("small_cnn", 0), *reference = new_model("small_cnn", 0);
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    igdm_batch batch = first_batch();
    const char *name;
    const float bias[CLASSES] = {3e38f, 3e38f, 3e38f};
    size_t count;
    make_folder();
    OK(igdm_model_save(model, path_to("model.h5")));
    OK(igdm_model_parameter_count(model, &count));
    OK(igdm_model_parameter_info(model, count - 1, &name, NULL, NULL, NULL));
    OK(igdm_model_set_parameter(model, name, bias, CLASSES));
    options.method = "pgd-at", options.igdm = 0, options.learning_rate = options.weight_decay = 1000;
    OK(igdm_trainer_create(model, NULL, &options, &trainer));
    OK(igdm_trainer_step(trainer, &batch, NULL));
    FAILS(igdm_model_save(model, path_to("model.h5")), IGDM_ERROR_NOT_FINITE, name);
    OK(igdm_model_load(path_to("model.h5"), &made_model));
    CHECK(same_predictions(reference, made_model));
    CHECK(count_files(folder) == 1);
}

/* A setting of the model: what is given to it and what it saves may be anything. Computing stays an error. */
static void weights_that_are_not_finite_where_that_is_allowed(void) {
    igdm_model *model = new_model("small_cnn", 0), *copy = NULL;
    igdm_load_options options;
    const char *name;
    const float wild[CLASSES] = {0, NAN, -HUGE_VALF};
    const int64_t stride = 1;
    float found[CLASSES], logits[COUNT * CLASSES];
    int32_t allowed = -1;
    size_t count;
    make_folder();
    make_images();
    OK(igdm_model_parameter_count(model, &count));
    OK(igdm_model_parameter_info(model, count - 1, &name, NULL, NULL, NULL));
    OK(igdm_model_save(model, path_to("wild.h5")));
    replace_weights(path_to("wild.h5"), name, H5T_NATIVE_FLOAT, 1, (hsize_t[]){CLASSES}, wild);

    OK(igdm_model_get_allow_not_finite(model, &allowed));
    CHECK(allowed == 0);
    FAILS(igdm_model_set_allow_not_finite(model, 2), IGDM_ERROR_INVALID_ARGUMENT, "allow: got 2, want 0 or 1");
    FAILS(igdm_model_set_parameter(model, name, wild, CLASSES), IGDM_ERROR_NOT_FINITE, "values");
    FAILS(igdm_model_load_weights(model, path_to("wild.h5")), IGDM_ERROR_NOT_FINITE, name);
    OK(igdm_model_set_allow_not_finite(model, 1));
    OK(igdm_model_load_weights(model, path_to("wild.h5")));
    OK(igdm_model_set_parameter(model, name, wild, CLASSES));
    OK(igdm_model_set_parameter_strided(model, name, wild, CLASSES, &stride, 1));
    OK(igdm_model_copy(model, &copy));
    OK(igdm_model_get_allow_not_finite(copy, &allowed));
    CHECK(allowed == 1);
    FAILS(igdm_model_predict(copy, images, COUNT, logits), IGDM_ERROR_NOT_FINITE, "sample 0");
    OK(igdm_model_save(copy, path_to("again.h5")));

    FAILS(igdm_model_load(path_to("again.h5"), &made_model), IGDM_ERROR_NOT_FINITE, name);
    OK(igdm_load_options_init(&options));
    options.allow_not_finite = 1;
    OK(igdm_model_load_with_options(path_to("again.h5"), &options, &made_model));
    OK(igdm_model_get_parameter(made_model, name, found, CLASSES));
    CHECK(found[0] == 0 && isnan(found[1]) && found[2] == -HUGE_VALF);
    /* The model does not keep the option of its loading: nobody overwrites a good file by mistake. */
    OK(igdm_model_get_allow_not_finite(made_model, &allowed));
    CHECK(allowed == 0);
    FAILS(igdm_model_save(made_model, path_to("again.h5")), IGDM_ERROR_NOT_FINITE, name);
}

/* root may write everywhere: become nobody, who may not. */
static void give_up_root(void) {
    if (geteuid() != 0) return;
    REQUIRE(setgroups(0, NULL) == 0 && setegid(65534) == 0 && seteuid(65534) == 0);
}

static void saving_where_it_is_not_possible(void) {
    igdm_model *model = new_model("small_cnn", 0);
    make_folder();
    FAILS(igdm_model_save(model, path_to("no/such/folder.h5")), IGDM_ERROR_IO, "no/such");
    FAILS(igdm_model_save(model, folder), IGDM_ERROR_IO, folder);
    FAILS(igdm_model_save(model, ""), IGDM_ERROR_IO, "cannot write");
    OK(igdm_model_save(model, path_to("kept.h5")));
    REQUIRE(chmod(folder, 0555) == 0);
    uid_t user = geteuid();
    give_up_root();
    FAILS(igdm_model_save(model, path_to("new.h5")), IGDM_ERROR_IO, "ermission denied");
    FAILS(igdm_model_save(model, path_to("kept.h5")), IGDM_ERROR_IO, "ermission denied");
    REQUIRE(seteuid(user) == 0 && chmod(folder, 0755) == 0);
    OK(igdm_model_load(path_to("kept.h5"), &made_model));
    CHECK(same_predictions(model, made_model));
    CHECK(count_files(folder) == 1);
}

/* A model larger than what is left on the disk: an error, the old file whole, nothing left over. */
static void save_large(int32_t (*save)(igdm_model *, const char *)) {
    igdm_model_options options = model_options();
    igdm_model *small = new_model("small_cnn", 0), *large = NULL;
    options.base_width = 256;
    OK(igdm_model_create("resnet8", &options, &large));
    OK(igdm_model_save(small, path_to("model.h5")));
    CHECK(save(large, path_to("model.h5")) == IGDM_ERROR_IO);
    CHECK(strstr(igdm_last_error(), path_to("model.h5")) != NULL);
    CHECK(count_files(folder) == 1);
    OK(igdm_model_load(path_to("model.h5"), &made_model));
    CHECK(same_predictions(small, made_model));
}

/* The same for a training. */
static int32_t save_training(igdm_model *model, const char *path) {
    igdm_model_options options = model_options();
    igdm_model *teacher = NULL;
    options.base_width = 8;
    OK(igdm_model_create("resnet8", &options, &teacher));
    return igdm_trainer_save(new_trainer(model, teacher), path);
}

static void write_text(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    REQUIRE(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
}

/* Mounts a file system of 1 MB on the folder, seen by this process only. Whoever is not root becomes the root of a user
 * namespace of their own first. Returns 0 where neither is allowed. */
static int mount_small_disk(void) {
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %d 1", (int)geteuid());
    snprintf(groups, sizeof groups, "0 %d 1", (int)getegid());
    if (geteuid() != 0) {
        if (unshare(CLONE_NEWUSER) != 0) return 0;
        write_text("/proc/self/setgroups", "deny");
        write_text("/proc/self/uid_map", users);
        write_text("/proc/self/gid_map", groups);
    }
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
           && mount("tmpfs", folder, "tmpfs", 0, "size=1m") == 0;
}

static void saving_on_a_full_disk(void) {
    int status;
    make_folder();
    pid_t child = fork(); /* namespaces are for processes with one thread; OpenBLAS has started its own by now */
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(TIME_LIMIT);
        if (mount_small_disk()) {
            save_large(igdm_model_save);
            CHECK(strstr(igdm_last_error(), "space") != NULL);
            save_large(save_training);
            CHECK(strstr(igdm_last_error(), "space") != NULL);
        } else {
            fail_check(__FILE__, __LINE__, "cannot mount a small disk (%s): run as root or allow user namespaces",
                       strerror(errno));
        }
        fflush(stdout);
        _exit(failed_checks != 0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int32_t save_with_limit(igdm_model *model, const char *path) {
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old, small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int32_t status = igdm_model_save(model, path);
    setrlimit(RLIMIT_FSIZE, &old);
    return status;
}

/* The operating system refuses a write in the middle of the file. */
static void saving_beyond_the_file_size_limit(void) {
    make_folder();
    save_large(save_with_limit);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_saved_model_loads), TEST(models_from_wrong_files), TEST(damaged_weights_are_named),
        TEST(datasets_from_wrong_files), TEST(a_model_that_overflowed_is_not_saved),
        TEST(weights_that_are_not_finite_where_that_is_allowed),
        TEST(saving_where_it_is_not_possible), TEST(saving_on_a_full_disk), TEST(saving_beyond_the_file_size_limit),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
