/*
 * Callbacks: what they are told, on which thread; cancelling at every one of them and by the flag; calling back into
 * the library from inside. A cancelled call keeps its promises: outputs untouched, training resumable to the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

/* What a callback is to do, and what it saw. */
struct watch {
    int cancel_at; /* cancel at this call, counted from 1; 0: never */
    int calls;
    int steps, epochs, validations;
    int other_thread; /* calls on another thread than the caller's */
    int wrong_event;
    pthread_t caller;
};

static struct watch new_watch(int cancel_at) {
    return (struct watch){.cancel_at = cancel_at, .caller = pthread_self()};
}

static int32_t answer(struct watch *watch) {
    watch->other_thread += !pthread_equal(watch->caller, pthread_self());
    return ++watch->calls == watch->cancel_at;
}

static int32_t on_progress(const igdm_progress *progress, void *user) {
    struct watch *watch = user;
    watch->wrong_event += progress->struct_size != sizeof *progress || progress->stage == NULL || progress->done < 0
                          || progress->done > progress->total || !(progress->seconds >= 0);
    return answer(watch);
}

static int32_t on_fit(const igdm_fit_event *event, void *user) {
    struct watch *watch = user;
    int is_epoch = event->kind == IGDM_EVENT_EPOCH, is_validation = event->kind == IGDM_EVENT_VALIDATION;
    watch->steps += event->kind == IGDM_EVENT_STEP;
    watch->epochs += is_epoch;
    watch->validations += is_validation;
    watch->wrong_event += event->struct_size != sizeof *event || event->epochs != 2
                          || event->batches < 1 || event->batches > (is_validation ? COUNT : 2)
                          || event->epoch < 1 || event->epoch > 2 || event->batch < 1 || event->batch > event->batches
                          || !(event->loss > 0) || !(event->seconds >= 0) || !(event->eta_seconds >= 0)
                          || (event->validation_clean >= 0) != is_epoch || (event->validation_robust >= 0) != is_epoch
                          || event->igdm_weight != event->epoch / 2.0;
    return answer(watch);
}

