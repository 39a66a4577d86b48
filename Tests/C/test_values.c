/*
 * Values out of range, unknown names and things that do not fit together: each call must fail with the documented
 * status and a message that names the argument and, for names, lists the valid ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <math.h>

static const int64_t bad_sizes[] = {-1, 0, INT64_MIN, INT64_MAX, INT64_MAX / 2, (int64_t)1 << 62, (int64_t)1 << 40};
static const size_t huge_counts[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, (size_t)1 << 62};
static const double not_numbers[] = {NAN, INFINITY, -INFINITY};

#define EACH(array, i) (size_t i = 0; i < sizeof(array) / sizeof *(array); i++)

static float outputs[COUNT * PIXELS];
static igdm_model *made_model;
static igdm_dataset *made_dataset;
static igdm_trainer *made_trainer;
static igdm_evaluation *made_evaluation;

/* Fails with INVALID_ARGUMENT and names `text`. */
#define INVALID(call, text) FAILS(call, IGDM_ERROR_INVALID_ARGUMENT, text)

static void threads(void) {
    for EACH (bad_sizes, i) INVALID(igdm_set_threads(bad_sizes[i]), "threads");
    INVALID(igdm_set_threads(257), "threads");
    OK(igdm_set_threads(3));
    CHECK(igdm_get_threads() == 3);
}

/* One option of igdm_model_create at a time. */
static void model_sizes(void) {
    static const struct { const char *name; size_t offset; } options[] = {
        {"classes", offsetof(igdm_model_options, classes)},   {"channels", offsetof(igdm_model_options, channels)},
        {"height", offsetof(igdm_model_options, height)},     {"width", offsetof(igdm_model_options, width)},
        {"base_width", offsetof(igdm_model_options, base_width)},
    };
    for EACH (options, i) {
        for EACH (bad_sizes, k) {
            igdm_model_options shape = model_options();
            if (bad_sizes[k] == 0 && strcmp(options[i].name, "base_width") == 0) continue; /* 0 is its default */
            memcpy((char *)&shape + options[i].offset, &bad_sizes[k], sizeof bad_sizes[k]);
            INVALID(igdm_model_create("small_cnn", &shape, &made_model), options[i].name);
        }
    }
    igdm_model_options shape = model_options();
    shape.classes = 1;
    INVALID(igdm_model_create("small_cnn", &shape, &made_model), "classes");
    CHECK(made_model == NULL);
}

static void model_normalisation(void) {
    float mean[1] = {0.5f}, std[1] = {0.25f};
    igdm_model_options shape = model_options();
    shape.mean = mean, shape.std = std, shape.normalisation_count = 1;
    OK(igdm_model_create("small_cnn", &shape, &made_model));
    shape.normalisation_count = 2;
    INVALID(igdm_model_create("small_cnn", &shape, &made_model), "normalisation_count");
    shape.normalisation_count = SIZE_MAX;
    INVALID(igdm_model_create("small_cnn", &shape, &made_model), "normalisation_count");
    shape.normalisation_count = 1;
    for EACH (not_numbers, i) {
        mean[0] = (float)not_numbers[i], std[0] = 0.25f;
        INVALID(igdm_model_create("small_cnn", &shape, &made_model), "mean");
        mean[0] = 0.5f, std[0] = (float)not_numbers[i];
        INVALID(igdm_model_create("small_cnn", &shape, &made_model), "std");
    }
    static const float extreme_means[] = {1.1e6f, -1.1e6f, 1e30f}, extreme_stds[] = {0, -1, 0.9e-6f, 1e-30f, 1.1e6f};
    for EACH (extreme_means, i) {
        mean[0] = extreme_means[i], std[0] = 0.25f;
        INVALID(igdm_model_create("small_cnn", &shape, &made_model), "mean[0]");
    }
    for EACH (extreme_stds, i) {
        mean[0] = 0.5f, std[0] = extreme_stds[i];
        INVALID(igdm_model_create("small_cnn", &shape, &made_model), "std[0]");
    }
    mean[0] = -1e6f, std[0] = 1e-6f;
    OK(igdm_model_create("small_cnn", &shape, &made_model));
    float logits[COUNT * CLASSES];
    predict(made_model, logits); /* finite at the ends of both ranges */
}

/* Two options of one architecture only. */
static void model_options_of_pre_activation(void) {
    static const char *const wrong[] = {"", "Raw", "raw ", "activated\n", "\xff"};
    igdm_model_options shape = model_options();
    igdm_model_info info = {.struct_size = sizeof info};
    for EACH (wrong, i) {
        shape.shortcut_input = wrong[i];
        INVALID(igdm_model_create("preact_resnet18", &shape, &made_model), "shortcut_input");
        INVALID(igdm_model_create("preact_resnet18", &shape, &made_model), "raw, activated");
    }
    shape.shortcut_input = "activated";
    INVALID(igdm_model_create("small_cnn", &shape, &made_model), "shortcut_input");
    shape = model_options();
    static const int64_t not_flags[] = {2, -1, INT64_MIN, INT64_MAX, (int64_t)1 << 32};
    for EACH (not_flags, i) {
        shape.final_bn = not_flags[i];
        INVALID(igdm_model_create("preact_resnet18", &shape, &made_model), "final_bn");
    }
    shape.final_bn = 1;
    INVALID(igdm_model_create("small_cnn", &shape, &made_model), "final_bn");
    shape.shortcut_input = "raw";
    OK(igdm_model_create("preact_resnet18", &shape, &made_model));
    OK(igdm_model_get_info(made_model, &info));
    CHECK(strcmp(info.shortcut_input, "raw") == 0 && info.final_bn == 1);
    shape.shortcut_input = NULL, shape.final_bn = 0;
    OK(igdm_model_create("preact_resnet18", &shape, &made_model));
    OK(igdm_model_get_info(made_model, &info));
    CHECK(strcmp(info.shortcut_input, "activated") == 0 && info.final_bn == 0);
    OK(igdm_model_create("small_cnn", NULL, &made_model));
    OK(igdm_model_get_info(made_model, &info));
    CHECK(info.shortcut_input == NULL && info.final_bn == 0);
}

