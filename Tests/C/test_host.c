/*
 * The library as a guest in its host's process: it prints nothing, leaves signals, locale, floating-point modes and the
 * settings of shared libraries alone, sleeps when idle, and works after fork().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* A bit of everything: files, prediction, attack, training, evaluation, and calls that fail. */
static void use_the_library(void) {
    igdm_model *model = new_model("resnet8", 0), *teacher = new_model("small_cnn", 1), *loaded = NULL;
    igdm_dataset *data = new_dataset(), *stored = NULL;
    igdm_evaluation *evaluation = NULL;
    float values[COUNT * PIXELS];
    OK(igdm_trainer_fit(new_trainer(model, teacher), data, data, NULL, NULL));
    OK(igdm_evaluate(model, data, teacher, NULL, &evaluation));
    OK(igdm_attack(model, images, labels, COUNT, NULL, values, NULL));
    OK(igdm_model_save(model, path_to("model.h5")));
    OK(igdm_model_load(path_to("model.h5"), &loaded));
    write_hdf5(path_to("data.h5"));
    OK(igdm_dataset_open_hdf5(path_to("data.h5"), NULL, NULL, 0, &stored));
    CHECK(same_predictions(model, loaded));
    FAILS(igdm_model_load(path_to("missing.h5"), &loaded), IGDM_ERROR_NOT_FOUND, "missing.h5");
    FAILS(igdm_model_load(path_to("data.h5"), &loaded), IGDM_ERROR_FORMAT, "data.h5");
    FAILS(igdm_model_load_weights(model, path_to("data.h5")), IGDM_ERROR_FORMAT, "data.h5");
    FAILS(igdm_model_save(model, path_to("no/folder.h5")), IGDM_ERROR_IO, "no/folder.h5");
    FAILS(igdm_model_predict((igdm_model *)1, images, COUNT, values), IGDM_ERROR_INVALID_ARGUMENT, "model");
    CHECK(strlen(igdm_build_info()) > 0);
}

/* Not even when the process ends and libraries clean up behind themselves. */
static void prints_nothing(void) {
    int status;
    make_folder();
    int file = open(path_to("output"), O_CREAT | O_RDWR | O_APPEND, 0600);
    REQUIRE(file >= 0);
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(TIME_LIMIT);
        dup2(file, 1), dup2(file, 2);
        use_the_library();
        exit(failed_checks != 0); /* removes the folder, too: the file is known by its number only */
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(lseek(file, 0, SEEK_END) == 0);
}

/* The line "name:\t<hexadecimal>" of /proc/self/status. */
static unsigned long long status_bits(const char *name) {
    char line[256];
    unsigned long long bits = ~0ULL;
    FILE *file = fopen("/proc/self/status", "r");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) bits = strtoull(line + strlen(name) + 1, NULL, 16);
    }
    fclose(file);
    return bits;
}

/* Signals with a handler, without those that the C library keeps for its threads (the ones below SIGRTMIN). */
static unsigned long long handled_signals(void) {
    const unsigned long long internal = 3ULL << (SIGRTMIN - 3);
    return status_bits("SigCgt") & ~internal;
}

static void leaves_signals_alone(void) {
    make_folder();
    CHECK(handled_signals() == 0); /* loading it set none */
    unsigned long long blocked = status_bits("SigBlk"), ignored = status_bits("SigIgn");
    use_the_library();
    CHECK(handled_signals() == 0);
    CHECK(status_bits("SigBlk") == blocked);
    CHECK(status_bits("SigIgn") == ignored);
}

static void leaves_modes_and_locale_alone(void) {
    make_folder();
    CHECK(strcmp(setlocale(LC_ALL, NULL), "C") == 0);
    fesetround(FE_UPWARD);
#if defined(__x86_64__)
    const unsigned modes = 0xffc0; /* everything but the sticky flags */
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, denormals are zero */
    unsigned before = _mm_getcsr() & modes;
    use_the_library();
    CHECK((_mm_getcsr() & modes) == before);
#else
    use_the_library();
#endif
    CHECK(fegetround() == FE_UPWARD);
    CHECK(strcmp(setlocale(LC_ALL, NULL), "C") == 0);
}

static herr_t on_hdf5_error(hid_t stack, void *user) { return stack == 0 && user == NULL; }

static void leaves_shared_libraries_alone(void) {
    int (*threads)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    void (*set_threads)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    H5E_auto2_t handler = NULL;
    void *user = NULL;
    REQUIRE(threads != NULL && set_threads != NULL);
    make_folder();
    set_threads(2);
    REQUIRE(H5Eset_auto2(H5E_DEFAULT, on_hdf5_error, &user) >= 0);
    use_the_library();
    CHECK(threads() == 2);
    void *user_after = NULL;
    REQUIRE(H5Eget_auto2(H5E_DEFAULT, &handler, &user_after) >= 0);
    CHECK(handler == on_hdf5_error && user_after == &user);
}

/* How many threads of this process are running or ready to. */
static int busy_threads(void) {
    int busy = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], state = 'S';
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file == NULL) continue;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && state == 'R' && atoi(task->d_name) != getpid()) busy++;
        fclose(file);
    }
    closedir(tasks);
    return busy;
}

static void sleeps_when_idle(void) {
    int idle = 0;
    make_folder();
    OK(igdm_set_threads(4));
    use_the_library();
    for (int i = 0; i < 1000 && idle < 50; i++) { /* all asleep, fifty looks in a row; a spinning thread never is */
        idle = busy_threads() == 0 ? idle + 1 : 0;
        usleep(10000);
    }
    CHECK(idle == 50);
}

static void works_after_fork(void) {
    float parent[COUNT * CLASSES], again[COUNT * CLASSES];
    igdm_model *model = new_model("resnet8", 0);
    int status;
    make_folder();
    OK(igdm_set_threads(4));
    predict(model, parent); /* the pool has its threads now; the child will not have them */
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(60); /* alarms are not inherited */
        predict(model, again);
        CHECK(memcmp(parent, again, sizeof parent) == 0);
        use_the_library();
        _exit(failed_checks != 0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    predict(model, again);
    CHECK(memcmp(parent, again, sizeof parent) == 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(prints_nothing), TEST(leaves_signals_alone), TEST(leaves_modes_and_locale_alone),
        TEST(leaves_shared_libraries_alone), TEST(sleeps_when_idle), TEST(works_after_fork),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