/* Cancels the k-th event of a fit and goes on; returns the student. */
static igdm_model *fit_with_break(int k, struct watch *watch) {
    igdm_model *student = new_model("resnet8", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *data = new_dataset();
    igdm_trainer *trainer = new_trainer(student, teacher);
    *watch = new_watch(k);
    int32_t status = igdm_trainer_fit(trainer, data, data, on_fit, watch);
    CHECK(status == (k == 0 ? IGDM_OK : IGDM_ERROR_CANCELLED));
    CHECK(watch->other_thread == 0 && watch->wrong_event == 0);
    if (k != 0) {
        CHECK(watch->calls == k);
        CHECK(strlen(igdm_last_error()) > 0);
        watch->cancel_at = 0;
        OK(igdm_trainer_fit(trainer, data, data, on_fit, watch));
    }
    OK(igdm_trainer_fit(trainer, data, NULL, on_fit, watch)); /* at its end: nothing is left to do */
    return student;
}

static void fit_resumes_after_every_cancel(void) {
    struct watch whole, broken;
    igdm_model *reference = fit_with_break(0, &whole);
    CHECK(whole.steps == 4 && whole.epochs == 2 && whole.validations >= 2);
    CHECK(whole.calls == whole.steps + whole.epochs + whole.validations);
    for (int k = 1; k <= whole.calls; k++) {
        igdm_model *student = fit_with_break(k, &broken);
        CHECK(same_predictions(student, reference));
        CHECK(broken.steps == whole.steps && broken.epochs == whole.epochs);
        CHECK(broken.wrong_event == 0 && broken.other_thread == 0);
    }
}

static igdm_attack_options attack_options(struct watch *watch) {
    igdm_attack_options options;
    OK(igdm_attack_options_init(&options));
    options.steps = 3;
    options.progress = on_progress;
    options.user = watch;
    return options;
}

/* Enough samples for several internal batches. */
enum { MANY = 40 * COUNT };
static float many_images[MANY * PIXELS], attacked[MANY * PIXELS], expected[MANY * PIXELS];
static int64_t many_labels[MANY];
static uint8_t success[MANY];
static double distances[MANY];

static void make_many_images(void) {
    make_images();
    for (size_t i = 0; i < MANY; i++) {
        memcpy(many_images + i * PIXELS, images + i % COUNT * PIXELS, PIXELS * sizeof(float));
        many_labels[i] = labels[i % COUNT];
    }
}

static void attack_cancels_at_every_call(void) {
    igdm_model *model = new_model("small_cnn", 0);
    struct watch watch = new_watch(0);
    igdm_attack_options options = attack_options(&watch);
    make_many_images();
    OK(igdm_attack(model, many_images, many_labels, MANY, &options, expected, success));
    int calls = watch.calls;
    CHECK(calls > 1 && watch.other_thread == 0 && watch.wrong_event == 0);
    igdm_attack_report report, untouched;
    OK(igdm_attack_report_init(&report));
    report.success = success, report.linf = distances, report.successes = 77;
    untouched = report;
    for (int k = 1; k <= calls; k++) {
        watch = new_watch(k);
        memset(attacked, 0x5a, sizeof attacked), memset(success, 0x5a, sizeof success);
        memset(distances, 0x5a, sizeof distances);
        FAILS(igdm_attack_with_report(model, many_images, many_labels, MANY, &options, attacked, &report),
              IGDM_ERROR_CANCELLED, "callback");
        for (size_t i = 0; i < sizeof attacked; i++) REQUIRE(((char *)attacked)[i] == 0x5a);
        for (size_t i = 0; i < sizeof success; i++) REQUIRE(success[i] == 0x5a);
        for (size_t i = 0; i < sizeof distances; i++) REQUIRE(((char *)distances)[i] == 0x5a);
        CHECK(memcmp(&report, &untouched, sizeof report) == 0);
    }
    watch = new_watch(0);
    OK(igdm_attack(model, many_images, many_labels, MANY, &options, attacked, NULL));
    CHECK(memcmp(attacked, expected, sizeof attacked) == 0);
    OK(igdm_attack(model, many_images, many_labels, MANY, &options, many_images, NULL)); /* in place */
    CHECK(memcmp(many_images, expected, sizeof expected) == 0);
}

/* With keep_partial the results of the batches that were finished are there. */
static void attack_keeps_what_it_found(void) {
    igdm_model *model = new_model("small_cnn", 0);
    static const char *const names[] = {"pgd", "square"};
    static uint8_t whole[MANY];
    make_many_images();
    for (size_t n = 0; n < 2; n++) {
        struct watch watch = new_watch(0);
        igdm_attack_options options = attack_options(&watch);
        igdm_attack_report report;
        OK(igdm_attack_report_init(&report));
        options.attack = names[n], options.steps = 3, options.epsilon = 0.2, options.early_stop = 1;
        report.success = whole, report.keep_partial = 1;
        OK(igdm_attack_with_report(model, many_images, many_labels, MANY, &options, expected, &report));
        int calls = watch.calls;
        watch = new_watch(1);
        report.success = success, report.quantised = NULL, report.total_forwards = 0;
        FAILS(igdm_attack_with_report(model, many_images, many_labels, MANY, &options, attacked, &report),
              IGDM_ERROR_CANCELLED, "callback");
        CHECK(calls > 1 && report.total_forwards > 0);
        int64_t found = 0;
        for (size_t i = 0; i < MANY; i++) {
            const float *result = attacked + i * PIXELS;
            int same = memcmp(result, expected + i * PIXELS, PIXELS * sizeof(float)) == 0;
            int clean = memcmp(result, many_images + i * PIXELS, PIXELS * sizeof(float)) == 0;
            CHECK(same || clean);
            CHECK(success[i] == 0 || (same && whole[i] == 1));
            found += success[i];
        }
        CHECK(found == report.successes && found > 0);
    }
    igdm_model_release(model);
}

static void evaluation_cancels_at_every_call(void) {
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *evaluation = NULL;
    struct watch watch = new_watch(0);
    igdm_evaluate_options options;
    size_t rows;
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "fgsm,pgd-3", options.batch_size = 4, options.progress = on_progress, options.user = &watch;
    OK(igdm_evaluate(model, data, teacher, &options, &evaluation));
    OK(igdm_evaluation_row_count(evaluation, &rows));
    CHECK(rows == 3);
    int calls = watch.calls;
    CHECK(calls > 4 && watch.other_thread == 0 && watch.wrong_event == 0);
    for (int k = 1; k <= calls; k++) {
        watch = new_watch(k);
        evaluation = (igdm_evaluation *)0x5a;
        FAILS(igdm_evaluate(model, data, teacher, &options, &evaluation), IGDM_ERROR_CANCELLED, "callback");
        CHECK(evaluation == (igdm_evaluation *)0x5a && watch.calls == k);
    }
}

/* With keep_partial the handle is there from the first batch under attack on, and says what it lacks. */
static void evaluation_keeps_what_it_found(void) {
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *whole = NULL;
    struct watch watch = new_watch(0);
    igdm_evaluate_options options;
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "pgd-3,square-3,fgsm", options.epsilon = 0.2, options.batch_size = 1;
    options.progress = on_progress, options.user = &watch, options.keep_partial = 1;
    OK(igdm_evaluate(model, data, teacher, &options, &whole));
    int calls = watch.calls, kept = 0, cut = 0;
    for (int k = 1; k <= calls; k++) {
        igdm_evaluation *partial = NULL;
        size_t rows = 0;
        watch = new_watch(k);
        FAILS(igdm_evaluate(model, data, teacher, &options, &partial), IGDM_ERROR_CANCELLED, "callback");
        if (partial == NULL) {
            CHECK(kept == 0);
            continue;
        }
        kept++;
        OK(igdm_evaluation_row_count(partial, &rows));
        for (size_t i = 0; i < rows; i++) {
            igdm_evaluation_row here = {.struct_size = sizeof here}, there = {.struct_size = sizeof there};
            uint8_t flags[COUNT], all[COUNT];
            OK(igdm_evaluation_get_row(partial, i, &here));
            OK(igdm_evaluation_get_row(whole, i, &there));
            CHECK(strcmp(here.name, there.name) == 0 && here.count == there.count && there.unfinished == 0);
            CHECK(i + 1 == rows || here.unfinished == 0);
            CHECK(here.correct >= there.correct && here.correct <= there.correct + here.unfinished);
            cut += here.unfinished > 0;
            OK(igdm_evaluation_get_correct(partial, i, flags, COUNT));
            OK(igdm_evaluation_get_correct(whole, i, all, COUNT));
            for (size_t s = 0; s < COUNT; s++) CHECK(flags[s] >= all[s]);
        }
        FAILS(igdm_evaluation_get_gradient_agreement(partial, NULL, NULL), IGDM_ERROR_NOT_FOUND, "teacher");
        igdm_evaluation_release(partial);
    }
    CHECK(kept > 0 && kept < calls && cut > 2);

    /* Nor does a larger radius attack again what a smaller one has broken; the handle may go. */
    igdm_evaluation *larger = NULL;
    igdm_evaluation_row here = {.struct_size = sizeof here}, there = {.struct_size = sizeof there};
    watch = new_watch(0), options.epsilon = 0.3, options.smaller = whole;
    OK(igdm_evaluate(model, data, NULL, &options, &larger));
    CHECK(watch.calls < calls);
    OK(igdm_evaluation_get_row(whole, 1, &there));
    OK(igdm_evaluation_get_row(larger, 1, &here));
    CHECK(here.correct <= there.correct);
    options.epsilon = 0.1;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "smaller");
    options.epsilon = 0.3, options.attacks = "pgd-4,square-3,fgsm";
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "pgd-4");
    options.attacks = "pgd-3,square-3,fgsm", options.norm = "l2";
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "linf");
    options.norm = "linf", options.keep_samples = 1;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "keep_samples");
    options.keep_samples = 0;
    FAILS(igdm_evaluate(teacher, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "another model");
    igdm_evaluation_release(whole);
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "options.smaller");
    options.smaller = NULL;
    options.keep_partial = 2;
    FAILS(igdm_evaluate(model, data, teacher, &options, &whole), IGDM_ERROR_INVALID_ARGUMENT, "keep_partial");
}