static void unknown_names(void) {
    static const char *const wrong[] = {"",           "resnet",    "PGD-AT", " ard", "ard ",
                                        "resnet20\n", "\xff\xfe", "wrn",    "%s%n"};
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *dataset = new_dataset();
    for EACH (wrong, i) {
        igdm_trainer_options training = trainer_options();
        igdm_evaluate_options evaluating;
        igdm_attack_options attacking;
        OK(igdm_evaluate_options_init(&evaluating));
        INVALID(igdm_model_create(wrong[i], NULL, &made_model), "small_cnn");
        INVALID(igdm_model_create(wrong[i], NULL, &made_model), "wrn_D_K");
        training.method = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "rslad");
        training = trainer_options(), training.mirror = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "clip");
        training = trainer_options(), training.igdm_distance = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "kl");
        training = trainer_options(), training.inner = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "student");
        training = trainer_options(), training.schedule = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "onecycle");
        igdm_trainer_details details;
        training = trainer_options(), training.details = &details;
        OK(igdm_trainer_details_init(&details));
        details.igdm_term = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "trades-like");
        OK(igdm_trainer_details_init(&details));
        details.igdm_ramp = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "linear");
        OK(igdm_trainer_details_init(&details));
        details.optimiser = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "adamw");
        OK(igdm_trainer_details_init(&details));
        details.average = wrong[i];
        INVALID(igdm_trainer_create(student, teacher, &training, &made_trainer), "swa");
        OK(igdm_attack_options_init(&attacking));
        attacking.attack = wrong[i];
        INVALID(igdm_attack(student, images, labels, COUNT, &attacking, outputs, NULL), "fgsm");
        OK(igdm_attack_options_init(&attacking));
        attacking.norm = wrong[i];
        INVALID(igdm_attack(student, images, labels, COUNT, &attacking, outputs, NULL), "linf");
        OK(igdm_attack_options_init(&attacking));
        attacking.loss = wrong[i];
        INVALID(igdm_attack(student, images, labels, COUNT, &attacking, outputs, NULL), "margin");
        evaluating.norm = wrong[i];
        INVALID(igdm_evaluate(student, dataset, NULL, &evaluating, &made_evaluation), "l2");
        INVALID(igdm_dataset_open_cifar("/", 10, wrong[i], &made_dataset), "train");
    }
    CHECK(made_model == NULL && made_trainer == NULL && made_evaluation == NULL && made_dataset == NULL);
}

static void wide_resnet_names(void) {
    static const char *const wrong[] = {"wrn_",     "wrn_10_",  "wrn_11_1", "wrn_-10_2",
                                        "wrn_10_0", "wrn_10_x", "wrn_D_K",  "wrn_99999999999999999999_1",
                                        "wrn_+10_1", "wrn_10_+1", "wrn_010_1", "wrn_10_01"};
    for EACH (wrong, i) INVALID(igdm_model_create(wrong[i], NULL, &made_model), "wrn_D_K");
    CHECK(made_model == NULL);
}

static void attack_lists(void) {
    static const char *const wrong[] = {"pgd-",     "pgd-0", "pgd--1", "pgd-x",   "pgd-99999999999999999999",
                                        "fgsm,,cw", "fgsm,", ",",      "nothing", "fgsm;cw",
                                        "\xff"};
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *dataset = new_dataset();
    igdm_evaluate_options options;
    OK(igdm_evaluate_options_init(&options));
    for EACH (wrong, i) {
        options.attacks = wrong[i];
        INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "attacks");
        INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "fgsm");
    }
    options.attacks = "";
    OK(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation));
}

static void image_values(void) {
    static const float wrong[] = {NAN, INFINITY, -INFINITY, -0.001f, 1.001f, 1e30f};
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer *trainer = new_trainer(model, teacher);
    igdm_batch batch = first_batch(), own = batch, neither = batch;
    float bad[COUNT * PIXELS], cotangent[COUNT * CLASSES] = {0}, logits[COUNT * CLASSES];
    own.adversarial = bad;
    neither.update = 2;
    INVALID(igdm_trainer_step(trainer, &neither, NULL), "update");
    for EACH (wrong, i) {
        int32_t status = isfinite(wrong[i]) ? IGDM_ERROR_INVALID_ARGUMENT : IGDM_ERROR_NOT_FINITE;
        memcpy(bad, images, sizeof bad);
        bad[COUNT * PIXELS - 1] = wrong[i]; /* the last value counts too */
        batch.images = bad;
        FAILS(igdm_model_predict(model, bad, COUNT, logits), status, "images");
        FAILS(igdm_model_input_gradient(model, bad, cotangent, COUNT, NULL, outputs), status, "images");
        FAILS(igdm_attack(model, bad, labels, COUNT, NULL, outputs, NULL), status, "images");
        FAILS(igdm_dataset_from_floats(bad, labels, COUNT, 1, SIDE, SIDE, CLASSES, &made_dataset), status, "images");
        FAILS(igdm_trainer_step(trainer, &batch, NULL), status, "images");
        FAILS(igdm_trainer_step(trainer, &own, NULL), status, "adversarial");
    }
    for EACH (not_numbers, i) {
        cotangent[1] = (float)not_numbers[i];
        FAILS(igdm_model_input_gradient(model, images, cotangent, COUNT, NULL, outputs), IGDM_ERROR_NOT_FINITE,
              "cotangent");
    }
    CHECK(made_dataset == NULL);
}

