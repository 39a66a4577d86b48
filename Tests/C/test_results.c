/*
 * What calls return when all is well: values, shapes and relations that the header promises. How right the numbers are
 * is the business of the Swift and parity tests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <math.h>

static int contains(const char *text, const char *part) { return strstr(text, part) != NULL; }

static void the_library_describes_itself(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", IGDM_VERSION_MAJOR, IGDM_VERSION_MINOR, IGDM_VERSION_PATCH);
    CHECK(igdm_version_number() == IGDM_VERSION_NUMBER);
    CHECK(strcmp(igdm_version_string(), version) == 0);
    static const char *const keys[] = {"version=", "swift=", "openblas=", "hdf5=", "cpu=", "threads="};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) CHECK(contains(igdm_build_info(), keys[i]));
    CHECK(strcmp(igdm_architectures(), "resnet8,resnet14,resnet20,resnet18,resnet34,resnet50,preact_resnet18,wrn_D_K,"
                                       "dm_wrn_D_K,dm_preact_resnet18,imagenet_resnet18,imagenet_resnet34,"
                                       "imagenet_resnet50,small_cnn,mobilenet_v2") == 0);
    CHECK(strcmp(igdm_attacks(),
                 "fgsm,pgd,cw,apgd-ce,apgd-dlr,apgd-t,fab,fab-t,square,autoattack,deepfool,ddn,fmn,spsa,noise-gaussian,"
                 "noise-uniform,hopskipjump,bim,mi-fgsm,r-fgsm,tpgd,cw-l2,gaussian_noise,shot_noise,impulse_noise,"
                 "defocus_blur,glass_blur,motion_blur,zoom_blur,snow,frost,fog,brightness,contrast,elastic_transform,pixelate,"
                 "jpeg_compression") == 0);
    CHECK(strcmp(igdm_methods(), "pgd-at,ard,rslad,adaad,trades,iad,akd,adaiad,mtard,dgad,saad") == 0);
    CHECK(strcmp(igdm_status_name(IGDM_OK), "IGDM_OK") == 0);
    CHECK(strcmp(igdm_status_name(IGDM_ERROR_SHAPE), "IGDM_ERROR_SHAPE") == 0);
    CHECK(strcmp(igdm_status_name(IGDM_ERROR_INTERNAL), "IGDM_ERROR_INTERNAL") == 0);
    CHECK(strcmp(igdm_status_name(1), "unknown") == 0 && strcmp(igdm_status_name(INT32_MIN), "unknown") == 0);
    CHECK(igdm_get_threads() >= 1 && igdm_get_threads() <= 256);
}

static void parameters_describe_the_model(void) {
    igdm_model *model = new_model("resnet8", 0);
    igdm_model_info info = {.struct_size = sizeof info};
    size_t count;
    int64_t trainable_numbers = 0;
    OK(igdm_model_get_info(model, &info));
    CHECK(info.classes == CLASSES && info.channels == 1 && info.height == SIDE && info.width == SIDE
          && info.base_width == 4);
    CHECK(strcmp(info.architecture, "resnet8") == 0 && info.has_normalisation == 0
          && info.multiply_adds > info.parameter_count);
    OK(igdm_model_parameter_count(model, &count));
    for (size_t i = 0; i < count; i++) {
        int64_t shape[4] = {1, 1, 1, 1}, dimensions = 0, numbers = 1;
        int32_t trainable = -1;
        const char *name = NULL;
        OK(igdm_model_parameter_info(model, i, &name, shape, &dimensions, &trainable));
        CHECK(dimensions >= 1 && dimensions <= 4 && (trainable == 0) == contains(name, "running_"));
        for (int64_t d = 0; d < dimensions; d++) numbers *= shape[d];
        trainable_numbers += trainable ? numbers : 0;

        float *values = malloc((size_t)numbers * sizeof(float)), *read = malloc((size_t)numbers * sizeof(float));
        for (int64_t k = 0; k < numbers; k++) values[k] = 0.25f + (float)k;
        OK(igdm_model_set_parameter(model, name, values, (size_t)numbers));
        OK(igdm_model_get_parameter(model, name, read, (size_t)numbers));
        CHECK(memcmp(values, read, (size_t)numbers * sizeof(float)) == 0);
        free(values), free(read);
    }
    CHECK(trainable_numbers == info.parameter_count);
}

static void copies_are_independent(void) {
    igdm_model *model = new_model("small_cnn", 0), *copy = NULL;
    const float bias[CLASSES] = {100, 0, 0};
    const char *name;
    size_t count;
    OK(igdm_model_copy(model, &copy));
    CHECK(same_predictions(model, copy));
    CHECK(same_predictions(model, new_model("small_cnn", 0)) && !same_predictions(model, new_model("small_cnn", 1)));
    OK(igdm_model_parameter_count(copy, &count));
    OK(igdm_model_parameter_info(copy, count - 1, &name, NULL, NULL, NULL));
    OK(igdm_model_set_parameter(copy, name, bias, CLASSES));
    CHECK(!same_predictions(model, copy)); /* the change is seen at once, and by the copy only */
    CHECK(same_predictions(model, new_model("small_cnn", 0)));
}

