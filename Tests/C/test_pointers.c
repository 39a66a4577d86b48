/*
 * Every exported function x every pointer it takes: NULL, misaligned addresses and, for handles, whatever is not a
 * living handle of the right type. Each must be refused with INVALID_ARGUMENT and a message that names the argument,
 * and must leave all outputs as they were.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"

#define MOST_ARGUMENTS 8
#define KINDS 5 /* of handles */
#define LARGEST_OUTPUT 4096

enum { HANDLE = 1, OUTPUT = 2, OPTIONAL = 4 };

struct argument {
    const char *name;
    void *valid;            /* an address with which the call succeeds */
    int flags;
    size_t alignment;       /* that the type asks for; 1: every address will do */
    size_t size;            /* bytes that the call may write */
    void (*release)(void *); /* of a handle that the call makes */
};

struct row {
    const char *function;
    int32_t (*call)(void **p);
    struct argument arguments[MOST_ARGUMENTS];
};

#define CALL(function, ...) static int32_t call_##function(void **p) { return (void)p, function(__VA_ARGS__); }
#define ROW(function, ...) {#function, call_##function, {__VA_ARGS__}}
#define IN(name, array) {#name, (void *)(array), 0, _Alignof(__typeof__(*(array))), 0, NULL}
#define IN_OR_NULL(name, array) {#name, (void *)(array), OPTIONAL, _Alignof(__typeof__(*(array))), 0, NULL}
#define OUT(name, array) {#name, (void *)(array), OUTPUT, _Alignof(__typeof__(*(array))), sizeof(array), NULL}
#define OUT_OR_NULL(name, array) \
    {#name, (void *)(array), OUTPUT | OPTIONAL, _Alignof(__typeof__(*(array))), sizeof(array), NULL}
#define LIVING(name, handle) {#name, handle, HANDLE, 1, 0, NULL}
#define LIVING_OR_NULL(name, handle) {#name, handle, HANDLE | OPTIONAL, 1, 0, NULL}
#define NEW(name, type) {#name, &made, OUTPUT, _Alignof(void *), sizeof made, release_##type}

/* The handles that calls are made with, one released handle of each type, and memory for outputs. */
static igdm_model *model, *teacher;
static igdm_dataset *dataset;
static igdm_trainer *trainer;
static igdm_evaluation *evaluation, *ensemble; /* of igdm_evaluate and of igdm_autoattack */
static igdm_checkpoint *opened;
static void *released[KINDS];
static void *made;
static float floats[2][COUNT * PIXELS];
static float certain[COUNT * CLASSES]; /* soft labels: all class 0 */
static double doubles[3][COUNT];
static int64_t integers[3][COUNT];
static int32_t flag[1];
static uint8_t bytes[COUNT * PIXELS], success[COUNT], quantised[COUNT];
static size_t number[1];
static const char *string[1];
static igdm_model_options shape[1];
static igdm_model_info about_model[1];
static igdm_load_options load_options[1];
static igdm_checkpoint_info about_checkpoint[1];
static const float *place[1];
static const int64_t one_stride[1] = {1};
static igdm_dataset_info about_dataset[1];
static igdm_attack_options attack_options[1];
static igdm_attack_report attack_report[1];
static igdm_attack_tuning tuning[1];
static igdm_search_tuning search[1];
static igdm_host_model host[1];
static igdm_autoattack_options autoattack_options[1];
static igdm_evaluate_options evaluate_options[1];
static igdm_evaluation_row table_row[1];
static igdm_trainer_options training_options[1];
static igdm_trainer_details training_details[1];
static igdm_batch batch[1];
static igdm_step_report report[1];
static igdm_trainer_position about_training[1];
static const char *bias; /* name of a parameter with CLASSES values */
static float bias_values[CLASSES] = {1, 1, 1};
static int64_t milestones[1] = {1};
static igdm_model_options defaults[1];
static const char *graph; /* of the model */
static char map[4096];    /* of the checkpoint's own names */
static char state_path[128];
static char checkpoint[128], copy_path[128], image_file[128], label_file[128], hdf5_file[128], training_file[128];

static void release_model(void *handle) { igdm_model_release(handle); }
static void release_dataset(void *handle) { igdm_dataset_release(handle); }
static void release_trainer(void *handle) { igdm_trainer_release(handle); }
static void release_evaluation(void *handle) { igdm_evaluation_release(handle); }
static void release_checkpoint(void *handle) { igdm_checkpoint_release(handle); }

static igdm_checkpoint *new_checkpoint(void) {
    igdm_checkpoint *result = NULL;
    OK(igdm_checkpoint_open(checkpoint, &result));
    return result;
}

static igdm_evaluation *new_evaluation(void) {
    igdm_evaluation *result = NULL;
    OK(igdm_evaluate(model, dataset, teacher, evaluate_options, &result));
    return result;
}

/* A model that likes class 0, whatever it sees, less and less the darker the image. */
static int32_t host_pass(const igdm_host_pass *pass, void *user) {
    (void)user;
    if (pass->cotangent == NULL) {
        for (size_t i = 0; i < pass->count * CLASSES; i++) {
            pass->logits[i] = i % CLASSES == 0 ? pass->images[i / CLASSES * PIXELS] : 0.25f;
        }
    } else {
        memset(pass->gradient, 0, pass->count * PIXELS * sizeof(float));
        for (size_t i = 0; i < pass->count; i++) pass->gradient[i * PIXELS] = pass->cotangent[i * CLASSES];
    }
    return 0;
}

static void make_world(void) {
    make_folder();
    strcpy(checkpoint, path_to("model.h5")), strcpy(copy_path, path_to("copy.h5"));
    strcpy(image_file, path_to("images")), strcpy(label_file, path_to("labels"));
    strcpy(hdf5_file, path_to("data.h5"));
    write_idx(image_file, label_file);
    write_cifar(path_to("test_batch.bin"), 10000);
    write_hdf5(hdf5_file);
    model = new_model("small_cnn", 0);
    teacher = new_model("resnet8", 1);
    dataset = new_dataset();
    for (size_t i = 0; i < COUNT; i++) certain[i * CLASSES] = 1;
    OK(igdm_trainer_details_init(training_details));
    training_details->average = "ema";
    *training_options = trainer_options();
    training_options->details = training_details;
    OK(igdm_trainer_create(model, teacher, training_options, &trainer));
    OK(igdm_model_set_metadata(model, "source", "a test"));
    OK(igdm_model_save(model, checkpoint));
    OK(igdm_evaluate_options_init(evaluate_options));
    evaluate_options->attacks = "fgsm", evaluate_options->keep_samples = 1;
    evaluation = new_evaluation();
    opened = new_checkpoint();
    strcpy(state_path, path_to("state"));
    OK(igdm_attack_tuning_init(tuning));
    OK(igdm_search_tuning_init(search));
    OK(igdm_host_model_init(host));
    host->classes = CLASSES, host->channels = 1, host->height = host->width = SIDE, host->evaluate = host_pass;
    OK(igdm_autoattack_options_init(autoattack_options));
    /* With three classes the attack says that it has too few: there is a warning to get. */
    autoattack_options->version = "custom", autoattack_options->attacks = "apgd-t-2";
    OK(igdm_autoattack(model, dataset, autoattack_options, &ensemble));

    size_t parameters;
    OK(igdm_model_parameter_count(model, &parameters));
    OK(igdm_model_parameter_info(model, parameters - 1, &bias, NULL, NULL, NULL));

    OK(igdm_model_options_init(defaults));
    OK(igdm_model_get_graph(model, &graph));
    for (size_t i = 0; i < parameters; i++) {
        const char *name;
        OK(igdm_model_parameter_info(model, i, &name, NULL, NULL, NULL));
        size_t used = strlen(map);
        snprintf(map + used, sizeof map - used, "%s\"%s\": \"weights/%s\"", i == 0 ? "{" : ", ", name, name);
    }
    strcat(map, "}");

    released[0] = new_model("small_cnn", 0), released[1] = new_dataset();
    released[2] = new_trainer(model, teacher), released[3] = new_evaluation();
    released[4] = new_checkpoint();
    release_model(released[0]), release_dataset(released[1]);
    release_trainer(released[2]), release_evaluation(released[3]), release_checkpoint(released[4]);

    *shape = model_options();
    *training_options = trainer_options();
    *batch = first_batch();
    OK(igdm_attack_options_init(attack_options));
    OK(igdm_attack_report_init(attack_report));
    OK(igdm_trainer_step(trainer, batch, NULL));
    about_model->struct_size = sizeof *about_model;
    about_checkpoint->struct_size = sizeof *about_checkpoint;
    OK(igdm_load_options_init(load_options));
    about_dataset->struct_size = sizeof *about_dataset;
    table_row->struct_size = sizeof *table_row;
    report->struct_size = sizeof *report;
    about_training->struct_size = sizeof *about_training;
    strcpy(training_file, path_to("training.h5"));
    OK(igdm_trainer_save(trainer, training_file));
}

/* One wrapper for each function that takes a pointer. */
CALL(igdm_model_options_init, p[0])
CALL(igdm_model_create, p[0], p[1], p[2])
CALL(igdm_model_create_from_graph, p[0], p[1], p[2])
CALL(igdm_model_get_graph, p[0], p[1])
CALL(igdm_model_load_mapped, p[0], p[1], p[2])
CALL(igdm_model_load, p[0], p[1])
CALL(igdm_load_options_init, p[0])
CALL(igdm_model_load_with_options, p[0], p[1], p[2])
CALL(igdm_model_load_weights, p[0], p[1])
CALL(igdm_model_save, p[0], p[1])
CALL(igdm_model_copy, p[0], p[1])
CALL(igdm_model_get_info, p[0], p[1])
CALL(igdm_model_get_normalisation, p[0], p[1], p[2])
CALL(igdm_model_set_exact, p[0], 0)
CALL(igdm_model_get_exact, p[0], p[1])
CALL(igdm_model_set_allow_not_finite, p[0], 0)
CALL(igdm_model_get_allow_not_finite, p[0], p[1])
CALL(igdm_model_predict, p[0], p[1], COUNT, p[2])
CALL(igdm_model_input_gradient, p[0], p[1], p[2], COUNT, p[3], p[4])
CALL(igdm_model_parameter_count, p[0], p[1])
CALL(igdm_model_parameter_info, p[0], 0, p[1], p[2], p[3], p[4])
CALL(igdm_model_get_parameter, p[0], p[1], p[2], CLASSES)
CALL(igdm_model_set_parameter, p[0], p[1], p[2], CLASSES)
CALL(igdm_model_get_parameter_strided, p[0], p[1], p[2], CLASSES, p[3], 1)
CALL(igdm_model_set_parameter_strided, p[0], p[1], p[2], CLASSES, p[3], 1)
CALL(igdm_model_parameter_data, p[0], p[1], p[2])
CALL(igdm_checkpoint_open, p[0], p[1])
CALL(igdm_checkpoint_get_graph, p[0], p[1])
CALL(igdm_checkpoint_get_info, p[0], p[1])
CALL(igdm_checkpoint_get_normalisation, p[0], p[1], p[2])
CALL(igdm_checkpoint_parameter_info, p[0], 0, p[1], p[2], p[3], p[4])
CALL(igdm_checkpoint_metadata_entry, p[0], 0, p[1], p[2])
CALL(igdm_model_set_metadata, p[0], p[1], p[2])
CALL(igdm_model_get_metadata, p[0], p[1], p[2])
CALL(igdm_model_metadata_count, p[0], p[1])
CALL(igdm_model_metadata_entry, p[0], 0, p[1], p[2])
CALL(igdm_model_set_golden, p[0], p[1], COUNT, p[2], p[3])
CALL(igdm_model_golden_info, p[0], p[1], p[2])
CALL(igdm_model_get_golden, p[0], p[1], p[2], COUNT)
CALL(igdm_model_verify, p[0], 0, p[1], p[2])
CALL(igdm_dataset_from_floats, p[0], p[1], COUNT, 1, SIDE, SIDE, CLASSES, p[2])
CALL(igdm_dataset_from_bytes, p[0], p[1], COUNT, 1, SIDE, SIDE, CLASSES, p[2])
CALL(igdm_dataset_open_idx, p[0], p[1], CLASSES, p[2])
CALL(igdm_dataset_open_cifar, p[0], 10, p[1], p[2])
CALL(igdm_dataset_open_hdf5, p[0], p[1], p[2], CLASSES, p[3])
CALL(igdm_dataset_stream_hdf5, p[0], p[1], p[2], CLASSES, p[3])
CALL(igdm_dataset_subset, p[0], 1, 2, p[1])
CALL(igdm_dataset_select, p[0], p[1], COUNT, p[2])
CALL(igdm_dataset_hold_out, p[0], 1, p[1], p[2])
CALL(igdm_dataset_with_soft_labels, p[0], p[1], p[2])
CALL(igdm_dataset_read_soft_labels, p[0], 0, COUNT, p[1])
CALL(igdm_dataset_get_info, p[0], p[1])
CALL(igdm_dataset_read, p[0], 0, COUNT, p[1], p[2])
CALL(igdm_attack_options_init, p[0])
CALL(igdm_attack, p[0], p[1], p[2], COUNT, p[3], p[4], p[5])
CALL(igdm_attack_report_init, p[0])
CALL(igdm_attack_with_report, p[0], p[1], p[2], COUNT, p[3], p[4], p[5])
CALL(igdm_attack_tuning_init, p[0])
CALL(igdm_search_tuning_init, p[0])
CALL(igdm_host_model_init, p[0])
CALL(igdm_corrupt, p[0], COUNT, 1, SIDE, SIDE, p[1], 3, 0, p[2], p[3])
CALL(igdm_attack_host_model, p[0], p[1], p[2], COUNT, p[3], p[4], p[5])
CALL(igdm_autoattack_options_init, p[0])
CALL(igdm_autoattack, p[0], p[1], p[2], p[3])
CALL(igdm_autoattack_host_model, p[0], p[1], p[2], p[3])
CALL(igdm_evaluation_warning_count, p[0], p[1])
CALL(igdm_evaluation_get_warning, p[0], 0, p[1])
CALL(igdm_evaluation_get_report, p[0], p[1], COUNT, p[2])
CALL(igdm_evaluate_options_init, p[0])
CALL(igdm_evaluate, p[0], p[1], p[2], p[3], p[4])
CALL(igdm_evaluate_host_model, p[0], p[1], p[2], p[3])
CALL(igdm_evaluation_get_samples, p[0], 1, p[1], COUNT, p[2])
CALL(igdm_evaluation_row_count, p[0], p[1])
CALL(igdm_evaluation_get_row, p[0], 0, p[1])
CALL(igdm_evaluation_get_correct, p[0], 0, p[1], COUNT)
CALL(igdm_evaluation_get_gradient_agreement, p[0], p[1], p[2])
CALL(igdm_trainer_options_init, p[0])
CALL(igdm_trainer_details_init, p[0])
CALL(igdm_trainer_create, p[0], p[1], p[2], p[3])
CALL(igdm_batch_init, p[0])
CALL(igdm_trainer_step, p[0], p[1], p[2])
CALL(igdm_trainer_get_gradient, p[0], p[1], p[2], CLASSES)
CALL(igdm_trainer_get_adversarial, p[0], p[1], COUNT * PIXELS)
CALL(igdm_trainer_fit, p[0], p[1], p[2], NULL, NULL)
CALL(igdm_trainer_average, p[0], p[1], p[2])
CALL(igdm_trainer_save, p[0], p[1])
CALL(igdm_trainer_resume, p[0], p[1])
CALL(igdm_trainer_get_position, p[0], p[1])
CALL(igdm_set_log_callback, NULL, p[0])

/* The pointers inside option structs, as further rows of the function that takes the struct. */
static int32_t call_model_create_options(void **p) {
    igdm_model_options options = model_options();
    options.mean = p[0], options.std = p[1], options.normalisation_count = 1, options.shortcut_input = p[2];
    return igdm_model_create("preact_resnet18", &options, p[3]);
}

static int32_t call_model_set_own_golden(void **p) {
    return igdm_model_set_golden(p[0], p[1], COUNT, NULL, NULL); /* with which igdm_model_verify succeeds */
}

static int32_t call_model_create_from_graph_options(void **p) {
    igdm_model_options options = *defaults;
    options.mean = p[0], options.std = p[1], options.normalisation_count = 1;
    return igdm_model_create_from_graph(graph, &options, p[2]);
}

static int32_t call_attack_options(void **p) {
    igdm_attack_options options;
    OK(igdm_attack_options_init(&options));
    options.attack = p[0], options.norm = p[1], options.loss = p[2], options.target_logits = p[3],
    options.cancel = p[4], options.tuning = p[5], options.target = p[6];
    options.steps = 1;
    return igdm_attack(model, images, labels, COUNT, &options, floats[0], NULL);
}

static int32_t call_attack_tuning(void **p) {
    igdm_attack_options options;
    igdm_attack_tuning tuned;
    OK(igdm_attack_options_init(&options));
    OK(igdm_attack_tuning_init(&tuned));
    tuned.search = p[0];
    options.steps = 1, options.tuning = &tuned;
    return igdm_attack(model, images, labels, COUNT, &options, floats[0], NULL);
}

static int32_t call_attack_report(void **p) {
    igdm_attack_report report;
    OK(igdm_attack_report_init(&report));
    report.success = p[0], report.first_success = p[1], report.linf = p[2], report.l2 = p[3], report.l1 = p[4],
    report.forwards = p[5], report.backwards = p[6], report.quantised = p[7];
    return igdm_attack_with_report(model, images, labels, COUNT, attack_options, floats[0], &report);
}

static int32_t call_evaluate_options(void **p) {
    igdm_evaluate_options options = *evaluate_options;
    options.attacks = p[0], options.norm = p[1], options.cancel = p[2], options.target = p[3];
    options.target_labels = p[4], options.target_count = p[4] == NULL ? 0 : COUNT;
    if (p[4] != NULL) options.target = "labels";
    return igdm_evaluate(model, dataset, NULL, &options, p[5]);
}

static int32_t call_autoattack_options(void **p) {
    igdm_autoattack_options options = *autoattack_options;
    options.version = p[0], options.attacks = p[1], options.norm = p[2], options.state = p[3], options.cancel = p[4];
    return igdm_autoattack(model, dataset, &options, p[5]);
}

static int32_t call_autoattack_tuning(void **p) {
    igdm_autoattack_options options = *autoattack_options;
    options.tuning = p[0];
    return igdm_autoattack(model, dataset, &options, p[1]);
}

static int32_t call_host_model(void **p) {
    igdm_host_model inner = *host;
    memcpy(&inner.evaluate, &p[0], sizeof inner.evaluate);
    return igdm_attack_host_model(&inner, images, labels, COUNT, NULL, floats[0], NULL);
}

static int32_t call_trainer_create_options(void **p) {
    igdm_trainer_options options = trainer_options();
    options.method = p[0], options.mirror = p[1], options.igdm_distance = p[2], options.inner = p[3],
    options.schedule = p[4];
    options.milestones = p[5], options.milestone_count = 1;
    return igdm_trainer_create(model, teacher, &options, p[6]);
}

static int32_t call_trainer_create_details(void **p) {
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details = *training_details;
    details.igdm_term = p[0], details.igdm_ramp = p[1], details.optimiser = p[2], details.average = p[3];
    details.augment = p[4];
    options.details = &details;
    return igdm_trainer_create(model, teacher, &options, p[5]);
}

static int32_t call_trainer_create_two_teachers(void **p) {
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details = *training_details;
    details.clean_teacher = p[0];
    options.method = "mtard", options.details = &details;
    return igdm_trainer_create(model, teacher, &options, p[1]);
}

static int32_t call_trainer_create_generated(void **p) {
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details = *training_details;
    details.generated = p[0], details.generated_ratio = 0.5;
    options.details = &details;
    return igdm_trainer_create(model, teacher, &options, p[1]);
}

static int32_t call_trainer_create_details_pointer(void **p) {
    igdm_trainer_options options = trainer_options();
    options.details = p[0];
    return igdm_trainer_create(model, teacher, &options, p[1]);
}

static int32_t call_trainer_step_batch(void **p) {
    igdm_batch inner = *batch;
    inner.images = p[0], inner.labels = p[1], inner.adversarial = p[2];
    return igdm_trainer_step(trainer, &inner, NULL);
}

/* Functions without pointers, and those that return nothing (see releases_are_refused), stand here for completeness. */
static const char *const without_refusal[] = {
    "igdm_version_number",  "igdm_version_string",     "igdm_build_info",
    "igdm_last_error",      "igdm_status_name",        "igdm_set_threads",
    "igdm_get_threads",     "igdm_architectures",      "igdm_attacks",
    "igdm_methods",         "igdm_model_release",      "igdm_dataset_release",
    "igdm_trainer_release", "igdm_evaluation_release", "igdm_checkpoint_release",
};

static const struct row *make_table(size_t *count) {
    const struct row rows[] = {
        ROW(igdm_set_log_callback, IN_OR_NULL(user, bytes)),
        ROW(igdm_model_options_init, OUT(options, shape)),
        ROW(igdm_model_create, IN(architecture, "small_cnn"), IN_OR_NULL(options, shape), NEW(model, model)),
        {"igdm_model_create",
         call_model_create_options,
         {IN(mean, bias_values), IN(std, bias_values), IN_OR_NULL(shortcut_input, "raw"), NEW(model, model)}},
        ROW(igdm_model_create_from_graph, IN(json, graph), IN_OR_NULL(options, defaults), NEW(model, model)),
        {"igdm_model_create_from_graph",
         call_model_create_from_graph_options,
         {IN(mean, bias_values), IN(std, bias_values), NEW(model, model)}},
        ROW(igdm_model_get_graph, LIVING(model, model), OUT(json, string)),
        ROW(igdm_model_load_mapped, LIVING(model, model), IN(path, checkpoint), IN(map, map)),
        ROW(igdm_model_load, IN(path, checkpoint), NEW(model, model)),
        ROW(igdm_load_options_init, OUT(options, load_options)),
        ROW(igdm_model_load_with_options, IN(path, checkpoint), IN_OR_NULL(options, load_options), NEW(model, model)),
        ROW(igdm_model_load_weights, LIVING(model, model), IN(path, checkpoint)),
        ROW(igdm_model_save, LIVING(model, model), IN(path, copy_path)),
        ROW(igdm_model_copy, LIVING(model, model), NEW(copy, model)),
        ROW(igdm_model_get_info, LIVING(model, model), OUT(info, about_model)),
        ROW(igdm_model_get_normalisation, LIVING(model, model), OUT_OR_NULL(mean, floats[0]),
            OUT_OR_NULL(std, floats[1])),
        ROW(igdm_model_set_exact, LIVING(model, model)),
        ROW(igdm_model_get_exact, LIVING(model, model), OUT(exact, flag)),
        ROW(igdm_model_set_allow_not_finite, LIVING(model, model)),
        ROW(igdm_model_get_allow_not_finite, LIVING(model, model), OUT(allow, flag)),
        ROW(igdm_model_predict, LIVING(model, model), IN(images, images), OUT(logits, floats[0])),
        ROW(igdm_model_input_gradient, LIVING(model, model), IN(images, images), IN(cotangent, images),
            OUT_OR_NULL(logits, floats[0]), OUT(gradient, floats[1])),
        ROW(igdm_model_parameter_count, LIVING(model, model), OUT(count, number)),
        ROW(igdm_model_parameter_info, LIVING(model, model), OUT_OR_NULL(name, string), OUT_OR_NULL(shape, integers[0]),
            OUT_OR_NULL(dimensions, integers[1]), OUT_OR_NULL(trainable, flag)),
        ROW(igdm_model_get_parameter, LIVING(model, model), IN(name, bias), OUT(values, floats[0])),
        ROW(igdm_model_set_parameter, LIVING(model, model), IN(name, bias), IN(values, bias_values)),
        ROW(igdm_model_get_parameter_strided, LIVING(model, model), IN(name, bias), OUT(values, floats[0]),
            IN(strides, one_stride)),
        ROW(igdm_model_set_parameter_strided, LIVING(model, model), IN(name, bias), IN(values, bias_values),
            IN(strides, one_stride)),
        ROW(igdm_model_parameter_data, LIVING(model, model), IN(name, bias), OUT(values, place)),
        ROW(igdm_checkpoint_open, IN(path, checkpoint), NEW(checkpoint, checkpoint)),
        ROW(igdm_checkpoint_get_graph, LIVING(checkpoint, opened), OUT(json, string)),
        ROW(igdm_checkpoint_get_info, LIVING(checkpoint, opened), OUT(info, about_checkpoint)),
        ROW(igdm_checkpoint_get_normalisation, LIVING(checkpoint, opened), OUT_OR_NULL(mean, floats[0]),
            OUT_OR_NULL(std, floats[1])),
        ROW(igdm_checkpoint_parameter_info, LIVING(checkpoint, opened), OUT_OR_NULL(name, string),
            OUT_OR_NULL(shape, integers[0]), OUT_OR_NULL(dimensions, integers[1]), OUT_OR_NULL(trainable, flag)),
        ROW(igdm_checkpoint_metadata_entry, LIVING(checkpoint, opened), OUT_OR_NULL(key, string),
            OUT_OR_NULL(value, string)),
        ROW(igdm_model_set_metadata, LIVING(model, model), IN(key, "dataset"), IN_OR_NULL(value, "cifar10")),
        ROW(igdm_model_get_metadata, LIVING(model, model), IN(key, "source"), OUT(value, string)),
        ROW(igdm_model_metadata_count, LIVING(model, model), OUT(count, number)),
        ROW(igdm_model_metadata_entry, LIVING(model, model), OUT_OR_NULL(key, string), OUT_OR_NULL(value, string)),
        ROW(igdm_model_set_golden, LIVING(model, model), IN(inputs, images), IN_OR_NULL(logits, floats[1]),
            IN_OR_NULL(source, "a test")),
        {"igdm_model_set_golden",
         call_model_set_own_golden,
         {LIVING(model, model), IN(inputs, images)}},
        ROW(igdm_model_golden_info, LIVING(model, model), OUT_OR_NULL(count, number), OUT_OR_NULL(source, string)),
        ROW(igdm_model_get_golden, LIVING(model, model), OUT_OR_NULL(inputs, floats[0]),
            OUT_OR_NULL(logits, floats[1])),
        ROW(igdm_model_verify, LIVING(model, model), OUT_OR_NULL(worst_difference, doubles[0]),
            OUT_OR_NULL(worst_sample, number)),
        ROW(igdm_dataset_from_floats, IN(images, images), IN(labels, labels), NEW(dataset, dataset)),
        ROW(igdm_dataset_from_bytes, IN(images, bytes), IN(labels, labels), NEW(dataset, dataset)),
        ROW(igdm_dataset_open_idx, IN(images_path, image_file), IN(labels_path, label_file), NEW(dataset, dataset)),
        ROW(igdm_dataset_open_cifar, IN(folder, folder), IN(split, "test"), NEW(dataset, dataset)),
        ROW(igdm_dataset_open_hdf5, IN(path, hdf5_file), IN_OR_NULL(images_name, "images"),
            IN_OR_NULL(labels_name, "labels"), NEW(dataset, dataset)),
        ROW(igdm_dataset_stream_hdf5, IN(path, hdf5_file), IN_OR_NULL(images_name, "images"),
            IN_OR_NULL(labels_name, "labels"), NEW(dataset, dataset)),
        ROW(igdm_dataset_subset, LIVING(dataset, dataset), NEW(subset, dataset)),
        ROW(igdm_dataset_select, LIVING(dataset, dataset), IN(samples, labels), NEW(selection, dataset)),
        ROW(igdm_dataset_hold_out, LIVING(dataset, dataset), NEW(others, dataset), NEW(held_out, dataset)),
        ROW(igdm_dataset_with_soft_labels, LIVING(dataset, dataset), IN(soft_labels, certain),
            NEW(labelled, dataset)),
        ROW(igdm_dataset_read_soft_labels, LIVING(dataset, dataset), OUT(soft_labels, floats[0])),
        ROW(igdm_dataset_get_info, LIVING(dataset, dataset), OUT(info, about_dataset)),
        ROW(igdm_dataset_read, LIVING(dataset, dataset), OUT_OR_NULL(images, floats[0]),
            OUT_OR_NULL(labels, integers[0])),
        ROW(igdm_attack_options_init, OUT(options, attack_options)),
        ROW(igdm_attack, LIVING(model, model), IN(images, images), IN(labels, labels),
            IN_OR_NULL(options, attack_options), OUT(adversarial, floats[0]), OUT_OR_NULL(success, success)),
        {"igdm_attack",
         call_attack_options,
         {IN(attack, "pgd"), IN(norm, "linf"), IN(loss, "kl"), IN_OR_NULL(target_logits, floats[1]),
          IN_OR_NULL(cancel, flag), IN_OR_NULL(tuning, tuning), IN_OR_NULL(target, "")}},
        {"igdm_attack", call_attack_tuning, {IN_OR_NULL(search, search)}},
        ROW(igdm_attack_report_init, OUT(report, attack_report)),
        ROW(igdm_attack_with_report, LIVING(model, model), IN(images, images), IN(labels, labels),
            IN_OR_NULL(options, attack_options), OUT(adversarial, floats[0]), OUT_OR_NULL(report, attack_report)),
        {"igdm_attack_with_report",
         call_attack_report,
         {OUT_OR_NULL(success, success), OUT_OR_NULL(first_success, integers[0]), OUT_OR_NULL(linf, doubles[0]),
          OUT_OR_NULL(l2, doubles[1]), OUT_OR_NULL(l1, doubles[2]), OUT_OR_NULL(forwards, integers[1]),
          OUT_OR_NULL(backwards, integers[2]), OUT_OR_NULL(quantised, quantised)}},
        ROW(igdm_attack_tuning_init, OUT(tuning, tuning)),
        ROW(igdm_search_tuning_init, OUT(tuning, search)),
        ROW(igdm_host_model_init, OUT(model, host)),
        ROW(igdm_corrupt, IN(images, images), IN(name, "fog"), IN_OR_NULL(indices, labels), OUT(corrupted, floats[0])),
        ROW(igdm_attack_host_model, IN(model, host), IN(images, images), IN(labels, labels),
            IN_OR_NULL(options, attack_options), OUT(adversarial, floats[0]), OUT_OR_NULL(report, attack_report)),
        {"igdm_attack_host_model", call_host_model, {{"evaluate", *(void **)&host->evaluate, 0, 1, 0, NULL}}},
        ROW(igdm_autoattack_options_init, OUT(options, autoattack_options)),
        ROW(igdm_autoattack, LIVING(model, model), LIVING(dataset, dataset), IN_OR_NULL(options, autoattack_options),
            NEW(evaluation, evaluation)),
        {"igdm_autoattack",
         call_autoattack_options,
         {IN(version, "custom"), IN(attacks, "square-3"), IN(norm, "linf"), IN_OR_NULL(state, state_path),
          IN_OR_NULL(cancel, flag), NEW(evaluation, evaluation)}},
        {"igdm_autoattack", call_autoattack_tuning, {IN_OR_NULL(tuning, tuning), NEW(evaluation, evaluation)}},
        ROW(igdm_autoattack_host_model, IN(model, host), LIVING(dataset, dataset),
            IN_OR_NULL(options, autoattack_options), NEW(evaluation, evaluation)),
        ROW(igdm_evaluation_warning_count, LIVING(evaluation, ensemble), OUT(count, number)),
        ROW(igdm_evaluation_get_warning, LIVING(evaluation, ensemble), OUT(warning, string)),
        ROW(igdm_evaluation_get_report, LIVING(evaluation, ensemble), OUT_OR_NULL(adversarial, floats[0]),
            OUT(report, attack_report)),
        ROW(igdm_evaluate_options_init, OUT(options, evaluate_options)),
        ROW(igdm_evaluate, LIVING(model, model), LIVING(dataset, dataset), LIVING_OR_NULL(teacher, teacher),
            IN_OR_NULL(options, evaluate_options), NEW(evaluation, evaluation)),
        {"igdm_evaluate",
         call_evaluate_options,
         {IN(attacks, "fgsm"), IN(norm, "linf"), IN_OR_NULL(cancel, flag), IN_OR_NULL(target, "random"),
          IN_OR_NULL(target_labels, labels), NEW(evaluation, evaluation)}},
        ROW(igdm_evaluate_host_model, IN(model, host), LIVING(dataset, dataset), IN_OR_NULL(options, evaluate_options),
            NEW(evaluation, evaluation)),
        ROW(igdm_evaluation_get_samples, LIVING(evaluation, evaluation), OUT_OR_NULL(adversarial, floats[0]),
            OUT(report, attack_report)),
        ROW(igdm_evaluation_row_count, LIVING(evaluation, evaluation), OUT(count, number)),
        ROW(igdm_evaluation_get_row, LIVING(evaluation, evaluation), OUT(row, table_row)),
        ROW(igdm_evaluation_get_correct, LIVING(evaluation, evaluation), OUT(correct, success)),
        ROW(igdm_evaluation_get_gradient_agreement, LIVING(evaluation, evaluation), OUT_OR_NULL(cosine, doubles[0]),
            OUT_OR_NULL(distance, doubles[1])),
        ROW(igdm_trainer_options_init, OUT(options, training_options)),
        ROW(igdm_trainer_create, LIVING(student, model), LIVING(teacher, teacher),
            IN_OR_NULL(options, training_options), NEW(trainer, trainer)),
        {"igdm_trainer_create",
         call_trainer_create_options,
         {IN(method, "ard"), IN(mirror, "clip"), IN(igdm_distance, "kl"), IN(inner, "method"),
          IN(schedule, "multistep"), IN(milestones, milestones), NEW(trainer, trainer)}},
        ROW(igdm_trainer_details_init, OUT(details, training_details)),
        {"igdm_trainer_create",
         call_trainer_create_details,
         {IN(igdm_term, "igdm"), IN(igdm_ramp, "linear"), IN(optimiser, "sgd"), IN(average, "ema"),
          IN(augment, "none"), NEW(trainer, trainer)}},
        {"igdm_trainer_create",
         call_trainer_create_two_teachers,
         {LIVING(clean_teacher, teacher), NEW(trainer, trainer)}},
        {"igdm_trainer_create", call_trainer_create_generated, {LIVING(generated, dataset), NEW(trainer, trainer)}},
        {"igdm_trainer_create",
         call_trainer_create_details_pointer,
         {IN_OR_NULL(details, training_details), NEW(trainer, trainer)}},
        ROW(igdm_batch_init, OUT(batch, batch)),
        ROW(igdm_trainer_step, LIVING(trainer, trainer), IN(batch, batch), OUT_OR_NULL(report, report)),
        {"igdm_trainer_step",
         call_trainer_step_batch,
         {IN(images, images), IN(labels, labels), IN_OR_NULL(adversarial, images)}},
        ROW(igdm_trainer_get_gradient, LIVING(trainer, trainer), IN(name, bias), OUT(values, floats[0])),
        ROW(igdm_trainer_get_adversarial, LIVING(trainer, trainer), OUT(images, floats[0])),
        ROW(igdm_trainer_average, LIVING(trainer, trainer), LIVING_OR_NULL(train, dataset), NEW(average, model)),
        ROW(igdm_trainer_save, LIVING(trainer, trainer), IN(path, copy_path)),
        ROW(igdm_trainer_resume, LIVING(trainer, trainer), IN(path, training_file)),
        ROW(igdm_trainer_get_position, LIVING(trainer, trainer), OUT(position, about_training)),
        ROW(igdm_trainer_fit, LIVING(trainer, trainer), LIVING(train, dataset), LIVING_OR_NULL(validation, dataset)),
    };
    static struct row table[sizeof rows / sizeof *rows];
    *count = sizeof rows / sizeof *rows;
    return memcpy(table, rows, sizeof rows);
}

/* What the outputs of a row hold before each of its calls. */
static char before[MOST_ARGUMENTS][LARGEST_OUTPUT];

static size_t arguments_of(const struct row *row) {
    size_t count = 0;
    while (count < MOST_ARGUMENTS && row->arguments[count].name != NULL) count++;
    return count;
}

static void restore_outputs(const struct row *row) {
    for (size_t i = 0; i < arguments_of(row); i++) memcpy(row->arguments[i].valid, before[i], row->arguments[i].size);
}

/* Calls the function with valid arguments, except that argument `changed` is `value`. */
static int32_t call_with(const struct row *row, size_t changed, void *value) {
    void *pointers[MOST_ARGUMENTS];
    restore_outputs(row);
    for (size_t i = 0; i < MOST_ARGUMENTS; i++) pointers[i] = i == changed ? value : row->arguments[i].valid;
    return row->call(pointers);
}

static void must_accept(const struct row *row, size_t changed, void *value) {
    int32_t status = call_with(row, changed, value);
    if (status != IGDM_OK) {
        fail_check(row->function, (int)changed, "valid arguments give %s: %s", igdm_status_name(status),
                   igdm_last_error());
    }
    for (size_t i = 0; i < arguments_of(row); i++) {
        if (status == IGDM_OK && row->arguments[i].release != NULL) row->arguments[i].release(made);
    }
}

static void must_refuse(const struct row *row, size_t changed, void *value, const char *what) {
    const struct argument *argument = &row->arguments[changed];
    int32_t status = call_with(row, changed, value);
    if (status != IGDM_ERROR_INVALID_ARGUMENT) {
        fail_check(row->function, (int)changed, "%s: %s gives %s (%s)", argument->name, what, igdm_status_name(status),
                   igdm_last_error());
    } else if (strstr(igdm_last_error(), argument->name) == NULL) {
        fail_check(row->function, (int)changed, "%s: %s: the message \"%s\" does not name it", argument->name, what,
                   igdm_last_error());
    }
    for (size_t i = 0; i < arguments_of(row); i++) {
        if (memcmp(row->arguments[i].valid, before[i], row->arguments[i].size) != 0) {
            fail_check(row->function, (int)changed, "%s: %s: the call changed %s", argument->name, what,
                       row->arguments[i].name);
        }
    }
}

/* Everything that a handle of the same type as `valid` must not be mistaken for. */
static void must_refuse_foreign(const struct row *row, size_t changed, void *valid) {
    char on_stack[256] = {0};
    char *on_heap = calloc(1, 256);
    void *living[] = {model, dataset, trainer, evaluation, opened};
    const struct { const char *what; void *value;
    } foreign[] = {
        {"1", (void *)1},
        {"8", (void *)8},
        {"an unmapped address", (void *)0x10000000000},
        {"the last address", (void *)-8},
        {"the stack", on_stack},
        {"the heap", on_heap},
        {"static memory", floats},
        {"a function", (void *)make_world},
        {"inside a handle", (char *)valid + 8},
        {"a misaligned handle", (char *)valid + 1},
        {"a released model", released[0]},
        {"a released dataset", released[1]},
        {"a released trainer", released[2]},
        {"a released evaluation", released[3]},
        {"a released checkpoint", released[4]},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        must_refuse(row, changed, foreign[i].value, foreign[i].what);
    for (size_t i = 0; i < KINDS; i++) {
        int same_type = living[i] == valid || (i == 0 && valid == teacher) || (i == 3 && valid == ensemble);
        if (!same_type) must_refuse(row, changed, living[i], "a handle of another type");
    }
    free(on_heap);
}

static void check_row(const struct row *row) {
    for (size_t i = 0; i < arguments_of(row); i++) {
        REQUIRE(row->arguments[i].size <= LARGEST_OUTPUT);
        memcpy(before[i], row->arguments[i].valid, row->arguments[i].size);
    }
    must_accept(row, MOST_ARGUMENTS, NULL);
    for (size_t i = 0; i < arguments_of(row); i++) {
        const struct argument *argument = &row->arguments[i];
        if (argument->flags & OPTIONAL) {
            must_accept(row, i, NULL);
        } else {
            must_refuse(row, i, NULL, "NULL");
        }
        if (argument->alignment > 1) must_refuse(row, i, (char *)argument->valid + 1, "a misaligned address");
        if (argument->flags & HANDLE) must_refuse_foreign(row, i, argument->valid);
    }
    restore_outputs(row);
}

static void every_pointer_is_checked(void) {
    size_t count;
    make_world();
    const struct row *table = make_table(&count);
    for (size_t i = 0; i < count; i++) check_row(&table[i]);
}

/* Releasing something that is no such handle does nothing: the living ones still work. */
static void releases_are_refused(void) {
    char on_stack[64] = {0};
    size_t count;
    make_world();
    void *living[] = {model, dataset, trainer, evaluation, opened};
    void (*const release[])(void *) = {release_model, release_dataset, release_trainer, release_evaluation,
                                       release_checkpoint};
    void *const garbage[] = {NULL,     (void *)1, (void *)8,        (void *)-8, (void *)0x10000000000,
                             on_stack, floats,    (char *)model + 8};
    for (size_t i = 0; i < KINDS; i++) {
        for (size_t k = 0; k < sizeof garbage / sizeof *garbage; k++) release[i](garbage[k]);
        for (size_t k = 0; k < KINDS; k++) {
            release[i](released[k]);
            if (k != i) release[i](living[k]);
        }
    }
    OK(igdm_model_predict(model, images, COUNT, floats[0]));
    OK(igdm_dataset_read(dataset, 0, COUNT, floats[0], NULL));
    OK(igdm_trainer_step(trainer, batch, NULL));
    OK(igdm_evaluation_row_count(evaluation, &count));
    OK(igdm_checkpoint_metadata_entry(opened, 0, NULL, NULL));
}

static int is_known(const char *function) {
    size_t count;
    const struct row *table = make_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].function, function) == 0) return 1;
    }
    for (size_t i = 0; i < sizeof without_refusal / sizeof *without_refusal; i++) {
        if (strcmp(without_refusal[i], function) == 0) return 1;
    }
    return 0;
}

static void table_is_complete(void) {
    char symbol[128];
    int symbols = 0;
    FILE *list = fopen(SYMBOLS, "r");
    REQUIRE(list != NULL);
    while (fscanf(list, "%127s", symbol) == 1) {
        symbols++;
        if (!is_known(symbol)) fail_check(SYMBOLS, symbols, "%s is not in the table of this test", symbol);
    }
    fclose(list);
    CHECK(symbols > 50);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(every_pointer_is_checked), TEST(releases_are_refused),
                                        TEST(table_is_complete)};
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