static void label_values(void) {
    static const int64_t wrong[] = {-1, CLASSES, INT64_MIN, INT64_MAX};
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer *trainer = new_trainer(model, teacher);
    igdm_batch batch = first_batch();
    uint8_t bytes[COUNT * PIXELS] = {0};
    for EACH (wrong, i) {
        labels[COUNT - 1] = wrong[i];
        INVALID(igdm_attack(model, images, labels, COUNT, NULL, outputs, NULL), "labels");
        INVALID(igdm_trainer_step(trainer, &batch, NULL), "labels");
        INVALID(igdm_dataset_from_floats(images, labels, COUNT, 1, SIDE, SIDE, CLASSES, &made_dataset), "labels");
        INVALID(igdm_dataset_from_bytes(bytes, labels, COUNT, 1, SIDE, SIDE, CLASSES, &made_dataset), "labels");
    }
}

static void counts(void) {
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer *trainer = new_trainer(model, teacher);
    igdm_dataset *dataset = new_dataset();
    igdm_evaluation *evaluation = NULL;
    igdm_batch batch = first_batch();
    igdm_evaluation_row row = {.struct_size = sizeof row};
    uint8_t flags[COUNT];
    static const int64_t bad_samples[] = {-1, COUNT, INT64_MIN, INT64_MAX};
    size_t parameters;
    OK(igdm_evaluate(model, dataset, NULL, NULL, &evaluation));
    OK(igdm_model_parameter_count(model, &parameters));
    for EACH (huge_counts, i) {
        size_t count = huge_counts[i];
        batch.count = count;
        INVALID(igdm_model_predict(model, images, count, outputs), "count");
        INVALID(igdm_model_input_gradient(model, images, images, count, NULL, outputs), "count");
        INVALID(igdm_attack(model, images, labels, count, NULL, outputs, NULL), "count");
        INVALID(igdm_dataset_from_floats(images, labels, count, 1, SIDE, SIDE, CLASSES, &made_dataset), "count");
        INVALID(igdm_dataset_from_bytes((uint8_t *)images, labels, count, 1, SIDE, SIDE, CLASSES, &made_dataset),
                "count");
        INVALID(igdm_trainer_step(trainer, &batch, NULL), "count");
        INVALID(igdm_dataset_read(dataset, 0, count, outputs, NULL), "count");
        INVALID(igdm_dataset_read(dataset, count, 1, outputs, NULL), "first");
        INVALID(igdm_dataset_read_soft_labels(dataset, 0, count, outputs), "count");
        INVALID(igdm_dataset_read_soft_labels(dataset, count, 1, outputs), "first");
        INVALID(igdm_dataset_subset(dataset, 1, count, &made_dataset), "count");
        INVALID(igdm_dataset_subset(dataset, count, 1, &made_dataset), "first");
        INVALID(igdm_dataset_select(dataset, labels, count, &made_dataset), "count");
        INVALID(igdm_dataset_hold_out(dataset, count, &made_dataset, &made_dataset), "count");
        INVALID(igdm_model_parameter_info(model, count, NULL, NULL, NULL, NULL), "index");
        INVALID(igdm_evaluation_get_row(evaluation, count, &row), "index");
        INVALID(igdm_evaluation_get_correct(evaluation, count, flags, COUNT), "index");
    }
    INVALID(igdm_model_parameter_info(model, parameters, NULL, NULL, NULL, NULL), "index");
    INVALID(igdm_dataset_read(dataset, COUNT - 1, 2, outputs, NULL), "count");
    INVALID(igdm_dataset_subset(dataset, COUNT - 1, 2, &made_dataset), "count");
    INVALID(igdm_dataset_hold_out(dataset, COUNT, &made_dataset, &made_dataset), "count");
    INVALID(igdm_dataset_hold_out(dataset, 0, &made_dataset, &made_dataset), "count");
    INVALID(igdm_dataset_select(dataset, labels, 0, &made_dataset), "count");
    for EACH (bad_samples, i) INVALID(igdm_dataset_select(dataset, bad_samples + i, 1, &made_dataset), "samples[0]");
    batch.count = 0;
    INVALID(igdm_trainer_step(trainer, &batch, NULL), "count");
    INVALID(igdm_dataset_from_floats(images, labels, 0, 1, SIDE, SIDE, CLASSES, &made_dataset), "count");
    for EACH (bad_sizes, i) {
            INVALID(igdm_dataset_from_floats(images, labels, COUNT, bad_sizes[i], SIDE, SIDE, CLASSES, &made_dataset),
                    "channels");
            INVALID(igdm_dataset_from_floats(images, labels, COUNT, 1, bad_sizes[i], SIDE, CLASSES, &made_dataset),
                    "height");
            INVALID(igdm_dataset_from_bytes((uint8_t *)images, labels, COUNT, 1, SIDE, bad_sizes[i], CLASSES,
                                            &made_dataset),
                    "width");
    }
    INVALID(igdm_dataset_from_floats(images, labels, COUNT, 1, SIDE, SIDE, 0, &made_dataset), "classes");
    CHECK(made_dataset == NULL);
}

/* Sets one double option of the struct at a time. */
struct option { const char *name; size_t offset; double value; };