/* Along a random direction v: gradient . v = (f(x+hv) - f(x-hv)) / 2h, with f = sum(cotangent * logits). */
static void input_gradients_are_slopes(void) {
    igdm_model *model = new_model("small_cnn", 0);
    float cotangent[CLASSES] = {1, -2, 0.5f}, logits[CLASSES], gradient[PIXELS], moved[PIXELS];
    double along = 0, difference = 0;
    const double h = 1e-3;
    make_images();
    for (size_t p = 0; p < PIXELS; p++) images[p] = 0.1f + 0.8f * images[p]; /* away from the border */
    OK(igdm_model_input_gradient(model, images, cotangent, 1, logits, gradient));
    for (size_t p = 0; p < PIXELS; p++) along += gradient[p] * (images[PIXELS + p] - 0.5);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t p = 0; p < PIXELS; p++) moved[p] = (float)(images[p] + sign * h * (images[PIXELS + p] - 0.5));
        OK(igdm_model_predict(model, moved, 1, logits));
        for (size_t c = 0; c < CLASSES; c++) difference += sign * cotangent[c] * logits[c] / (2 * h);
    }
    CHECK(fabs(along - difference) < 0.02 * fabs(along) + 1e-3);
}

static double norm_of_change(const float *a, const float *b, int l2) {
    double largest = 0, squares = 0;
    for (size_t p = 0; p < PIXELS; p++) {
        double d = fabs((double)a[p] - b[p]);
        largest = d > largest ? d : largest, squares += d * d;
    }
    return l2 ? sqrt(squares) : largest;
}

static void attacks_stay_in_their_ball(void) {
    static const char *const attacks[] = {"fgsm", "pgd", "cw"};
    static float adversarial[COUNT * PIXELS];
    float logits[COUNT * CLASSES];
    uint8_t success[COUNT];
    igdm_model *model = new_model("small_cnn", 0);
    make_images();
    for (size_t i = 0; i < 6; i++) {
        int l2 = i >= 3;
        igdm_attack_options options;
        OK(igdm_attack_options_init(&options));
        context = options.attack = attacks[i % 3];
        options.norm = l2 ? "l2" : "linf";
        options.epsilon = l2 ? 0.5 : 0.1;
        OK(igdm_attack(model, images, labels, COUNT, &options, adversarial, success));
        OK(igdm_model_predict(model, adversarial, COUNT, logits));
        for (size_t k = 0; k < COUNT; k++) {
            const float *row = logits + k * CLASSES;
            double moved = norm_of_change(images + k * PIXELS, adversarial + k * PIXELS, l2);
            int best = 0;
            for (int c = 1; c < CLASSES; c++) best = row[c] > row[best] ? c : best;
            CHECK(success[k] == (best != labels[k]));
            CHECK(moved > 0 && moved <= options.epsilon * 1.00001);
            for (size_t p = 0; p < PIXELS; p++)
                REQUIRE(adversarial[k * PIXELS + p] >= 0 && adversarial[k * PIXELS + p] <= 1);
        }
    }
}