/* With keep_partial as well: rows never have fewer correct than the whole, and no more than what was to come. */
static void autoattack_keeps_what_it_found(void) {
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *whole = NULL;
    struct watch watch = new_watch(0);
    igdm_autoattack_options options;
    static float all[COUNT * PIXELS], found[COUNT * PIXELS], clean[COUNT * PIXELS];
    igdm_attack_report report;
    OK(igdm_attack_report_init(&report));
    OK(igdm_dataset_read(data, 0, COUNT, clean, NULL));
    OK(igdm_autoattack_options_init(&options));
    options.version = "custom", options.attacks = "apgd-ce-3,square-4", options.epsilon = 0.05, options.batch_size = 5;
    options.progress = on_progress, options.user = &watch, options.keep_partial = 1;
    OK(igdm_autoattack(model, data, &options, &whole));
    OK(igdm_evaluation_get_report(whole, all, COUNT, &report));
    int calls = watch.calls, kept = 0, cut = 0;
    for (int k = 1; k <= calls; k++) {
        igdm_evaluation *partial = NULL;
        size_t rows = 0;
        uint8_t success[COUNT];
        watch = new_watch(k);
        FAILS(igdm_autoattack(model, data, &options, &partial), IGDM_ERROR_CANCELLED, "callback");
        if (partial == NULL) {
            CHECK(kept == 0);
            continue;
        }
        kept++;
        OK(igdm_evaluation_row_count(partial, &rows));
        CHECK(rows == 3);
        for (size_t i = 0; i < rows; i++) {
            igdm_evaluation_row here = {.struct_size = sizeof here}, there = {.struct_size = sizeof there};
            OK(igdm_evaluation_get_row(partial, i, &here));
            OK(igdm_evaluation_get_row(whole, i, &there));
            CHECK(strcmp(here.name, there.name) == 0 && there.unfinished == 0 && (i > 0 || here.unfinished == 0));
            CHECK(here.correct >= there.correct && here.correct <= there.correct + here.unfinished);
            cut += here.unfinished > 0;
        }
        report.success = success;
        OK(igdm_evaluation_get_report(partial, found, COUNT, &report));
        for (size_t s = 0; s < COUNT; s++) {
            const float *image = found + s * PIXELS, *source = success[s] ? all : clean;
            CHECK(memcmp(image, source + s * PIXELS, PIXELS * sizeof(float)) == 0);
        }
        igdm_evaluation_release(partial);
    }
    CHECK(kept > 0 && kept < calls && cut > 2);
    igdm_evaluation_release(whole);
    options.keep_partial = 2;
    FAILS(igdm_autoattack(model, data, &options, &whole), IGDM_ERROR_INVALID_ARGUMENT, "keep_partial");
}