static void ensemble_options(void) {
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *data = new_dataset();
    igdm_evaluation *evaluation = NULL;
    igdm_autoattack_options options;
#define WRONG(name, field, value)                                              \
    OK(igdm_autoattack_options_init(&options));                                \
    options.version = "custom", options.attacks = "square-2", options.field = (value); \
    INVALID(igdm_autoattack(model, data, &options, &evaluation), name)
    WRONG("version", version, "best");
    WRONG("attacks", attacks, "");
    WRONG("attacks", attacks, "square-0");
    WRONG("attacks", attacks, "pgd-20");
    WRONG("attacks", version, "standard");
    WRONG("norm", norm, "l7");
    WRONG("epsilon", epsilon, -1);
    WRONG("epsilon", epsilon, NAN);
    WRONG("state_seconds", state_seconds, -1);
    WRONG("state_seconds", state_seconds, NAN);
    WRONG("count", count, COUNT + 1);
    for EACH (bad_sizes, i) {
        WRONG("restarts", restarts, bad_sizes[i]);
        WRONG("batch_size", batch_size, bad_sizes[i]);
        if (bad_sizes[i] == 0) continue;
        WRONG("targets", targets, bad_sizes[i]);
        WRONG("eot", eot, bad_sizes[i]);
        WRONG("count", count, bad_sizes[i]);
    }
#undef WRONG
    CHECK(evaluation == NULL);
    OK(igdm_autoattack_options_init(&options));
    options.version = "custom", options.attacks = "square-2", options.state = "/nowhere/at/all/state";
    FAILS(igdm_autoattack(model, data, &options, &evaluation), IGDM_ERROR_IO, "nowhere");

    igdm_host_model host;
    float adversarial[COUNT * PIXELS];
#define WRONG(name, field, value)                                              \
    OK(igdm_host_model_init(&host));                                           \
    host.evaluate = (igdm_host_callback)1, host.field = (value);               \
    INVALID(igdm_attack_host_model(&host, images, labels, COUNT, NULL, adversarial, NULL), name)
    WRONG("evaluate", evaluate, NULL);
    WRONG("has_gradient", has_gradient, 2);
    WRONG("classes", classes, 1);
    for EACH (bad_sizes, i) {
        WRONG("classes", classes, bad_sizes[i]);
        WRONG("channels", channels, bad_sizes[i]);
        WRONG("height", height, bad_sizes[i]);
        WRONG("width", width, bad_sizes[i]);
    }
#undef WRONG
}

static void attack_numbers(void) {
    static const struct option wrong[] = {
        {"epsilon", offsetof(igdm_attack_options, epsilon), -0.1},
        {"epsilon", offsetof(igdm_attack_options, epsilon), NAN},
        {"epsilon", offsetof(igdm_attack_options, epsilon), INFINITY},
        {"step", offsetof(igdm_attack_options, step), -0.01},
        {"step", offsetof(igdm_attack_options, step), NAN},
        {"step", offsetof(igdm_attack_options, step), 0.5},
        {"kappa", offsetof(igdm_attack_options, kappa), -1},
        {"kappa", offsetof(igdm_attack_options, kappa), NAN},
    };
    igdm_model *model = new_model("small_cnn", 0);
    igdm_attack_options options;
    make_images();
    for EACH (wrong, i) {
        OK(igdm_attack_options_init(&options));
        memcpy((char *)&options + wrong[i].offset, &wrong[i].value, sizeof(double));
        INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), wrong[i].name);
    }
    for EACH (bad_sizes, i) {
        OK(igdm_attack_options_init(&options));
        options.restarts = bad_sizes[i];
        INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "restarts");
        if (bad_sizes[i] == 0) continue; /* the attack's own number of steps */
        OK(igdm_attack_options_init(&options));
        options.steps = bad_sizes[i];
        INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "steps");
    }
    for EACH (bad_sizes, i) {
        static const char *const staged[] = {"apgd-t", "fab-t", "square", "autoattack"};
        for EACH (staged, k) {
            OK(igdm_attack_options_init(&options));
            options.attack = staged[k], options.restarts = bad_sizes[i];
            INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "restarts");
            if (bad_sizes[i] == 0) continue;
            options.restarts = 1, options.targets = bad_sizes[i];
            INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "targets");
            options.targets = 0, options.eot = bad_sizes[i];
            INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "eot");
        }
    }
    static const struct option wrong_tuning[] = {
        {"rho", offsetof(igdm_attack_tuning, rho), 0},
        {"rho", offsetof(igdm_attack_tuning, rho), NAN},
        {"fab_alpha", offsetof(igdm_attack_tuning, fab_alpha), 1.5},
        {"fab_eta", offsetof(igdm_attack_tuning, fab_eta), 0.5},
        {"fab_eta", offsetof(igdm_attack_tuning, fab_eta), INFINITY},
        {"fab_beta", offsetof(igdm_attack_tuning, fab_beta), -1},
        {"square_share", offsetof(igdm_attack_tuning, square_share), 2},
    };
    for EACH (wrong_tuning, i) {
        igdm_attack_tuning tuning;
        OK(igdm_attack_options_init(&options));
        OK(igdm_attack_tuning_init(&tuning));
        memcpy((char *)&tuning + wrong_tuning[i].offset, &wrong_tuning[i].value, sizeof(double));
        options.attack = "apgd-ce", options.tuning = &tuning;
        INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), wrong_tuning[i].name);
    }
    OK(igdm_attack_options_init(&options));
    options.attack = "apgd-ce", options.step = 0.001;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "step");
    OK(igdm_attack_options_init(&options));
    options.random_start = 2;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "random_start");
    OK(igdm_attack_options_init(&options));
    options.early_stop = -1;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "early_stop");
    OK(igdm_attack_options_init(&options));
    options.first_index = -1;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "first_index");
    options.first_index = INT64_MAX;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "first_index");
    static int64_t indices[COUNT];
    options.indices = indices;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "first_index");
    options.first_index = 0, indices[1] = -1;
    INVALID(igdm_attack(model, images, labels, COUNT, &options, outputs, NULL), "options.indices[1]: got -1");
}