/* The numbers of a report against the images that come with it. */
static void reports_tell_what_attacks_did(void) {
    static float plain[COUNT * PIXELS], adversarial[COUNT * PIXELS];
    igdm_model *model = new_model("small_cnn", 0);
    igdm_attack_options options;
    igdm_attack_report report;
    uint8_t success[COUNT], told_success[COUNT];
    int64_t first[COUNT], forwards[COUNT], backwards[COUNT], successes = 0;
    double linf[COUNT], l2[COUNT], l1[COUNT];
    make_images();
    OK(igdm_attack_options_init(&options));
    options.epsilon = 0.1, options.steps = 3, options.restarts = 2;
    OK(igdm_attack(model, images, labels, COUNT, &options, plain, success));
    OK(igdm_attack_report_init(&report));
    report.success = told_success, report.first_success = first, report.linf = linf, report.l2 = l2, report.l1 = l1;
    report.forwards = forwards, report.backwards = backwards;
    OK(igdm_attack_with_report(model, images, labels, COUNT, &options, adversarial, &report));
    CHECK(memcmp(plain, adversarial, sizeof plain) == 0 && memcmp(success, told_success, sizeof success) == 0);
    for (size_t k = 0; k < COUNT; k++) {
        double sum = 0;
        for (size_t p = 0; p < PIXELS; p++) sum += fabs((double)images[k * PIXELS + p] - adversarial[k * PIXELS + p]);
        CHECK(linf[k] == norm_of_change(images + k * PIXELS, adversarial + k * PIXELS, 0) && linf[k] <= 0.1);
        CHECK(fabs(l2[k] - norm_of_change(images + k * PIXELS, adversarial + k * PIXELS, 1)) < 1e-12);
        CHECK(fabs(l1[k] - sum) < 1e-12);
        CHECK(forwards[k] == 2 * (3 + 1) && backwards[k] == 2 * 3);
        CHECK(first[k] >= -1 && first[k] <= 2 * 3 && (!success[k] || first[k] >= 0));
        successes += success[k];
    }
    CHECK(successes > 0 && successes < COUNT && report.successes == successes && report.seconds > 0);
    CHECK(report.total_forwards == COUNT * 8 && report.total_backwards == COUNT * 6);

    /* In place, with nothing but totals and one distance. */
    OK(igdm_attack_report_init(&report));
    report.l1 = linf;
    OK(igdm_attack_with_report(model, images, labels, COUNT, &options, images, &report));
    CHECK(memcmp(plain, images, sizeof plain) == 0 && memcmp(linf, l1, sizeof l1) == 0);
    CHECK(report.successes == successes && report.l1 == linf && report.l2 == NULL);
}

static void evaluations_add_up(void) {
    static const char *const names[] = {"clean", "fgsm", "pgd-3", "cw-5"};
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *evaluation = NULL, *alone = NULL;
    igdm_evaluate_options options;
    uint8_t clean[COUNT], correct[COUNT];
    double cosine = -9, distance = -9;
    size_t rows;
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "fgsm,pgd-3,cw-5";
    OK(igdm_evaluate(model, data, teacher, &options, &evaluation));
    OK(igdm_evaluation_row_count(evaluation, &rows));
    REQUIRE(rows == 4);
    OK(igdm_evaluation_get_correct(evaluation, 0, clean, COUNT));
    for (size_t i = 0; i < rows; i++) {
        igdm_evaluation_row row = {.struct_size = sizeof row};
        int64_t counted = 0;
        OK(igdm_evaluation_get_row(evaluation, i, &row));
        OK(igdm_evaluation_get_correct(evaluation, i, correct, COUNT));
        for (size_t k = 0; k < COUNT; k++) {
            counted += correct[k];
            CHECK(correct[k] <= clean[k]);
        }
        CHECK(strcmp(row.name, names[i]) == 0 && row.count == COUNT && row.correct == counted);
        CHECK(row.accuracy == (double)counted / COUNT && row.seconds >= 0);
    }
    OK(igdm_evaluation_get_gradient_agreement(evaluation, &cosine, &distance));
    CHECK(cosine >= -1 && cosine <= 1 && distance > 0);
    OK(igdm_evaluate(model, data, model, NULL, &alone)); /* a model agrees with itself */
    OK(igdm_evaluation_get_gradient_agreement(alone, &cosine, &distance));
    CHECK(fabs(cosine - 1) < 1e-5 && distance < 1e-6);
    OK(igdm_evaluate(model, data, NULL, &options, &alone));
    FAILS(igdm_evaluation_get_gradient_agreement(alone, &cosine, &distance), IGDM_ERROR_NOT_FOUND, "teacher");
    FAILS(igdm_evaluation_get_correct(evaluation, 0, correct, COUNT - 1), IGDM_ERROR_SHAPE, "count");
}

