/*
 * Lives of handles, threads, and sameness of results: released in any order, used from several threads, whatever the
 * number of threads that compute.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <pthread.h>
#include <sys/resource.h>

enum { STUDENT, TEACHER, DATA, TRAINER, EVALUATION, KINDS };

struct world {
    void *handle[KINDS];
    float logits[COUNT * CLASSES]; /* of the student as it was made */
};

static struct world new_world(void) {
    struct world world;
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *whole = new_dataset(), *data = NULL;
    igdm_evaluation *evaluation = NULL;
    igdm_evaluate_options options;
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "";
    OK(igdm_dataset_subset(whole, 0, COUNT, &data));
    igdm_dataset_release(whole); /* the subset keeps the images */
    OK(igdm_evaluate(student, data, teacher, &options, &evaluation));
    predict(student, world.logits);
    world.handle[STUDENT] = student, world.handle[TEACHER] = teacher, world.handle[DATA] = data;
    world.handle[TRAINER] = new_trainer(student, teacher), world.handle[EVALUATION] = evaluation;
    return world;
}

static void release(struct world *world, int kind) {
    void *handle = world->handle[kind];
    if (kind == STUDENT || kind == TEACHER) igdm_model_release(handle);
    if (kind == DATA) igdm_dataset_release(handle);
    if (kind == TRAINER) igdm_trainer_release(handle);
    if (kind == EVALUATION) igdm_evaluation_release(handle);
    world->handle[kind] = NULL;
}

/* What is left works, whatever is gone. */
static void use(const struct world *world) {
    float values[COUNT * PIXELS];
    igdm_batch batch = first_batch();
    igdm_evaluation_row row = {.struct_size = sizeof row};
    batch.update = 0;
    if (world->handle[STUDENT] != NULL) {
        predict(world->handle[STUDENT], values);
        CHECK(memcmp(values, world->logits, sizeof world->logits) == 0);
    }
    if (world->handle[DATA] != NULL) {
        OK(igdm_dataset_read(world->handle[DATA], 0, COUNT, values, NULL));
        CHECK(memcmp(values, images, sizeof images) == 0);
    }
    if (world->handle[TRAINER] != NULL) OK(igdm_trainer_step(world->handle[TRAINER], &batch, NULL));
    if (world->handle[EVALUATION] != NULL) {
        OK(igdm_evaluation_get_row(world->handle[EVALUATION], 0, &row));
        CHECK(strcmp(row.name, "clean") == 0 && row.count == COUNT);
    }
}

static void try_orders(int *order, int fixed, int *tried) {
    if (fixed == KINDS) {
        struct world world = new_world();
        for (int i = 0; i < KINDS; i++) release(&world, order[i]), use(&world);
        ++*tried;
        return;
    }
    for (int i = fixed; i < KINDS; i++) {
        int kind = order[i];
        order[i] = order[fixed], order[fixed] = kind;
        try_orders(order, fixed + 1, tried);
        order[fixed] = order[i], order[i] = kind;
    }
}

static void handles_may_be_released_in_any_order(void) {
    int order[KINDS] = {STUDENT, TEACHER, DATA, TRAINER, EVALUATION}, tried = 0;
    try_orders(order, 0, &tried);
    CHECK(tried == 120);
}

static long resident_kilobytes(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%ld %ld", &pages, &resident) == 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void released_memory_is_given_back(void) {
    igdm_model_options options = model_options();
    long before = 0;
    options.base_width = 32;
    make_images();
    for (int i = 0; i < 220; i++) {
        float logits[COUNT * CLASSES];
        igdm_model *model = NULL;
        if (i == 20) before = resident_kilobytes();
        OK(igdm_model_create("resnet8", &options, &model)); /* 1.2 MB of weights */
        OK(igdm_model_predict(model, images, COUNT, logits));
        igdm_model_release(model);
    }
    CHECK(resident_kilobytes() - before < 50000);
}

static void memory_that_is_not_there(void) {
    igdm_model_options options = model_options();
    igdm_model *small = new_model("small_cnn", 0), *model = NULL;
    float logits[COUNT * CLASSES];
    struct rlimit limit;
    predict(small, logits); /* so that the threads have their stacks */
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = (rlim_t)4 << 30;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    options.base_width = 768; /* 6 GB of weights */
    FAILS(igdm_model_create("resnet18", &options, &model), IGDM_ERROR_OUT_OF_MEMORY, "allocate");
    CHECK(model == NULL);
    predict(small, logits);
}

static void *fail_in_thread(void *messages) {
    char *copies = messages;
    strcpy(copies, igdm_last_error());
    CHECK(igdm_set_threads(0) == IGDM_ERROR_INVALID_ARGUMENT);
    strcpy(copies + 1000, igdm_last_error());
    return NULL;
}