static void trainer_numbers(void) {
    static const struct option wrong[] = {
        {"igdm", offsetof(igdm_trainer_options, igdm), -1},
        {"igdm", offsetof(igdm_trainer_options, igdm), NAN},
        {"temperature", offsetof(igdm_trainer_options, temperature), 0},
        {"temperature", offsetof(igdm_trainer_options, temperature), NAN},
        {"adversarial_weight", offsetof(igdm_trainer_options, adversarial_weight), -0.1},
        {"adversarial_weight", offsetof(igdm_trainer_options, adversarial_weight), 1.1},
        {"epsilon", offsetof(igdm_trainer_options, epsilon), -0.1},
        {"epsilon", offsetof(igdm_trainer_options, epsilon), NAN},
        {"step", offsetof(igdm_trainer_options, step), 0.5},
        {"step", offsetof(igdm_trainer_options, step), NAN},
        {"learning_rate", offsetof(igdm_trainer_options, learning_rate), -1},
        {"learning_rate", offsetof(igdm_trainer_options, learning_rate), INFINITY},
        {"momentum", offsetof(igdm_trainer_options, momentum), -0.1},
        {"momentum", offsetof(igdm_trainer_options, momentum), 1},
        {"weight_decay", offsetof(igdm_trainer_options, weight_decay), -1},
        {"decay", offsetof(igdm_trainer_options, decay), NAN},
        {"warmup", offsetof(igdm_trainer_options, warmup), 1.5},
    };
    static const struct { const char *name; size_t offset; int zero_allowed; } counts[] = {
        {"steps", offsetof(igdm_trainer_options, steps), 0},
        {"epochs", offsetof(igdm_trainer_options, epochs), 0},
        {"batch_size", offsetof(igdm_trainer_options, batch_size), 0},
        {"crop_padding", offsetof(igdm_trainer_options, crop_padding), 1},
        {"steps_per_epoch", offsetof(igdm_trainer_options, steps_per_epoch), 1},
        {"validation_count", offsetof(igdm_trainer_options, validation_count), 1},
        {"validation_steps", offsetof(igdm_trainer_options, validation_steps), 1},
    };
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    for EACH (wrong, i) {
        igdm_trainer_options options = trainer_options();
        memcpy((char *)&options + wrong[i].offset, &wrong[i].value, sizeof(double));
        INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), wrong[i].name);
    }
    for EACH (counts, i) {
        for (size_t k = 0; k < 3; k++) { /* -1, 0, INT64_MIN */
            igdm_trainer_options options = trainer_options();
            if (bad_sizes[k] == 0 && counts[i].zero_allowed) continue;
            memcpy((char *)&options + counts[i].offset, &bad_sizes[k], sizeof(int64_t));
            INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), counts[i].name);
        }
    }
    igdm_trainer_options options = trainer_options();
    options.mirror_statistics = 2;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "mirror_statistics");
    options = trainer_options(), options.nesterov = 2;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "nesterov");
    options = trainer_options(), options.flip = -1;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "flip");
    options = trainer_options();
    int64_t milestones[] = {2, 1};
    options.milestones = milestones, options.milestone_count = 2;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "milestones");
    options.milestone_count = SIZE_MAX;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "milestone_count");
    CHECK(made_trainer == NULL);
}

static void trainer_details(void) {
    static const struct option wrong[] = {
        {"distillation_weight", offsetof(igdm_trainer_details, distillation_weight), 1.5},
        {"trades_beta", offsetof(igdm_trainer_details, trades_beta), -1},
        {"trades_beta", offsetof(igdm_trainer_details, trades_beta), NAN},
        {"introspection_power", offsetof(igdm_trainer_details, introspection_power), 0},
        {"balance_rate", offsetof(igdm_trainer_details, balance_rate), 2},
        {"beta2", offsetof(igdm_trainer_details, beta2), 1},
        {"adam_epsilon", offsetof(igdm_trainer_details, adam_epsilon), 0},
        {"gradient_clip", offsetof(igdm_trainer_details, gradient_clip), -1},
        {"gradient_clip", offsetof(igdm_trainer_details, gradient_clip), NAN},
        {"warmup_epochs", offsetof(igdm_trainer_details, warmup_epochs), 3},
        {"awp", offsetof(igdm_trainer_details, awp), -0.5},
        {"ema_decay", offsetof(igdm_trainer_details, ema_decay), 1},
        {"cutmix", offsetof(igdm_trainer_details, cutmix), 1.5},
        {"cutmix", offsetof(igdm_trainer_details, cutmix), NAN},
        {"consistency_weight", offsetof(igdm_trainer_details, consistency_weight), -1},
        {"entropy_scale", offsetof(igdm_trainer_details, entropy_scale), -1},
        {"entropy_order", offsetof(igdm_trainer_details, entropy_order), 0},
        {"clean_weight", offsetof(igdm_trainer_details, clean_weight), -1},
        {"generated_ratio", offsetof(igdm_trainer_details, generated_ratio), -0.5},
        {"generated_ratio", offsetof(igdm_trainer_details, generated_ratio), 1},
        {"generated_ratio", offsetof(igdm_trainer_details, generated_ratio), NAN},
        {"erasing", offsetof(igdm_trainer_details, erasing), 1.5},
        {"erasing_area", offsetof(igdm_trainer_details, erasing_area), 0},
    };
    static const struct { const char *name; size_t offset; int zero_allowed; } counts[] = {
        {"introspection_start", offsetof(igdm_trainer_details, introspection_start), 0},
        {"awp_start", offsetof(igdm_trainer_details, awp_start), 0},
        {"swa_start", offsetof(igdm_trainer_details, swa_start), 1},
        {"cutout", offsetof(igdm_trainer_details, cutout), 1},
        {"crop_shift", offsetof(igdm_trainer_details, crop_shift), 1},
    };
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details;
    options.details = &details;
    for EACH (wrong, i) {
        OK(igdm_trainer_details_init(&details));
        memcpy((char *)&details + wrong[i].offset, &wrong[i].value, sizeof(double));
        INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), wrong[i].name);
    }
    for EACH (counts, i) {
        for (size_t k = 0; k < 3; k++) { /* -1, 0, INT64_MIN */
            if (bad_sizes[k] == 0 && counts[i].zero_allowed) continue;
            OK(igdm_trainer_details_init(&details));
            memcpy((char *)&details + counts[i].offset, &bad_sizes[k], sizeof(int64_t));
            INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), counts[i].name);
        }
    }
    OK(igdm_trainer_details_init(&details));
    details.augment = "cutout";
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "augment");
    OK(igdm_trainer_details_init(&details));
    details.crop_shift = 2, options.crop_padding = 1;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "crop_shift: got 2 with crop_padding 1");
    OK(igdm_trainer_details_init(&details));
    details.optimiser = "adamw", options.nesterov = 1;
    INVALID(igdm_trainer_create(student, teacher, &options, &made_trainer), "nesterov");
    CHECK(made_trainer == NULL);
}