static void steps_report_what_they_did(void) {
    igdm_model *student = new_model("resnet8", 0), *teacher = new_model("small_cnn", 1), *before = NULL;
    igdm_trainer *trainer = new_trainer(student, teacher);
    igdm_batch batch = first_batch();
    igdm_step_report report = {.struct_size = sizeof report}, again = report;
    static float own[COUNT * PIXELS], used[COUNT * PIXELS];
    OK(igdm_model_copy(student, &before));
    for (size_t p = 0; p < COUNT * PIXELS; p++) own[p] = fminf(images[p] + 0.02f, 1);
    batch.adversarial = own;
    batch.update = 0;
    OK(igdm_trainer_step(trainer, &batch, &report));
    OK(igdm_trainer_get_adversarial(trainer, used, COUNT * PIXELS));
    CHECK(memcmp(own, used, sizeof own) == 0);
    CHECK(same_predictions(student, before));
    CHECK(report.step == 0 && report.epoch == 1 && report.igdm_weight == 0.5 && report.learning_rate == 0.01);
    CHECK(report.base_loss > 0 && report.igdm_loss > 0);
    CHECK(report.second_loss >= 0 && report.second_loss <= report.base_loss);
    CHECK(fabs(report.loss - report.base_loss - report.igdm_weight * report.igdm_loss) < 1e-6 * report.loss);
    CHECK(report.adversarial_accuracy >= 0 && report.adversarial_accuracy <= 1 && report.mirror_outside >= 0);

    batch.update = 1;
    for (int i = 1; i <= 4; i++) {
        OK(igdm_trainer_step(trainer, &batch, &again));
        CHECK(again.step == i && again.epoch == (i + 1) / 2);
        if (i == 1) CHECK(again.loss == report.loss); /* looking had changed nothing */
    }
    CHECK(again.igdm_weight == 1);
    CHECK(!same_predictions(student, before));
}