static void autoattack_resumes_after_every_cancel(void) {
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *evaluation = NULL;
    struct watch watch = new_watch(0);
    igdm_autoattack_options options;
    static float found[2][COUNT * PIXELS];
    static int64_t passes[2][COUNT];
    char state[64];
    snprintf(state, sizeof state, "/tmp/igdm-state-%d", (int)getpid());
    OK(igdm_autoattack_options_init(&options));
    options.version = "custom", options.attacks = "apgd-ce-3,apgd-t-2,fab-t-2,square-4", options.epsilon = 0.05;
    options.batch_size = 5, options.progress = on_progress, options.user = &watch, options.state_seconds = 0;
    int calls = 0;
    for (int k = 0; k == 0 || k <= calls; k++) {
        igdm_attack_report report;
        OK(igdm_attack_report_init(&report));
        report.forwards = passes[k > 0];
        watch = new_watch(k);
        options.state = k == 0 ? NULL : state;
        if (k > 0) {
            evaluation = (igdm_evaluation *)0x5a;
            FAILS(igdm_autoattack(model, data, &options, &evaluation), IGDM_ERROR_CANCELLED, "callback");
            CHECK(evaluation == (igdm_evaluation *)0x5a && watch.calls == k);
            watch = new_watch(0);
        }
        OK(igdm_autoattack(model, data, &options, &evaluation));
        CHECK(watch.other_thread == 0 && watch.wrong_event == 0);
        OK(igdm_evaluation_get_report(evaluation, found[k > 0], COUNT, &report));
        if (k == 0) calls = watch.calls;
        CHECK(memcmp(found[0], found[k > 0], sizeof found[0]) == 0);
        CHECK(memcmp(passes[0], passes[k > 0], sizeof passes[0]) == 0);
        igdm_evaluation_release(evaluation);
        remove(state);
    }
    CHECK(calls > 10);
}