/* mtard has two teachers, the others one. */
static void teachers(void) {
    igdm_model *student = new_model("small_cnn", 0), *robust = new_model("small_cnn", 1), *clean = new_model("small_cnn", 2);
    igdm_model_options more = model_options();
    igdm_model *more_classes = NULL;
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details;
    igdm_trainer *trainer = NULL;
    igdm_batch batch = first_batch();
    more.classes = CLASSES + 1;
    OK(igdm_model_create("small_cnn", &more, &more_classes));
    OK(igdm_trainer_details_init(&details));
    options.details = &details, details.clean_teacher = clean;
    INVALID(igdm_trainer_create(student, robust, &options, &made_trainer), "clean_teacher");
    options.method = "mtard";
    INVALID(igdm_trainer_create(student, NULL, &options, &made_trainer), "two");
    details.clean_teacher = more_classes;
    FAILS(igdm_trainer_create(student, robust, &options, &made_trainer), IGDM_ERROR_SHAPE, "clean_teacher");
    details.clean_teacher = student;
    INVALID(igdm_trainer_create(student, robust, &options, &made_trainer), "clean_teacher");
    details.clean_teacher = NULL;
    INVALID(igdm_trainer_create(student, robust, &options, &made_trainer), "two");
    details.clean_teacher = clean;
    OK(igdm_trainer_create(student, robust, &options, &trainer));
    igdm_model_release(clean);
    OK(igdm_trainer_step(trainer, &batch, NULL)); /* the trainer has copies */
    CHECK(made_trainer == NULL);
}

/* A second dataset, and its part of the batches. */
static void generated_images(void) {
    igdm_model *student = new_model("small_cnn", 0);
    igdm_dataset *train = new_dataset(), *generated = new_dataset(), *more_classes = NULL;
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details;
    igdm_trainer *trainer = NULL;
    make_images();
    OK(igdm_dataset_from_floats(images, labels, COUNT, 1, SIDE, SIDE, CLASSES + 1, &more_classes));
    OK(igdm_trainer_details_init(&details));
    options.method = "pgd-at", options.igdm = 0, options.details = &details;
    details.generated_ratio = 0.5;
    INVALID(igdm_trainer_create(student, NULL, &options, &made_trainer), "generated: got none");
    details.generated = more_classes;
    FAILS(igdm_trainer_create(student, NULL, &options, &made_trainer), IGDM_ERROR_SHAPE, "generated");
    details.generated = generated, details.generated_ratio = 0;
    INVALID(igdm_trainer_create(student, NULL, &options, &made_trainer), "generated_ratio: got 0");
    details.generated_ratio = 0.5;
    OK(igdm_trainer_create(student, NULL, &options, &trainer));
    igdm_dataset_release(generated);
    OK(igdm_trainer_fit(trainer, train, NULL, NULL, NULL)); /* the trainer has the images still */
    CHECK(made_trainer == NULL);
}

static void averages(void) {
    igdm_model *student = new_model("resnet8", 0);
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details;
    igdm_trainer *plain = NULL, *averaging = NULL;
    igdm_model *average = NULL;
    igdm_batch batch = first_batch();
    igdm_dataset *dataset = new_dataset();
    options.method = "trades", options.igdm = 0;
    OK(igdm_trainer_create(student, NULL, &options, &plain));
    OK(igdm_trainer_details_init(&details));
    details.average = "ema", options.details = &details;
    OK(igdm_trainer_create(student, NULL, &options, &averaging));
    FAILS(igdm_trainer_average(plain, NULL, &made_model), IGDM_ERROR_NOT_FOUND, "average");
    FAILS(igdm_trainer_average(averaging, NULL, &made_model), IGDM_ERROR_NOT_FOUND, "average");
    CHECK(made_model == NULL);
    OK(igdm_trainer_step(averaging, &batch, NULL));
    OK(igdm_trainer_average(averaging, NULL, &average));
    CHECK(same_predictions(average, student)); /* one step: the student itself */
    igdm_model_release(average);
    OK(igdm_trainer_step(averaging, &batch, NULL));
    OK(igdm_trainer_average(averaging, dataset, &average));
    CHECK(!same_predictions(average, student));
    igdm_model_release(average);
}

/* Numbers too large to make sense but not wrong as such: done, or refused, but no crash and no endless work. */
static int is_done_or_refused(int32_t status) {
    return status == IGDM_OK || status == IGDM_ERROR_INVALID_ARGUMENT || status == IGDM_ERROR_OUT_OF_MEMORY;
}