static void the_teacher_is_copied(void) {
    igdm_model *students[2] = {new_model("resnet8", 0), new_model("resnet8", 0)}, *teacher = new_model("small_cnn", 1);
    igdm_batch batch = first_batch();
    const float bias[CLASSES] = {100, 0, 0};
    const char *name;
    size_t count;
    OK(igdm_model_parameter_count(teacher, &count));
    OK(igdm_model_parameter_info(teacher, count - 1, &name, NULL, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        igdm_trainer *trainer = new_trainer(students[i], teacher);
        if (i == 1) OK(igdm_model_set_parameter(teacher, name, bias, CLASSES));
        OK(igdm_trainer_step(trainer, &batch, NULL));
    }
    CHECK(same_predictions(students[0], students[1]));
}

/* Where the host promises to leave them alone the weights are the teacher's own: what they are is what the trainer reads, also after
 * the teacher's release. */
static void a_teacher_can_be_shared(void) {
    igdm_model *students[2] = {new_model("resnet8", 0), new_model("resnet8", 0)}, *teacher = new_model("small_cnn", 1);
    igdm_batch batch = first_batch();
    igdm_trainer_details details;
    OK(igdm_trainer_details_init(&details));
    CHECK(details.share_teachers == 0);
    for (int i = 0; i < 2; i++) {
        igdm_trainer_options options = trainer_options();
        igdm_trainer *trainer = NULL;
        details.share_teachers = i;
        options.details = &details;
        OK(igdm_trainer_create(students[i], teacher, &options, &trainer));
        if (i == 1) igdm_model_release(teacher);
        OK(igdm_trainer_step(trainer, &batch, NULL));
        OK(igdm_trainer_step(trainer, &batch, NULL));
        igdm_trainer_release(trainer);
    }
    CHECK(same_predictions(students[0], students[1]));
    igdm_model_release(students[0]), igdm_model_release(students[1]);
}

/* The stripes are easy: some epochs of plain training on them must learn them. */
static void training_learns(void) {
    igdm_model *student = new_model("resnet8", 0);
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    igdm_evaluation *evaluation = NULL;
    igdm_dataset *data = new_dataset();
    igdm_evaluate_options clean;
    igdm_evaluation_row row = {.struct_size = sizeof row};
    options.method = "pgd-at", options.igdm = 0, options.epochs = 30, options.learning_rate = 0.05;
    options.flip = 0, options.crop_padding = 0, options.schedule = "constant";
    OK(igdm_trainer_create(student, NULL, &options, &trainer));
    OK(igdm_trainer_fit(trainer, data, NULL, NULL, NULL));
    OK(igdm_evaluate_options_init(&clean));
    clean.attacks = "pgd-10";
    OK(igdm_evaluate(student, data, NULL, &clean, &evaluation));
    for (size_t i = 0; i < 2; i++) {
        OK(igdm_evaluation_get_row(evaluation, i, &row));
        CHECK(row.accuracy >= 0.9);
    }
}

static void targets_are_reached(void) {
    igdm_model *model = new_model("small_cnn", 0);
    static float result[COUNT * PIXELS], logits[COUNT * CLASSES];
    static uint8_t success[COUNT], quantised[COUNT];
    static const char *const names[] = {"fgsm", "pgd", "cw", "apgd-ce", "apgd-t", "fab-t", "square"};
    int64_t total = 0;
    make_images();
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        igdm_attack_options options;
        igdm_attack_report report;
        OK(igdm_attack_options_init(&options));
        OK(igdm_attack_report_init(&report));
        options.attack = names[n], options.epsilon = 0.5, options.target = "2", options.early_stop = 1;
        options.steps = n == 0 ? 1 : 20;
        report.success = success, report.quantised = quantised;
        OK(igdm_attack_with_report(model, images, labels, COUNT, &options, result, &report));
        OK(igdm_model_predict(model, result, COUNT, logits));
        int64_t survivors = 0;
        for (size_t i = 0; i < COUNT; i++) {
            const float *z = logits + i * CLASSES;
            CHECK(success[i] == (z[2] > z[0] && z[2] > z[1]));
            CHECK(quantised[i] <= success[i]);
            survivors += quantised[i], total += success[i];
        }
        CHECK(survivors == report.quantised_successes);
    }
    CHECK(total > 0);
    igdm_attack_options options;
    OK(igdm_attack_options_init(&options));
    static const char *const wrong[] = {"3", "-1", "02", "nearest", "Random"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options.target = wrong[i];
        FAILS(igdm_attack(model, images, labels, COUNT, &options, result, NULL), IGDM_ERROR_INVALID_ARGUMENT, "target");
    }
    static const char *const without[] = {"fab", "apgd-dlr", "autoattack"};
    options.target = "random";
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        options.attack = without[i];
        FAILS(igdm_attack(model, images, labels, COUNT, &options, result, NULL), IGDM_ERROR_INVALID_ARGUMENT, "target");
    }
    options.attack = "pgd", options.loss = "kl";
    FAILS(igdm_attack(model, images, labels, COUNT, &options, result, NULL), IGDM_ERROR_INVALID_ARGUMENT, "loss");
    igdm_model_release(model);
}

static int32_t pass_of_ours(const igdm_host_pass *pass, void *model) {
    if (pass->cotangent == NULL) return igdm_model_predict(model, pass->images, pass->count, pass->logits);
    return igdm_model_input_gradient(model, pass->images, pass->cotangent, pass->count, NULL, pass->gradient);
}