static void errors_belong_to_their_thread(void) {
    static char messages[2000];
    igdm_model *model = NULL;
    pthread_t thread;
    CHECK(strcmp(igdm_last_error(), "") == 0);
    FAILS(igdm_model_create("nothing", NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, "nothing");
    REQUIRE(pthread_create(&thread, NULL, fail_in_thread, messages) == 0);
    pthread_join(thread, NULL);
    CHECK(strcmp(messages, "") == 0);
    CHECK(strstr(messages + 1000, "threads") != NULL);
    CHECK(strstr(igdm_last_error(), "nothing") != NULL);
    model = new_model("small_cnn", 0); /* success leaves the message */
    CHECK(strstr(igdm_last_error(), "nothing") != NULL);
}

static void long_names_are_told_whole(void) {
    static char name[4000];
    igdm_model *model = NULL;
    memset(name, 'x', sizeof name - 1);
    FAILS(igdm_model_create(name, NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, name);
}

struct job {
    igdm_model *model;
    float logits[COUNT * CLASSES];
    float adversarial[COUNT * PIXELS];
    int32_t status;
};

static void *work(void *argument) {
    struct job *job = argument;
    for (int i = 0; i < 20 && job->status == IGDM_OK; i++) {
        job->status = igdm_model_predict(job->model, images, COUNT, job->logits);
        if (job->status == IGDM_OK)
            job->status = igdm_attack(job->model, images, labels, COUNT, NULL, job->adversarial, NULL);
    }
    return NULL;
}

/* Four threads on the given models get what one thread gets. */
static void work_in_threads(igdm_model *models[4]) {
    static struct job alone[4], together[4];
    pthread_t threads[4];
    make_images();
    for (int i = 0; i < 4; i++) {
        alone[i].model = together[i].model = models[i];
        work(&alone[i]);
    }
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, work, &together[i]) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) {
        CHECK(alone[i].status == IGDM_OK && together[i].status == IGDM_OK);
        CHECK(memcmp(alone[i].logits, together[i].logits, sizeof alone[i].logits) == 0);
        CHECK(memcmp(alone[i].adversarial, together[i].adversarial, sizeof alone[i].adversarial) == 0);
    }
}

static void threads_on_different_models(void) {
    igdm_model *models[4] = {new_model("small_cnn", 0), new_model("resnet8", 1), new_model("resnet14", 2),
                             new_model("resnet8", 3)};
    work_in_threads(models);
}

static void threads_on_one_model(void) {
    igdm_model *model = new_model("resnet8", 0);
    igdm_model *models[4] = {model, model, model, model};
    work_in_threads(models);
}

/* Trains with so many threads; returns the student's weights as one array. */
static float *train(int64_t threads, const char *method, size_t *total) {
    igdm_model *student = new_model("resnet8", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    igdm_dataset *data = new_dataset();
    float *weights = NULL;
    size_t count;
    OK(igdm_set_threads(threads));
    options.method = method;
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    OK(igdm_trainer_fit(trainer, data, NULL, NULL, NULL));
    OK(igdm_model_parameter_count(student, &count));
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t shape[4] = {1, 1, 1, 1}, dimensions;
        const char *name;
        OK(igdm_model_parameter_info(student, i, &name, shape, &dimensions, NULL));
        size_t size = 1;
        for (int64_t d = 0; d < dimensions; d++) size *= (size_t)shape[d];
        weights = realloc(weights, (*total + size) * sizeof(float));
        REQUIRE(weights != NULL);
        OK(igdm_model_get_parameter(student, name, weights + *total, size));
        *total += size;
    }
    return weights;
}

static void training_does_not_depend_on_threads(void) {
    static const char *const methods[] = {"pgd-at", "ard", "rslad", "adaad"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        size_t count, same_count;
        float *one = train(1, methods[i], &count);
        for (int64_t threads = 1; threads <= 3; threads++) {
            float *other = train(threads, methods[i], &same_count);
            context = methods[i];
            CHECK(count == same_count && memcmp(one, other, count * sizeof(float)) == 0);
            free(other);
        }
        free(one);
    }
}

static void samples_do_not_depend_on_their_batch(void) {
    static float together[COUNT * PIXELS], alone[PIXELS];
    float logits[COUNT * CLASSES], single[CLASSES];
    igdm_model *model = new_model("resnet8", 0);
    igdm_attack_options options;
    predict(model, logits);
    OK(igdm_attack_options_init(&options));
    OK(igdm_attack(model, images, labels, COUNT, &options, together, NULL));
    for (size_t i = 0; i < COUNT; i++) {
        options.first_index = (int64_t)i;
        OK(igdm_model_predict(model, images + i * PIXELS, 1, single));
        OK(igdm_attack(model, images + i * PIXELS, labels + i, 1, &options, alone, NULL));
        CHECK(memcmp(single, logits + i * CLASSES, sizeof single) == 0);
        CHECK(memcmp(alone, together + i * PIXELS, sizeof alone) == 0);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(handles_may_be_released_in_any_order),
        TEST(released_memory_is_given_back),
        TEST(memory_that_is_not_there),
        TEST(errors_belong_to_their_thread),
        TEST(long_names_are_told_whole),
        TEST(threads_on_different_models),
        TEST(threads_on_one_model),
        TEST(training_does_not_depend_on_threads),
        TEST(samples_do_not_depend_on_their_batch),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