/* A model of the host that calls one of the library's, and cancels at a call. */
struct host { igdm_model *model; struct watch watch; int wrong; };

static int32_t on_pass(const igdm_host_pass *pass, void *user) {
    struct host *host = user;
    host->wrong += pass->struct_size != sizeof *pass || pass->images == NULL || pass->count < 1
                   || (pass->cotangent == NULL) != (pass->gradient == NULL)
                   || (pass->cotangent == NULL) == (pass->logits == NULL);
    if (pass->cotangent == NULL) OK(igdm_model_predict(host->model, pass->images, pass->count, pass->logits));
    if (pass->cotangent != NULL)
        OK(igdm_model_input_gradient(host->model, pass->images, pass->cotangent, pass->count, NULL, pass->gradient));
    return answer(&host->watch);
}

static int32_t on_lazy_pass(const igdm_host_pass *pass, void *user) { return (void)pass, (void)user, 0; }

static void host_models_are_attacked_as_ours(void) {
    struct host host = {.model = new_model("small_cnn", 0), .watch = new_watch(0)};
    igdm_host_model model;
    static float ours[COUNT * PIXELS], theirs[COUNT * PIXELS];
    OK(igdm_host_model_init(&model));
    model.classes = CLASSES, model.channels = 1, model.height = model.width = SIDE;
    model.evaluate = on_pass, model.user = &host;
    make_images();
    static const char *const names[] = {"pgd", "apgd-ce", "fab-t", "square"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        igdm_attack_options options;
        OK(igdm_attack_options_init(&options));
        options.attack = names[i], options.steps = 4, options.epsilon = 0.05;
        OK(igdm_attack(host.model, images, labels, COUNT, &options, ours, NULL));
        host.watch = new_watch(0);
        OK(igdm_attack_host_model(&model, images, labels, COUNT, &options, theirs, NULL));
        CHECK(memcmp(ours, theirs, sizeof ours) == 0);
        int calls = host.watch.calls;
        CHECK(calls > 4 && host.watch.other_thread == 0 && host.wrong == 0);
        for (int k = 1; k <= calls; k++) {
            host.watch = new_watch(k);
            memset(theirs, 0x5a, sizeof theirs);
            FAILS(igdm_attack_host_model(&model, images, labels, COUNT, &options, theirs, NULL), IGDM_ERROR_CANCELLED,
                  "host model");
            for (size_t b = 0; b < sizeof theirs; b++) REQUIRE(((char *)theirs)[b] == 0x5a);
            CHECK(host.watch.calls == k);
        }
    }
    igdm_evaluation *evaluation = NULL;
    igdm_dataset *data = new_dataset();
    igdm_autoattack_options options;
    OK(igdm_autoattack_options_init(&options));
    options.version = "custom", options.attacks = "apgd-ce-3";
    host.watch = new_watch(0);
    OK(igdm_autoattack_host_model(&model, data, &options, &evaluation));
    model.evaluate = on_lazy_pass; /* writes nothing */
    FAILS(igdm_autoattack_host_model(&model, data, &options, &evaluation), IGDM_ERROR_NOT_FINITE, "sample 0");
    model.evaluate = on_pass, model.classes = CLASSES + 1;
    FAILS(igdm_autoattack_host_model(&model, data, &options, &evaluation), IGDM_ERROR_SHAPE, "classes");
    model.classes = CLASSES, model.has_gradient = 0;
    FAILS(igdm_autoattack_host_model(&model, data, &options, &evaluation), IGDM_ERROR_INVALID_ARGUMENT, "square");
}