/* A target of its own for each sample: evaluations find what the attack finds. */
static void evaluations_aim_at_labels(void) {
    igdm_model *model = new_model("small_cnn", 6);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *made = NULL, *larger = NULL;
    igdm_evaluate_options options;
    igdm_attack_options attacking;
    static float images[COUNT * PIXELS], found[COUNT * PIXELS], result[COUNT * PIXELS];
    static uint8_t clean[COUNT], correct[COUNT], success[COUNT];
    int64_t labels[COUNT], targets[COUNT];
    igdm_attack_report report;
    OK(igdm_dataset_read(data, 0, COUNT, images, labels));
    for (size_t i = 0; i < COUNT; i++) targets[i] = (int64_t)(i / 2 % CLASSES);
    /* Unless its mean logits are taken off, an untrained model has one answer for all images. */
    float logits[COUNT * CLASSES], bias[CLASSES];
    OK(igdm_model_get_parameter(model, "fc.bias", bias, CLASSES));
    OK(igdm_model_predict(model, images, COUNT, logits));
    for (size_t i = 0; i < COUNT * CLASSES; i++) bias[i % CLASSES] -= logits[i] / COUNT;
    OK(igdm_model_set_parameter(model, "fc.bias", bias, CLASSES));
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "pgd-5,apgd-ce-5", options.epsilon = 0.03, options.keep_samples = 1, options.target = "labels";
    options.target_labels = targets, options.target_count = COUNT;
    OK(igdm_evaluate(model, data, NULL, &options, &made));
    OK(igdm_evaluation_get_correct(made, 0, clean, COUNT));
    OK(igdm_attack_options_init(&attacking));
    attacking.epsilon = 0.03, attacking.steps = 5, attacking.target = "labels";
    size_t reached = 0, left = 0;
    for (size_t row = 1; row < 3; row++) {
        /* Of pgd an evaluation judges the last iterate. */
        attacking.attack = row == 1 ? "pgd" : "apgd-ce", attacking.early_stop = row != 1;
        OK(igdm_attack(model, images, targets, COUNT, &attacking, result, success));
        OK(igdm_attack_report_init(&report));
        OK(igdm_evaluation_get_samples(made, row, found, COUNT, &report));
        OK(igdm_evaluation_get_correct(made, row, correct, COUNT));
        for (size_t i = 0; i < COUNT; i++) {
            int attacked = clean[i] && targets[i] != labels[i];
            CHECK(correct[i] == (attacked ? 1 - success[i] : clean[i]));
            const float *wanted = attacked ? result : images;
            CHECK(!memcmp(found + i * PIXELS, wanted + i * PIXELS, PIXELS * sizeof(float)));
            reached += attacked && success[i], left += attacked && !success[i];
        }
    }
    CHECK(reached > 0 && left > 0);

    options.epsilon = 0.5, options.smaller = made;
    OK(igdm_evaluate(model, data, NULL, &options, &larger));
    igdm_evaluation_release(larger), larger = NULL;
    targets[0] = (targets[0] + 1) % CLASSES;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_labels");
    options.smaller = NULL, targets[COUNT - 1] = CLASSES;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_labels: sample");
    targets[COUNT - 1] = 0, options.target_count = COUNT - 1;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_SHAPE, "target_labels");
    options.target_count = COUNT + 1;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_count");
    options.target_count = -1;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_count");
    options.target_count = COUNT, options.target = "2";
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_labels");
    options.target = "labels", options.target_labels = NULL;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_count");
    options.target_count = 0;
    FAILS(igdm_evaluate(model, data, NULL, &options, &larger), IGDM_ERROR_INVALID_ARGUMENT, "target_labels");
    CHECK(larger == NULL);
    igdm_evaluation_release(made), igdm_dataset_release(data), igdm_model_release(model);
}