static void enormous_numbers_do_no_harm(void) {
    static const size_t members[] = {
        offsetof(igdm_trainer_options, steps),           offsetof(igdm_trainer_options, crop_padding),
        offsetof(igdm_trainer_options, batch_size),      offsetof(igdm_trainer_options, validation_count),
        offsetof(igdm_trainer_options, steps_per_epoch), offsetof(igdm_trainer_options, validation_steps)};
    static const int64_t numbers[] = {1000000000, (int64_t)1 << 40, INT64_MAX};
    igdm_model *student = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_dataset *dataset = new_dataset();
    igdm_batch batch = first_batch();
    for EACH (numbers, k) {
        for EACH (members, i) {
            igdm_trainer_options options = trainer_options();
            igdm_trainer *stepping = NULL, *fitting = NULL;
            memcpy((char *)&options + members[i], &numbers[k], sizeof numbers[k]);
            if (igdm_trainer_create(student, teacher, &options, &stepping) != IGDM_OK) continue;
            OK(igdm_trainer_create(student, teacher, &options, &fitting));
            CHECK(is_done_or_refused(igdm_trainer_step(stepping, &batch, NULL)));
            CHECK(is_done_or_refused(igdm_trainer_fit(fitting, dataset, dataset, NULL, NULL)));
        }
        igdm_evaluate_options options;
        OK(igdm_evaluate_options_init(&options));
        options.batch_size = numbers[k];
        CHECK(is_done_or_refused(igdm_evaluate(student, dataset, NULL, &options, &made_evaluation)));
    }
}

static void evaluate_numbers(void) {
    static const struct option wrong[] = {
        {"epsilon", offsetof(igdm_evaluate_options, epsilon), -1},
        {"epsilon", offsetof(igdm_evaluate_options, epsilon), NAN},
        {"step", offsetof(igdm_evaluate_options, step), 0.5},
        {"step", offsetof(igdm_evaluate_options, step), NAN},
        {"kappa", offsetof(igdm_evaluate_options, kappa), -1},
        {"kappa", offsetof(igdm_evaluate_options, kappa), NAN},
    };
    igdm_model *model = new_model("small_cnn", 0);
    igdm_dataset *dataset = new_dataset();
    igdm_evaluate_options options;
    for EACH (wrong, i) {
        OK(igdm_evaluate_options_init(&options));
        memcpy((char *)&options + wrong[i].offset, &wrong[i].value, sizeof(double));
        INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), wrong[i].name);
    }
    for (size_t k = 0; k < 3; k++) { /* -1, 0, INT64_MIN */
        OK(igdm_evaluate_options_init(&options));
        options.restarts = bad_sizes[k];
        INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "restarts");
        OK(igdm_evaluate_options_init(&options));
        options.batch_size = bad_sizes[k];
        INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "batch_size");
    }
    OK(igdm_evaluate_options_init(&options));
    options.count = -1;
    INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "count");
    options.count = COUNT + 1;
    INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "count");
    OK(igdm_evaluate_options_init(&options));
    options.targets = -1;
    INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "targets");
    OK(igdm_evaluate_options_init(&options));
    options.random_start = 2;
    INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "random_start");
    OK(igdm_evaluate_options_init(&options));
    options.loss = "mse";
    INVALID(igdm_evaluate(model, dataset, NULL, &options, &made_evaluation), "loss");
    CHECK(made_evaluation == NULL);
}

static void things_that_do_not_fit(void) {
    igdm_model_options wide = model_options(), more = model_options();
    igdm_model *student = new_model("small_cnn", 0), *wider = NULL, *more_classes = NULL;
    igdm_trainer_options options = trainer_options();
    igdm_dataset *dataset = new_dataset();
    igdm_trainer *trainer;
    wide.width = 2 * SIDE, more.classes = CLASSES + 1;
    OK(igdm_model_create("small_cnn", &wide, &wider));
    OK(igdm_model_create("small_cnn", &more, &more_classes));
    FAILS(igdm_trainer_create(student, more_classes, &options, &made_trainer), IGDM_ERROR_SHAPE, "classes");
    FAILS(igdm_trainer_create(student, wider, &options, &made_trainer), IGDM_ERROR_SHAPE, "teacher");
    FAILS(igdm_evaluate(wider, dataset, NULL, NULL, &made_evaluation), IGDM_ERROR_SHAPE, "dataset");
    FAILS(igdm_evaluate(more_classes, dataset, NULL, NULL, &made_evaluation), IGDM_ERROR_SHAPE, "classes");
    FAILS(igdm_evaluate(student, dataset, wider, NULL, &made_evaluation), IGDM_ERROR_SHAPE, "teacher");
    FAILS(igdm_evaluate(student, dataset, more_classes, NULL, &made_evaluation), IGDM_ERROR_SHAPE, "classes");

    INVALID(igdm_trainer_create(student, NULL, &options, &made_trainer), "teacher");
    options.method = "pgd-at";
    INVALID(igdm_trainer_create(student, NULL, &options, &made_trainer), "teacher");
    options.igdm = 0;
    OK(igdm_trainer_create(wider, NULL, &options, &trainer));
    FAILS(igdm_trainer_fit(trainer, dataset, NULL, NULL, NULL), IGDM_ERROR_SHAPE, "train");
    options.steps_per_epoch = 0;
    OK(igdm_trainer_create(student, NULL, &options, &trainer));
    igdm_batch batch = first_batch();
    INVALID(igdm_trainer_step(trainer, &batch, NULL), "steps_per_epoch");
    CHECK(made_trainer == NULL && made_evaluation == NULL);
}

