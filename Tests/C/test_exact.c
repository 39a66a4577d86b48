/*
 * igdm_model_set_exact: whether every call follows it, and who inherits it. How much the two settings differ is in
 * docs/numerics.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <math.h>

enum { WIDE = 16 }; /* channels from which on Winograd's algorithm is used */

static igdm_model *wide_model(uint64_t seed) {
    igdm_model_options options = model_options();
    igdm_model *model = NULL;
    options.base_width = WIDE;
    options.seed = seed;
    OK(igdm_model_create("resnet8", &options, &model));
    return model;
}

static igdm_model *exact_model(uint64_t seed) {
    igdm_model *model = wide_model(seed);
    OK(igdm_model_set_exact(model, 1));
    return model;
}

static int32_t is_exact(igdm_model *model) {
    int32_t exact = -1;
    OK(igdm_model_get_exact(model, &exact));
    return exact;
}

/* On the baseline path the two settings are the same computation, elsewhere they are not, but nearly give the same. */
static void check_settings(const float *fast, const float *exact, size_t count) {
    double largest = 0, difference = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)exact[i]));
        difference = fmax(difference, fabs((double)fast[i] - exact[i]));
    }
    CHECK((difference == 0) == (strstr(igdm_build_info(), "cpu=baseline") != NULL));
    CHECK(largest > 0 && difference < 1e-4 * largest);
}

static void models_begin_inexact(void) {
    igdm_model *model = wide_model(0);
    CHECK(is_exact(model) == 0);
    OK(igdm_model_set_exact(model, 1));
    CHECK(is_exact(model) == 1);
    FAILS(igdm_model_set_exact(model, 2), IGDM_ERROR_INVALID_ARGUMENT, "exact: got 2, want 0 or 1");
    FAILS(igdm_model_set_exact(model, -1), IGDM_ERROR_INVALID_ARGUMENT, "exact: got -1, want 0 or 1");
    CHECK(is_exact(model) == 1);
    OK(igdm_model_set_exact(model, 0));
    CHECK(is_exact(model) == 0);
}

static void copies_inherit_and_files_do_not(void) {
    igdm_model *model = exact_model(0), *copy = NULL, *loaded = NULL;
    OK(igdm_model_copy(model, &copy));
    CHECK(is_exact(copy) == 1 && same_predictions(model, copy));
    OK(igdm_model_set_exact(copy, 0));
    CHECK(is_exact(model) == 1);

    make_folder();
    OK(igdm_model_save(model, path_to("exact.h5")));
    OK(igdm_model_load(path_to("exact.h5"), &loaded));
    CHECK(is_exact(loaded) == 0 && same_predictions(loaded, copy));
    OK(igdm_model_load_weights(model, path_to("exact.h5"))); /* new weights, same handle */
    CHECK(is_exact(model) == 1);
}

/* Logits, and the gradients behind them, in either setting and back again. */
static void calls_follow_the_setting(void) {
    float cotangent[COUNT * CLASSES], logits[3][COUNT * CLASSES];
    static float gradient[3][COUNT * PIXELS];
    igdm_model *model = wide_model(0);
    for (size_t i = 0; i < COUNT * CLASSES; i++) cotangent[i] = (float)(i % 5) - 2;
    make_images();
    for (int turn = 0; turn < 3; turn++) {
        OK(igdm_model_set_exact(model, turn == 1));
        OK(igdm_model_input_gradient(model, images, cotangent, COUNT, NULL, gradient[turn]));
        predict(model, logits[turn]);
    }
    check_settings(logits[0], logits[1], COUNT * CLASSES);
    check_settings(gradient[0], gradient[1], COUNT * PIXELS);
    CHECK(memcmp(logits[0], logits[2], sizeof logits[0]) == 0);
    CHECK(memcmp(gradient[0], gradient[2], sizeof gradient[0]) == 0);
}

/* The bits of an attack and of an evaluation with a teacher are those of models that were exact from the start. */
static void attacks_and_evaluations_follow_the_setting(void) {
    static float adversarial[2][COUNT * PIXELS];
    igdm_model *model = wide_model(0), *teacher = wide_model(1);
    igdm_dataset *dataset = new_dataset();
    igdm_attack_options attack;
    double cosine[2], distance[2];
    OK(igdm_attack_options_init(&attack));
    attack.norm = "l2";
    attack.epsilon = 0.5;
    for (int exact = 0; exact < 2; exact++) {
        igdm_evaluation *evaluation = NULL;
        OK(igdm_model_set_exact(model, exact));
        OK(igdm_model_set_exact(teacher, exact));
        OK(igdm_attack(model, images, labels, COUNT, &attack, adversarial[exact], NULL));
        OK(igdm_evaluate(model, dataset, teacher, NULL, &evaluation));
        OK(igdm_evaluation_get_gradient_agreement(evaluation, &cosine[exact], &distance[exact]));
    }
    check_settings(adversarial[0], adversarial[1], COUNT * PIXELS);
    CHECK((distance[0] == distance[1]) == (strstr(igdm_build_info(), "cpu=baseline") != NULL));
    CHECK(fabs(cosine[0] - cosine[1]) < 1e-4);
}