/* Rows, samples and the same for a model of the host. */
static void evaluations_keep_samples(void) {
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *ours = NULL, *theirs = NULL;
    igdm_evaluate_options options;
    static float found[2][COUNT * PIXELS];
    static double linf[COUNT];
    static uint8_t success[COUNT], correct[COUNT], quantised[COUNT];
    igdm_attack_report report;
    OK(igdm_evaluate_options_init(&options));
    options.attacks = "pgd-3,square-10", options.epsilon = 0.1, options.keep_samples = 1;
    OK(igdm_evaluate(model, data, NULL, &options, &ours));
    igdm_host_model host;
    OK(igdm_host_model_init(&host));
    host.classes = CLASSES, host.channels = 1, host.height = host.width = SIDE;
    host.evaluate = pass_of_ours, host.user = model;
    OK(igdm_evaluate_host_model(&host, data, &options, &theirs));
    OK(igdm_attack_report_init(&report));
    report.success = success, report.linf = linf, report.quantised = quantised;
    for (size_t row = 1; row < 3; row++) {
        igdm_evaluation_row about = {.struct_size = sizeof about};
        OK(igdm_evaluation_get_row(ours, row, &about));
        OK(igdm_evaluation_get_correct(ours, row, correct, COUNT));
        OK(igdm_evaluation_get_samples(theirs, row, found[1], COUNT, &report));
        OK(igdm_evaluation_get_samples(ours, row, found[0], COUNT, &report));
        CHECK(memcmp(found[0], found[1], sizeof found[0]) == 0);
        int64_t survivors = 0;
        for (size_t i = 0; i < COUNT; i++) {
            CHECK(success[i] == 1 - correct[i]);
            CHECK(linf[i] <= 0.1);
            survivors += 1 - quantised[i];
        }
        CHECK(about.quantised >= about.correct && about.quantised <= survivors);
    }
    FAILS(igdm_evaluation_get_samples(ours, 0, found[0], COUNT, &report), IGDM_ERROR_NOT_FOUND, "clean");
    FAILS(igdm_evaluation_get_samples(ours, 1, found[0], COUNT + 1, &report), IGDM_ERROR_SHAPE, "count");
    FAILS(igdm_evaluation_get_samples(ours, 3, found[0], COUNT, &report), IGDM_ERROR_INVALID_ARGUMENT, "index");
    options.keep_samples = 2;
    FAILS(igdm_evaluate(model, data, NULL, &options, &ours), IGDM_ERROR_INVALID_ARGUMENT, "keep_samples");
    igdm_evaluation_release(ours), igdm_evaluation_release(theirs);
    igdm_dataset_release(data), igdm_model_release(model);
}

static void is_sample(igdm_dataset *part, size_t place, size_t sample) {
    float image[PIXELS];
    int64_t label;
    OK(igdm_dataset_read(part, place, 1, image, &label));
    CHECK(label == labels[sample] && memcmp(image, images + sample * PIXELS, sizeof image) == 0);
}

/* Any samples, and of each class the last ones; the parts live longer than the whole. */
static void parts_of_datasets(void) {
    igdm_dataset *whole = new_dataset(), *some = NULL, *others = NULL, *held = NULL;
    const int64_t chosen[] = {COUNT - 1, 0, 0, 5};
    igdm_dataset_info info = {.struct_size = sizeof info};
    OK(igdm_dataset_select(whole, chosen, 4, &some));
    OK(igdm_dataset_hold_out(whole, CLASSES, &others, &held));
    igdm_dataset_release(whole);
    for (size_t i = 0; i < 4; i++) is_sample(some, i, (size_t)chosen[i]);
    for (size_t i = 0; i < COUNT - CLASSES; i++) is_sample(others, i, i);
    for (size_t i = 0; i < CLASSES; i++) is_sample(held, i, COUNT - CLASSES + i);
    OK(igdm_dataset_get_info(others, &info));
    CHECK(info.count == COUNT - CLASSES && info.classes == CLASSES);
    igdm_dataset_release(some), igdm_dataset_release(others), igdm_dataset_release(held);
}

