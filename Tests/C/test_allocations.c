/*
 * Memory is taken when a call is made for the first time, and not by the steps after that. This program stands between
 * the library and the C library's allocator and counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"
#include <errno.h>
#include <execinfo.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* glibc's allocator under the names that this program does not take. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

enum { PLACES = 8, DEPTH = 12 };

static atomic_int counting;
static atomic_size_t allocations;       /* of all threads, while counting */
static void *places[PLACES][DEPTH];     /* where the first ones came from */
static int depths[PLACES];
static _Thread_local int inside;        /* backtrace may allocate */

static void count_allocation(void) {
    if (!atomic_load(&counting) || inside) return;
    size_t index = atomic_fetch_add(&allocations, 1);
    inside = 1;
    if (index < PLACES) depths[index] = backtrace(places[index], DEPTH);
    inside = 0;
}

void *malloc(size_t size) { return count_allocation(), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return count_allocation(), __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return count_allocation(), __libc_realloc(memory, size); }
void *memalign(size_t alignment, size_t size) { return count_allocation(), __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return count_allocation(), __libc_memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made = (count_allocation(), __libc_memalign(alignment, size));
    if (made != NULL) *memory = made;
    return made != NULL ? 0 : ENOMEM;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    count_allocation();
    return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

static void begin_counting(void) {
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
}

static size_t end_counting(void) {
    atomic_store(&counting, 0);
    return atomic_load(&allocations);
}

/* Of the last count; addr2line or nm says what lies at the addresses. */
static void show_places(void) {
    fflush(stdout);
    for (size_t i = 0; i < PLACES && i < atomic_load(&allocations); i++) {
        dprintf(STDOUT_FILENO, "an allocation by:\n");
        backtrace_symbols_fd(places[i], depths[i], STDOUT_FILENO);
    }
}

enum { COUNT = 24, CLASSES = 10, SIDE = 16, FLOATS = 3 * SIDE * SIDE };

static float images[COUNT * FLOATS], adversarial[COUNT * FLOATS];
static int64_t labels[COUNT];

static void make_images(void) {
    uint32_t state = 1;
    void *place[1];
    for (size_t i = 0; i < COUNT * FLOATS; i++) {
        state = state * 1664525u + 1013904223u;
        images[i] = (float)(state >> 8) / 16777216.0f;
    }
    for (size_t i = 0; i < COUNT; i++) labels[i] = (int64_t)(i % CLASSES);
    backtrace(place, 1); /* loads what it needs */
}

/* Every layer that no built-in architecture has. */
static const char layers[] =
    "{\"format\": \"igdm-graph\", \"version\": 1, \"input\": [3, 16, 16], \"layers\": ["
    "{\"name\": \"c1\", \"type\": \"conv\", \"inputs\": [\"input\"], \"channels\": 18, \"kernel\": 3, \"dilation\": 2},"
    "{\"name\": \"n1\", \"type\": \"batch_norm\", \"inputs\": [\"c1\"]},"
    "{\"name\": \"a1\", \"type\": \"hard_swish\", \"inputs\": [\"n1\"]},"
    "{\"name\": \"c2\", \"type\": \"conv\", \"inputs\": [\"a1\"], \"channels\": 18, \"kernel\": [1, 7],"
    " \"padding\": [0, 3, 0, 3]},"
    "{\"name\": \"a2\", \"type\": \"leaky_relu\", \"inputs\": [\"c2\"]},"
    "{\"name\": \"q\", \"type\": \"global_average_pool\", \"inputs\": [\"a2\"]},"
    "{\"name\": \"s\", \"type\": \"linear\", \"inputs\": [\"q\"], \"outputs\": 18},"
    "{\"name\": \"g\", \"type\": \"hard_sigmoid\", \"inputs\": [\"s\"]},"
    "{\"name\": \"m\", \"type\": \"multiply\", \"inputs\": [\"a2\", \"g\"]},"
    "{\"name\": \"m2\", \"type\": \"multiply\", \"inputs\": [\"m\", \"a1\"]},"
    "{\"name\": \"p1\", \"type\": \"max_pool\", \"inputs\": [\"m2\"], \"window\": [3, 2], \"stride\": 2},"
    "{\"name\": \"p2\", \"type\": \"average_pool\", \"inputs\": [\"m2\"], \"window\": [3, 2], \"stride\": 2},"
    "{\"name\": \"cat\", \"type\": \"concat\", \"inputs\": [\"p1\", \"p2\", \"p1\"]},"
    "{\"name\": \"t\", \"type\": \"class_token\", \"inputs\": [\"cat\"]},"
    "{\"name\": \"e\", \"type\": \"position_embedding\", \"inputs\": [\"t\"]},"
    "{\"name\": \"l\", \"type\": \"layer_norm\", \"inputs\": [\"e\"]},"
    "{\"name\": \"att\", \"type\": \"attention\", \"inputs\": [\"l\"], \"heads\": 3},"
    "{\"name\": \"a3\", \"type\": \"gelu\", \"inputs\": [\"att\"]},"
    "{\"name\": \"one\", \"type\": \"select_token\", \"inputs\": [\"a3\"], \"index\": 0},"
    "{\"name\": \"fc\", \"type\": \"linear\", \"inputs\": [\"one\"], \"outputs\": 10}], \"output\": \"fc\"}";

/* Wide enough for every kind of convolution kernel; or of a graph. */
static igdm_model *new_model(const char *architecture, uint64_t seed, int32_t exact) {
    igdm_model_options options;
    igdm_model *model = NULL;
    OK(igdm_model_options_init(&options));
    options.seed = seed;
    if (architecture == layers) {
        OK(igdm_model_create_from_graph(layers, &options, &model));
    } else {
        options.height = options.width = SIDE;
        options.base_width = 16;
        OK(igdm_model_create(architecture, &options, &model));
    }
    OK(igdm_model_set_exact(model, exact));
    return model;
}

static igdm_trainer_options trainer_options(const char *method) {
    igdm_trainer_options options;
    OK(igdm_trainer_options_init(&options));
    options.method = method;
    options.igdm = 3;
    options.mirror = "clip";
    options.steps = 2;
    options.epochs = 100;
    options.batch_size = COUNT / 3;
    options.steps_per_epoch = 3;
    options.learning_rate = 0.001;
    return options;
}

static void check_steps(const char *architecture, const char *method, int32_t exact) {
    igdm_trainer_options options = trainer_options(method);
    igdm_model *student = new_model(architecture, 0, exact), *teacher = new_model("resnet8", 1, exact);
    igdm_trainer *trainer = NULL;
    igdm_batch batch;
    igdm_step_report report = {.struct_size = sizeof report};
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    OK(igdm_batch_init(&batch));
    batch.images = images, batch.labels = labels, batch.count = COUNT;
    for (int step = 0; step < 2; step++) OK(igdm_trainer_step(trainer, &batch, &report));
    /* A thread takes its working memory with its first share of a step, which on a busy machine can come late. */
    size_t found = 1;
    for (int attempt = 0; attempt < 10 && found != 0; attempt++) {
        batch.count = COUNT;
        begin_counting();
        for (int step = 0; step < 3; step++) OK(igdm_trainer_step(trainer, &batch, &report));
        batch.count = COUNT / 2; /* fewer need no more */
        OK(igdm_trainer_step(trainer, &batch, &report));
        found = end_counting();
    }
    if (found != 0) {
        fail_check(__FILE__, __LINE__, "%s by %s%s: %zu allocations in 4 steps, want 0", architecture == layers ? "graph" : architecture, method,
                   exact ? ", exact" : "", found);
        show_places();
    }
    igdm_trainer_release(trainer), igdm_model_release(student), igdm_model_release(teacher);
}

static void the_counter_counts(void) {
    begin_counting();
    void *volatile memory = malloc(100);
    memory = realloc(memory, 200000);
    free(memory);
    REQUIRE(posix_memalign((void **)&memory, 64, 100) == 0);
    free(memory);
    CHECK(end_counting() == 3);
    make_images();
    begin_counting();
    igdm_model *model = new_model("resnet8", 0, 0);
    CHECK(end_counting() > 10);
    igdm_model_release(model);
}

static void training_steps_allocate_nothing(void) {
    static const char *const methods[] = {"pgd-at", "ard", "rslad", "adaad"};
    make_images();
    for (int64_t threads = 1; threads <= 2; threads++) {
        OK(igdm_set_threads(threads));
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) check_steps("resnet8", methods[i], 0);
        check_steps("resnet8", "ard", 1);
        check_steps("resnet18", "ard", 0);
        check_steps(layers, "ard", 0);
        check_steps("mobilenet_v2", "ard", 0);
    }
}