static volatile int32_t cancel_flag;
static sem_t started, flag_is_set;

static void *set_flag(void *unused) {
    sem_wait(&started);
    cancel_flag = 1;
    sem_post(&flag_is_set);
    return unused;
}

static int32_t wait_for_flag(const igdm_progress *progress, void *user) {
    if (++*(int *)user == 1) sem_post(&started), sem_wait(&flag_is_set);
    return progress == NULL;
}

static void the_flag_cancels_from_another_thread(void) {
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *evaluation = NULL;
    igdm_evaluate_options evaluating;
    igdm_attack_options attacking;
    pthread_t thread;
    int calls = 0;
    OK(igdm_evaluate_options_init(&evaluating));
    OK(igdm_attack_options_init(&attacking));
    sem_init(&started, 0, 0), sem_init(&flag_is_set, 0, 0);
    evaluating.batch_size = 2, evaluating.progress = wait_for_flag, evaluating.user = &calls;
    evaluating.cancel = attacking.cancel = &cancel_flag;
    REQUIRE(pthread_create(&thread, NULL, set_flag, NULL) == 0);
    FAILS(igdm_evaluate(model, data, NULL, &evaluating, &evaluation), IGDM_ERROR_CANCELLED, "flag");
    CHECK(calls == 1 && evaluation == NULL);
    pthread_join(thread, NULL);

    FAILS(igdm_attack(model, images, labels, COUNT, &attacking, attacked, NULL), IGDM_ERROR_CANCELLED, "flag");
    cancel_flag = 0;
    OK(igdm_attack(model, images, labels, COUNT, &attacking, attacked, NULL));

    /* Without a callback, within one batch that would take for ever. */
    attacking.steps = 1000000;
    REQUIRE(pthread_create(&thread, NULL, set_flag, NULL) == 0);
    sem_post(&started);
    FAILS(igdm_attack(model, images, labels, COUNT, &attacking, attacked, NULL), IGDM_ERROR_CANCELLED, "flag");
    pthread_join(thread, NULL);
}

/* Everything that a fit callback may call, and the little that it may not. */
struct world {
    igdm_model *student, *teacher;
    igdm_dataset *data;
    igdm_trainer *trainer;
    int calls;
};

static int32_t use_everything(const igdm_fit_event *event, void *user) {
    struct world *world = user;
    igdm_batch batch = first_batch();
    igdm_model *copy = NULL;
    igdm_evaluation *evaluation = NULL;
    float logits[COUNT * CLASSES], values[COUNT * PIXELS];
    world->calls++;
    CHECK(event->epoch >= 1);
    FAILS(igdm_trainer_step(world->trainer, &batch, NULL), IGDM_ERROR_BUSY, "callback");
    FAILS(igdm_trainer_fit(world->trainer, world->data, NULL, NULL, NULL), IGDM_ERROR_BUSY, "callback");
    FAILS(igdm_set_threads(1), IGDM_ERROR_BUSY, "callback");
    predict(world->student, logits);
    OK(igdm_evaluate(world->student, world->data, world->teacher, NULL, &evaluation));
    OK(igdm_attack(world->student, images, labels, COUNT, NULL, values, NULL));
    OK(igdm_trainer_get_adversarial(world->trainer, values, COUNT / 2 * PIXELS));
    OK(igdm_model_copy(world->student, &copy));
    CHECK(same_predictions(world->student, copy));
    igdm_trainer *other = new_trainer(copy, world->teacher);
    OK(igdm_trainer_step(other, &batch, NULL)); /* another trainer may work */
    igdm_trainer_release(other);
    igdm_model_release(copy);
    igdm_evaluation_release(evaluation);
    return 0;
}

static void calls_from_inside_a_fit(void) {
    struct watch watch;
    igdm_model *reference = fit_with_break(0, &watch);
    struct world world = {new_model("resnet8", 0), new_model("small_cnn", 1), new_dataset(), NULL, 0};
    world.trainer = new_trainer(world.student, world.teacher);
    OK(igdm_trainer_fit(world.trainer, world.data, world.data, use_everything, &world));
    CHECK(world.calls == watch.calls);
    CHECK(same_predictions(world.student, reference));
}