/* Probabilities go along with the samples; what they are not is refused, and leaves nothing behind. */
static void soft_labels(void) {
    igdm_dataset *whole = new_dataset(), *soft = NULL, *part = NULL, *refused = NULL;
    igdm_dataset_info info = {.struct_size = sizeof info};
    float given[COUNT * CLASSES], read[COUNT * CLASSES];
    int64_t most_probable[COUNT];
    const int64_t chosen[] = {7, 2, 2};
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t c = 0; c < CLASSES; c++) given[i * CLASSES + c] = 0.25f / (CLASSES - 1);
        given[i * CLASSES + (i + 1) % CLASSES] = 0.75f;
    }
    OK(igdm_dataset_with_soft_labels(whole, given, &soft));
    OK(igdm_dataset_read_soft_labels(whole, 0, COUNT, read));
    for (size_t i = 0; i < COUNT * CLASSES; i++) CHECK(read[i] == (labels[i / CLASSES] == (int64_t)(i % CLASSES)));
    OK(igdm_dataset_get_info(whole, &info));
    CHECK(info.has_soft_labels == 0);
    igdm_dataset_release(whole);
    OK(igdm_dataset_get_info(soft, &info));
    CHECK(info.has_soft_labels == 1 && info.count == COUNT);
    OK(igdm_dataset_read(soft, 0, COUNT, NULL, most_probable));
    for (size_t i = 0; i < COUNT; i++) CHECK(most_probable[i] == (int64_t)((i + 1) % CLASSES));
    OK(igdm_dataset_select(soft, chosen, 3, &part));
    OK(igdm_dataset_read_soft_labels(part, 0, 3, read));
    for (size_t i = 0; i < 3; i++)
        CHECK(memcmp(read + i * CLASSES, given + chosen[i] * CLASSES, CLASSES * sizeof *read) == 0);

    const float not_probabilities[] = {NAN, INFINITY, -0.01f, 1.01f, 0.25f};
    const int32_t codes[] = {IGDM_ERROR_NOT_FINITE, IGDM_ERROR_NOT_FINITE, IGDM_ERROR_INVALID_ARGUMENT,
                             IGDM_ERROR_INVALID_ARGUMENT, IGDM_ERROR_INVALID_ARGUMENT};
    const size_t place = 3 * CLASSES + 4 % CLASSES; /* of sample 3 the probability of its most probable class */
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const float right = given[place];
        given[place] = not_probabilities[i];
        FAILS(igdm_dataset_with_soft_labels(soft, given, &refused), codes[i], "soft_labels: sample 3");
        given[place] = right;
    }
    CHECK(refused == NULL);
    igdm_dataset_release(soft), igdm_dataset_release(part);
}

/* Cross-entropy is linear in the labels, and so are its gradients. */
static void steps_with_soft_labels(void) {
    igdm_model *student = new_model("small_cnn", 1);
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    options.method = "pgd-at", options.igdm = 0;
    OK(igdm_trainer_create(student, NULL, &options, &trainer));
    igdm_batch batch = first_batch();
    igdm_step_report report[3];
    float bias[3][CLASSES], mixed[COUNT * CLASSES];
    int64_t next[COUNT];
    batch.update = 0, batch.adversarial = images;
    for (size_t i = 0; i < COUNT; i++) {
        next[i] = (labels[i] + 1) % CLASSES;
        for (size_t c = 0; c < CLASSES; c++)
            mixed[i * CLASSES + c] = 0.625f * (labels[i] == (int64_t)c) + 0.375f * (next[i] == (int64_t)c);
    }
    for (size_t k = 0; k < 3; k++) {
        report[k].struct_size = sizeof report[k];
        batch.labels = k == 1 ? next : labels, batch.soft_labels = k == 2 ? mixed : NULL;
        OK(igdm_trainer_step(trainer, &batch, &report[k]));
        OK(igdm_trainer_get_gradient(trainer, "fc.bias", bias[k], CLASSES));
    }
    CHECK(fabs(0.625 * report[0].loss + 0.375 * report[1].loss - report[2].loss) < 1e-6);
    for (size_t c = 0; c < CLASSES; c++) CHECK(fabs(0.625 * bias[0][c] + 0.375 * bias[1][c] - bias[2][c]) < 1e-6);
    mixed[0] += 0.5f;
    FAILS(igdm_trainer_step(trainer, &batch, NULL), IGDM_ERROR_INVALID_ARGUMENT, "soft_labels: sample 0");
    igdm_trainer_release(trainer), igdm_model_release(student);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(the_library_describes_itself), TEST(parameters_describe_the_model), TEST(copies_are_independent),
        TEST(input_gradients_are_slopes), TEST(attacks_stay_in_their_ball), TEST(reports_tell_what_attacks_did),
        TEST(evaluations_add_up), TEST(targets_are_reached), TEST(evaluations_aim_at_labels), TEST(evaluations_keep_samples),
        TEST(steps_report_what_they_did), TEST(the_teacher_is_copied), TEST(a_teacher_can_be_shared), TEST(training_learns),
        TEST(parts_of_datasets), TEST(soft_labels), TEST(steps_with_soft_labels),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