/* From the first batch of an epoch, the second or later, to the first of the next; until nothing is found, up to ten times. */
static int32_t count_epochs(const igdm_fit_event *event, void *found) {
    if (event->epoch == 1 || event->kind != IGDM_EVENT_STEP || event->batch != 1) return 0;
    if (event->epoch > 2) *(size_t *)found = end_counting();
    if (event->epoch > 2 && (*(size_t *)found == 0 || event->epoch > 11)) return 1;
    begin_counting();
    return 0;
}

static void fits_allocate_nothing(void) {
    igdm_trainer_options options = trainer_options("ard");
    igdm_trainer *trainer = NULL;
    igdm_dataset *dataset = NULL;
    size_t found = 1;
    make_images();
    OK(igdm_trainer_create(new_model("resnet8", 0, 0), new_model("resnet8", 1, 0), &options, &trainer));
    OK(igdm_dataset_from_floats(images, labels, COUNT, 3, SIDE, SIDE, CLASSES, &dataset));
    FAILS(igdm_trainer_fit(trainer, dataset, NULL, count_epochs, &found), IGDM_ERROR_CANCELLED, "");
    CHECK(found == 0);
    if (found != 0) show_places();
}

/* An attack takes its memory when it begins; a prediction may take room for its result. */
static void attacks_and_predictions_allocate_little(void) {
    igdm_model *model = new_model("resnet18", 0, 0);
    igdm_attack_options options;
    float logits[COUNT * CLASSES];
    size_t few = 0, many = 0;
    make_images();
    OK(igdm_attack_options_init(&options));
    for (int turn = 0; turn < 3; turn++) {
        options.steps = 2;
        begin_counting();
        OK(igdm_attack(model, images, labels, COUNT, &options, adversarial, NULL));
        few = end_counting();
        options.steps = 12;
        begin_counting();
        OK(igdm_attack(model, images, labels, COUNT, &options, adversarial, NULL));
        many = end_counting();
        begin_counting();
        OK(igdm_model_predict(model, images, COUNT, logits));
        size_t predicting = end_counting();
        if (turn > 0) CHECK(predicting <= 2);
    }
    /* Another thread's working memory may be among the few. */
    if (many > few) fail_check(__FILE__, __LINE__, "%zu allocations in 2 steps, %zu in 12", few, many);
    CHECK(many < 100);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(the_counter_counts),
        TEST(training_steps_allocate_nothing),
        TEST(fits_allocate_nothing),
        TEST(attacks_and_predictions_allocate_little),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