enum { GRADIENT = WIDE * 9 }; /* of the first convolution, behind which all others lie */

static void step(igdm_trainer *trainer, int32_t update, float gradient[GRADIENT]) {
    igdm_batch batch = first_batch();
    batch.update = update;
    OK(igdm_trainer_step(trainer, &batch, NULL));
    OK(igdm_trainer_get_gradient(trainer, "conv1.weight", gradient, GRADIENT));
}

/* A trainer whose student is switched between steps computes what one does whose student always was what it is now. */
static void a_trainer_follows_its_student(void) {
    float fast[GRADIENT], exact[GRADIENT], switched[GRADIENT];
    igdm_model *teacher = exact_model(1), *student = wide_model(0);
    igdm_trainer *trainer = new_trainer(student, teacher);
    step(new_trainer(exact_model(0), teacher), 0, exact);
    step(trainer, 0, fast);
    check_settings(fast, exact, GRADIENT);
    OK(igdm_model_set_exact(student, 1));
    step(trainer, 0, switched);
    CHECK(memcmp(switched, exact, sizeof exact) == 0);
    OK(igdm_model_set_exact(student, 0));
    step(trainer, 0, switched);
    CHECK(memcmp(switched, fast, sizeof fast) == 0);
}

/* After an update both settings compute with the new weights. */
static void updates_reach_both_settings(void) {
    float gradient[GRADIENT];
    igdm_model *student = wide_model(0);
    igdm_trainer *trainer = new_trainer(student, wide_model(1));
    for (int32_t exact = 0; exact < 4; exact++) {
        igdm_model *copy = NULL;
        OK(igdm_model_set_exact(student, exact % 2));
        step(trainer, 1, gradient);
        for (int32_t setting = 0; setting < 2; setting++) {
            OK(igdm_model_set_exact(student, setting));
            OK(igdm_model_copy(student, &copy)); /* nothing is prepared in it yet */
            CHECK(same_predictions(student, copy));
        }
    }
}

/* A trainer's teacher is a copy: as it was when the trainer was made. */
static void a_trainer_keeps_its_teacher(void) {
    float before[GRADIENT], after[GRADIENT], inexact[GRADIENT];
    igdm_model *teacher = exact_model(1), *student = exact_model(0);
    igdm_trainer *trainer = new_trainer(student, teacher);
    step(trainer, 0, before);
    OK(igdm_model_set_exact(teacher, 0));
    step(trainer, 0, after);
    CHECK(memcmp(before, after, sizeof before) == 0);
    step(new_trainer(student, teacher), 0, inexact);
    check_settings(inexact, before, GRADIENT);
}

static igdm_model *fitted;

/* From inside a callback of a fit the next batch is exact: as if the fit had been cancelled, switched and continued. */
static int32_t switch_in_the_middle(const igdm_fit_event *event, void *user) {
    (void)user;
    if (event->kind == IGDM_EVENT_STEP && event->epoch == 1 && event->batch == 1)
        CHECK(igdm_model_set_exact(fitted, 1) == IGDM_OK);
    return 0;
}

static int32_t cancel_in_the_middle(const igdm_fit_event *event, void *user) {
    (void)user;
    return event->kind == IGDM_EVENT_STEP && event->epoch == 1 && event->batch == 1;
}

static void callbacks_may_switch(void) {
    igdm_model *teacher = wide_model(1), *other = wide_model(0);
    igdm_dataset *data = new_dataset();
    fitted = wide_model(0);
    OK(igdm_trainer_fit(new_trainer(fitted, teacher), data, NULL, switch_in_the_middle, NULL));
    CHECK(is_exact(fitted) == 1);
    igdm_trainer *trainer = new_trainer(other, teacher);
    FAILS(igdm_trainer_fit(trainer, data, NULL, cancel_in_the_middle, NULL), IGDM_ERROR_CANCELLED, "");
    OK(igdm_model_set_exact(other, 1));
    OK(igdm_trainer_fit(trainer, data, NULL, NULL, NULL));
    CHECK(same_predictions(fitted, other));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(models_begin_inexact),
        TEST(copies_inherit_and_files_do_not),
        TEST(calls_follow_the_setting),
        TEST(attacks_and_evaluations_follow_the_setting),
        TEST(a_trainer_follows_its_student),
        TEST(updates_reach_both_settings),
        TEST(a_trainer_keeps_its_teacher),
        TEST(callbacks_may_switch),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