static int32_t release_all(const igdm_fit_event *event, void *user) {
    struct world *world = user;
    igdm_trainer_release(world->trainer);
    igdm_model_release(world->teacher);
    igdm_dataset_release(world->data);
    return event == NULL;
}

static void handles_released_inside_a_fit(void) {
    struct watch watch;
    igdm_model *reference = fit_with_break(0, &watch);
    struct world world = {new_model("resnet8", 0), new_model("small_cnn", 1), new_dataset(), NULL, 0};
    world.trainer = new_trainer(world.student, world.teacher);
    OK(igdm_trainer_fit(world.trainer, world.data, world.data, release_all, &world));
    CHECK(same_predictions(world.student, reference));
}

struct nested {
    igdm_model *model;
    int calls;
};

/* Uses the model whose attack is going on. */
static int32_t attack_again(const igdm_progress *progress, void *user) {
    struct nested *nested = user;
    float logits[COUNT * CLASSES], inner[COUNT * PIXELS];
    nested->calls++;
    predict(nested->model, logits);
    OK(igdm_model_input_gradient(nested->model, images, images, COUNT, NULL, inner));
    OK(igdm_attack(nested->model, images, labels, COUNT, NULL, inner, NULL));
    return progress == NULL;
}

static void calls_from_inside_an_attack(void) {
    struct watch watch = new_watch(0);
    struct nested nested = {new_model("small_cnn", 0), 0};
    igdm_attack_options options = attack_options(&watch);
    make_many_images();
    OK(igdm_attack(nested.model, many_images, many_labels, MANY, &options, expected, NULL));
    options.progress = attack_again, options.user = &nested;
    OK(igdm_attack(nested.model, many_images, many_labels, MANY, &options, attacked, NULL));
    CHECK(nested.calls == watch.calls);
    CHECK(memcmp(attacked, expected, sizeof attacked) == 0);
}

/* A thread that attacks a model and in its first callback, when all threads have come to theirs, uses the next one's. */
struct crossing {
    igdm_model *own, *next;
    pthread_barrier_t *everybody_inside;
    int calls;
    int32_t outer, inner; /* what the two calls returned */
    char message[300];
    float logits[COUNT * CLASSES], adversarial[COUNT * PIXELS];
};

static int32_t use_the_next(const igdm_progress *progress, void *user) {
    struct crossing *self = user;
    if (self->calls++ == 0) {
        pthread_barrier_wait(self->everybody_inside);
        self->inner = igdm_model_predict(self->next, images, COUNT, self->logits);
        if (self->inner != IGDM_OK) strncat(self->message, igdm_last_error(), sizeof self->message - 1);
    }
    return progress == NULL;
}

static void *attack_and_cross(void *user) {
    struct crossing *self = user;
    igdm_attack_options options;
    self->outer = igdm_attack_options_init(&options);
    options.steps = 2, options.progress = use_the_next, options.user = self;
    if (self->outer == IGDM_OK)
        self->outer = igdm_attack(self->own, images, labels, COUNT, &options, self->adversarial, NULL);
    return NULL;
}

static void cross_in_a_circle_of(int count) {
    struct crossing threads[3] = {{0}};
    pthread_barrier_t everybody_inside;
    pthread_t ids[3];
    int busy = 0;
    pthread_barrier_init(&everybody_inside, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        threads[i].own = new_model("small_cnn", (uint64_t)i);
        threads[i].everybody_inside = &everybody_inside;
    }
    for (int i = 0; i < count; i++) {
        threads[i].next = threads[(i + 1) % count].own;
        REQUIRE(pthread_create(&ids[i], NULL, attack_and_cross, &threads[i]) == 0);
    }
    for (int i = 0; i < count; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < count; i++) {
        float logits[COUNT * CLASSES], adversarial[COUNT * PIXELS];
        igdm_attack_options options;
        OK(igdm_attack_options_init(&options));
        options.steps = 2;
        OK(igdm_attack(threads[i].own, images, labels, COUNT, &options, adversarial, NULL));
        predict(threads[i].next, logits);
        CHECK(threads[i].outer == IGDM_OK && memcmp(adversarial, threads[i].adversarial, sizeof adversarial) == 0);
        if (threads[i].inner == IGDM_ERROR_BUSY) {
            busy++;
            CHECK(strstr(threads[i].message, "igdm_model") != NULL);
            CHECK(strstr(threads[i].message, "callback") != NULL);
        } else {
            CHECK(threads[i].inner == IGDM_OK && memcmp(logits, threads[i].logits, sizeof logits) == 0);
        }
    }
    CHECK(busy == 1); /* the one that came last; when it had gone on the others could */
}