static void parameters(void) {
    igdm_model *model = new_model("small_cnn", 0), *teacher = new_model("small_cnn", 1);
    igdm_trainer *trainer = new_trainer(model, teacher);
    igdm_batch batch = first_batch();
    const char *name;
    float values[CLASSES] = {0}, logits[2][COUNT * CLASSES];
    size_t count;
    OK(igdm_model_parameter_count(model, &count));
    OK(igdm_model_parameter_info(model, count - 1, &name, NULL, NULL, NULL)); /* the bias of the last layer */
    predict(model, logits[0]);
    FAILS(igdm_model_get_parameter(model, "nothing", values, CLASSES), IGDM_ERROR_NOT_FOUND, "nothing");
    FAILS(igdm_model_set_parameter(model, "nothing", values, CLASSES), IGDM_ERROR_NOT_FOUND, "nothing");
    FAILS(igdm_model_get_parameter(model, name, values, CLASSES - 1), IGDM_ERROR_SHAPE, "count");
    FAILS(igdm_model_set_parameter(model, name, values, CLASSES + 1), IGDM_ERROR_SHAPE, "count");
    FAILS(igdm_model_set_parameter(model, name, values, SIZE_MAX), IGDM_ERROR_SHAPE, "count");
    FAILS(igdm_trainer_get_gradient(trainer, name, values, CLASSES), IGDM_ERROR_NOT_FOUND, "step");
    OK(igdm_trainer_step(trainer, &batch, NULL));
    FAILS(igdm_trainer_get_gradient(trainer, "nothing", values, CLASSES), IGDM_ERROR_NOT_FOUND, "nothing");
    FAILS(igdm_trainer_get_gradient(trainer, name, values, 1), IGDM_ERROR_SHAPE, "count");
    FAILS(igdm_trainer_get_adversarial(trainer, outputs, 1), IGDM_ERROR_SHAPE, "count");
    igdm_model *fresh = new_model("small_cnn", 0);
    for EACH (not_numbers, i) {
        values[CLASSES - 1] = (float)not_numbers[i];
        FAILS(igdm_model_set_parameter(fresh, name, values, CLASSES), IGDM_ERROR_NOT_FINITE, "values");
    }
    predict(fresh, logits[1]);
    CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
}

/* Gives every weight of the last layer this value. The first logit is then value * (the sum of the sample's features). */
static void set_last_layer(igdm_model *model, float value) {
    const char *name;
    int64_t shape[4];
    size_t count;
    float weights[CLASSES * 256], bias[CLASSES] = {0};
    OK(igdm_model_parameter_count(model, &count));
    OK(igdm_model_parameter_info(model, count - 1, &name, NULL, NULL, NULL));
    OK(igdm_model_set_parameter(model, name, bias, CLASSES));
    OK(igdm_model_parameter_info(model, count - 2, &name, shape, NULL, NULL));
    size_t size = (size_t)(shape[0] * shape[1]);
    REQUIRE(shape[0] == CLASSES && size <= sizeof weights / sizeof *weights);
    for (size_t i = 0; i < size; i++) weights[i] = value;
    OK(igdm_model_set_parameter(model, name, weights, size));
}

/* Weights that are finite, but not what comes out: refused, with the first such sample's number, and nothing written. */
static void overflowing_outputs(void) {
    const float mean[1] = {0}, std[1] = {1e-3f}; /* so that features are large */
    igdm_model_options options = model_options();
    igdm_model *model = NULL;
    float logits[COUNT * CLASSES], before[COUNT * CLASSES], gradient[COUNT * PIXELS], cotangent[COUNT * CLASSES];
    float smallest = INFINITY, largest = 0;
    char text[64];
    options.mean = mean, options.std = std, options.normalisation_count = 1;
    OK(igdm_model_create("small_cnn", &options, &model));
    set_last_layer(model, 1);
    predict(model, before);
    for (size_t i = 0; i < COUNT; i++) {
        smallest = fminf(smallest, before[i * CLASSES]), largest = fmaxf(largest, before[i * CLASSES]);
        for (size_t c = 0; c < CLASSES; c++) cotangent[i * CLASSES + c] = 1e38f;
    }
    float middle = (smallest + largest) / 2;
    size_t first = 0;
    while (before[first * CLASSES] <= middle) first++;
    snprintf(text, sizeof text, "logits: sample %zu: got inf", first);
    REQUIRE(smallest > 1 && smallest < largest);

    set_last_layer(model, 3.4e38f / middle);
    memset(logits, 0x5a, sizeof logits), memset(gradient, 0x5a, sizeof gradient);
    FAILS(igdm_model_predict(model, images, COUNT, logits), IGDM_ERROR_NOT_FINITE, text);
    FAILS(igdm_model_input_gradient(model, images, cotangent, COUNT, logits, gradient), IGDM_ERROR_NOT_FINITE, text);
    FAILS(igdm_attack(model, images, labels, COUNT, NULL, gradient, NULL), IGDM_ERROR_NOT_FINITE, "sample");
    set_last_layer(model, 1e38f / largest);
    FAILS(igdm_model_input_gradient(model, images, cotangent, COUNT, logits, gradient), IGDM_ERROR_NOT_FINITE,
          "gradient: sample 0");
    for (size_t i = 0; i < sizeof logits; i++) REQUIRE(((char *)logits)[i] == 0x5a);
    for (size_t i = 0; i < sizeof gradient; i++) REQUIRE(((char *)gradient)[i] == 0x5a);
    OK(igdm_model_predict(model, images, COUNT, logits));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(threads), TEST(model_sizes), TEST(model_normalisation),
        TEST(model_options_of_pre_activation), TEST(unknown_names), TEST(wide_resnet_names),
        TEST(attack_lists), TEST(image_values), TEST(label_values), TEST(counts), TEST(attack_numbers), TEST(ensemble_options),
        TEST(trainer_numbers), TEST(trainer_details), TEST(teachers), TEST(generated_images),
        TEST(averages),
        TEST(evaluate_numbers), TEST(enormous_numbers_do_no_harm), TEST(things_that_do_not_fit),
        TEST(parameters), TEST(overflowing_outputs),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