static void callbacks_that_would_wait_in_a_circle(void) {
    make_images();
    for (int i = 0; i < 20; i++) cross_in_a_circle_of(2), cross_in_a_circle_of(3);
}

static sem_t outer_is_inside;

static int32_t take_a_while(const igdm_progress *progress, void *user) {
    sem_post(&outer_is_inside);
    usleep(100000);
    *(int *)user = 1;
    return progress == NULL;
}

static void *attack_slowly(void *user) {
    static float result[PIXELS];
    igdm_attack_options options;
    int *finished = ((void **)user)[1];
    igdm_attack_options_init(&options);
    options.progress = take_a_while, options.user = finished;
    igdm_attack(((void **)user)[0], images, labels, 1, &options, result, NULL);
    return NULL;
}

static int32_t use_the_slow_one(const igdm_progress *progress, void *user) {
    float logits[COUNT * CLASSES];
    int *finished = ((void **)user)[1];
    predict(((void **)user)[0], logits);
    CHECK(*finished == 1); /* it has been waited for */
    return progress == NULL;
}

/* No circle: a callback waits for another thread's call, as any call does. */
static void callbacks_wait_for_other_threads(void) {
    int finished = 0;
    void *slow[2] = {new_model("small_cnn", 0), &finished};
    igdm_model *other = new_model("small_cnn", 1);
    igdm_attack_options options;
    pthread_t thread;
    make_images();
    sem_init(&outer_is_inside, 0, 0);
    REQUIRE(pthread_create(&thread, NULL, attack_slowly, slow) == 0);
    sem_wait(&outer_is_inside);
    OK(igdm_attack_options_init(&options));
    options.progress = use_the_slow_one, options.user = slow;
    OK(igdm_attack(other, images, labels, COUNT, &options, attacked, NULL));
    pthread_join(thread, NULL);
}

static void on_log(int32_t level, const char *message, void *user) {
    int *warnings = user;
    *warnings += level == IGDM_LOG_WARNING && strchr(message, '%') != NULL;
}

/* Pixels at the border of the box, mirrored without clipping, leave it: worth a warning. */
static void warnings_reach_the_log_callback(void) {
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    igdm_batch batch = first_batch();
    igdm_step_report report = {.struct_size = sizeof report};
    int warnings = 0;
    memset(images, 0, sizeof images);
    options.mirror = "paper";
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    OK(igdm_set_log_callback(on_log, &warnings));
    OK(igdm_trainer_step(trainer, &batch, &report));
    CHECK(report.mirror_outside > 0.1 && report.mirror_outside <= 1);
    CHECK(warnings == 1);
    OK(igdm_set_log_callback(NULL, NULL));
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    OK(igdm_trainer_step(trainer, &batch, &report));
    CHECK(warnings == 1);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(fit_resumes_after_every_cancel),   TEST(attack_cancels_at_every_call),
        TEST(attack_keeps_what_it_found), TEST(evaluation_cancels_at_every_call), TEST(evaluation_keeps_what_it_found), TEST(autoattack_keeps_what_it_found), TEST(the_flag_cancels_from_another_thread),
        TEST(calls_from_inside_a_fit),          TEST(handles_released_inside_a_fit),
        TEST(calls_from_inside_an_attack),      TEST(callbacks_that_would_wait_in_a_circle),
        TEST(autoattack_resumes_after_every_cancel), TEST(host_models_are_attacked_as_ours),
        TEST(callbacks_wait_for_other_threads), TEST(warnings_reach_the_log_callback),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
