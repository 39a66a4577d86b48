/*
 * The rules of the structs that hosts fill in or receive: struct_size decides how much is read or written, and reserved
 * fields are zero. A host may be older or newer than the library.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <sys/mman.h>

enum { ROOM = 1024 }; /* for a struct of a host that is newer than the library */

static igdm_model *model, *teacher;
static igdm_dataset *dataset;
static igdm_trainer *trainer;
static igdm_evaluation *evaluation;
static igdm_checkpoint *checkpoint;
static char path[128];

/* Each call gets the struct in `bytes` and releases what it makes. */
static int32_t create_model(void *bytes) {
    igdm_model *made = NULL;
    int32_t status = igdm_model_create("small_cnn", bytes, &made);
    return igdm_model_release(made), status;
}

static int32_t load_model(void *bytes) {
    igdm_model *made = NULL;
    int32_t status = igdm_model_load_with_options(path, bytes, &made);
    return igdm_model_release(made), status;
}

static int32_t attack(void *bytes) {
    float adversarial[COUNT * PIXELS];
    return igdm_attack(model, images, labels, COUNT, bytes, adversarial, NULL);
}

static int32_t attack_with_report(void *bytes) {
    float adversarial[COUNT * PIXELS];
    return igdm_attack_with_report(model, images, labels, COUNT, NULL, adversarial, bytes);
}

static int32_t evaluate(void *bytes) {
    igdm_evaluation *made = NULL;
    int32_t status = igdm_evaluate(model, dataset, NULL, bytes, &made);
    return igdm_evaluation_release(made), status;
}

static int32_t attack_tuned(void *bytes) {
    float adversarial[COUNT * PIXELS];
    igdm_attack_options options;
    OK(igdm_attack_options_init(&options));
    options.tuning = bytes;
    return igdm_attack(model, images, labels, COUNT, &options, adversarial, NULL);
}

static int32_t attack_searched(void *bytes) {
    float adversarial[COUNT * PIXELS];
    igdm_attack_options options;
    igdm_attack_tuning tuning;
    OK(igdm_attack_options_init(&options));
    OK(igdm_attack_tuning_init(&tuning));
    options.tuning = &tuning, tuning.search = bytes;
    return igdm_attack(model, images, labels, COUNT, &options, adversarial, NULL);
}

static int32_t host_pass(const igdm_host_pass *pass, void *user) {
    (void)user;
    if (pass->cotangent == NULL) memset(pass->logits, 0, pass->count * CLASSES * sizeof(float));
    if (pass->cotangent != NULL) memset(pass->gradient, 0, pass->count * PIXELS * sizeof(float));
    return pass->struct_size == sizeof *pass ? 0 : 1;
}

static int32_t attack_host(void *bytes) {
    float adversarial[COUNT * PIXELS];
    return igdm_attack_host_model(bytes, images, labels, COUNT, NULL, adversarial, NULL);
}

static int32_t autoattack(void *bytes) {
    igdm_evaluation *made = NULL;
    int32_t status = igdm_autoattack(model, dataset, bytes, &made);
    return igdm_evaluation_release(made), status;
}

static int32_t create_trainer(void *bytes) {
    igdm_trainer *made = NULL;
    int32_t status = igdm_trainer_create(model, teacher, bytes, &made);
    return igdm_trainer_release(made), status;
}

static int32_t create_trainer_with_details(void *bytes) {
    igdm_trainer *made = NULL;
    igdm_trainer_options options = trainer_options();
    options.details = bytes;
    int32_t status = igdm_trainer_create(model, teacher, &options, &made);
    return igdm_trainer_release(made), status;
}

static int32_t step(void *bytes) { return igdm_trainer_step(trainer, bytes, NULL); }
static int32_t describe_model(void *bytes) { return igdm_model_get_info(model, bytes); }
static int32_t describe_dataset(void *bytes) { return igdm_dataset_get_info(dataset, bytes); }
static int32_t describe_checkpoint(void *bytes) { return igdm_checkpoint_get_info(checkpoint, bytes); }
static int32_t get_row(void *bytes) { return igdm_evaluation_get_row(evaluation, 0, bytes); }

static int32_t report(void *bytes) {
    igdm_batch batch = first_batch();
    return igdm_trainer_step(trainer, &batch, bytes);
}

static int32_t get_position(void *bytes) { return igdm_trainer_get_position(trainer, bytes); }

/* Valid contents of each struct. */
static void fill_model_options(void *bytes) { *(igdm_model_options *)bytes = model_options(); }
static void fill_load_options(void *bytes) { OK(igdm_load_options_init(bytes)); }
static void fill_attack_options(void *bytes) { OK(igdm_attack_options_init(bytes)); }
static void fill_attack_report(void *bytes) { OK(igdm_attack_report_init(bytes)); }
static void fill_attack_tuning(void *bytes) { OK(igdm_attack_tuning_init(bytes)); }
static void fill_search_tuning(void *bytes) { OK(igdm_search_tuning_init(bytes)); }
static void fill_host_model(void *bytes) {
    igdm_host_model *host = bytes;
    OK(igdm_host_model_init(host));
    host->classes = CLASSES, host->channels = 1, host->height = host->width = SIDE, host->evaluate = host_pass;
}
static void fill_autoattack_options(void *bytes) {
    igdm_autoattack_options *options = bytes;
    OK(igdm_autoattack_options_init(options));
    options->version = "custom", options->attacks = "square-3";
}
static void fill_evaluate_options(void *bytes) { OK(igdm_evaluate_options_init(bytes)); }
static void fill_trainer_options(void *bytes) { *(igdm_trainer_options *)bytes = trainer_options(); }
static void fill_trainer_details(void *bytes) { OK(igdm_trainer_details_init(bytes)); }
static void fill_batch(void *bytes) { *(igdm_batch *)bytes = first_batch(); }

struct subject {
    const char *name;
    const char *argument;
    int32_t (*call)(void *);
    void (*fill)(void *); /* NULL for structs that the library fills in */
    size_t size;
    size_t reserved[3];     /* offsets of 32-bit reserved fields; 0 ends */
    size_t reserved_offset; /* of the 64-bit ones */
    size_t reserved_count;
};

#define RESERVED(type) offsetof(type, reserved), sizeof(((type *)0)->reserved) / sizeof(int64_t)

static const struct subject subjects[] = {
    {"create model",
     "options",
     create_model,
     fill_model_options,
     sizeof(igdm_model_options),
     {offsetof(igdm_model_options, reserved0)},
     RESERVED(igdm_model_options)},
    {"load model",
     "options",
     load_model,
     fill_load_options,
     sizeof(igdm_load_options),
     {offsetof(igdm_load_options, reserved0)},
     RESERVED(igdm_load_options)},
    {"attack",
     "options",
     attack,
     fill_attack_options,
     sizeof(igdm_attack_options),
     {offsetof(igdm_attack_options, reserved0)},
     0,
     0},
    {"attack with report",
     "report",
     attack_with_report,
     fill_attack_report,
     sizeof(igdm_attack_report),
     {0},
     RESERVED(igdm_attack_report)},
    {"attack with tuning",
     "tuning",
     attack_tuned,
     fill_attack_tuning,
     sizeof(igdm_attack_tuning),
     {offsetof(igdm_attack_tuning, reserved0)},
     RESERVED(igdm_attack_tuning)},
    {"attack with search tuning",
     "search",
     attack_searched,
     fill_search_tuning,
     sizeof(igdm_search_tuning),
     {offsetof(igdm_search_tuning, reserved0)},
     RESERVED(igdm_search_tuning)},
    {"attack a host's model",
     "model",
     attack_host,
     fill_host_model,
     sizeof(igdm_host_model),
     {0},
     RESERVED(igdm_host_model)},
    {"autoattack",
     "options",
     autoattack,
     fill_autoattack_options,
     sizeof(igdm_autoattack_options),
     {0},
     RESERVED(igdm_autoattack_options)},
    {"evaluate",
     "options",
     evaluate,
     fill_evaluate_options,
     sizeof(igdm_evaluate_options),
     {0},
     RESERVED(igdm_evaluate_options)},
    {"create trainer",
     "options",
     create_trainer,
     fill_trainer_options,
     sizeof(igdm_trainer_options),
     {offsetof(igdm_trainer_options, reserved0)},
     RESERVED(igdm_trainer_options)},
    {"create trainer with details",
     "details",
     create_trainer_with_details,
     fill_trainer_details,
     sizeof(igdm_trainer_details),
     {offsetof(igdm_trainer_details, reserved0), offsetof(igdm_trainer_details, reserved1)},
     RESERVED(igdm_trainer_details)},
    {"step",
     "batch",
     step,
     fill_batch,
     sizeof(igdm_batch),
     {offsetof(igdm_batch, reserved0), offsetof(igdm_batch, reserved1)},
     RESERVED(igdm_batch)},
    {"describe model", "info", describe_model, NULL, sizeof(igdm_model_info), {0}, 0, 0},
    {"describe dataset", "info", describe_dataset, NULL, sizeof(igdm_dataset_info), {0}, 0, 0},
    {"describe checkpoint", "info", describe_checkpoint, NULL, sizeof(igdm_checkpoint_info), {0}, 0, 0},
    {"get row", "row", get_row, NULL, sizeof(igdm_evaluation_row), {0}, 0, 0},
    {"report", "report", report, NULL, sizeof(igdm_step_report), {0}, 0, 0},
    {"get position", "position", get_position, NULL, sizeof(igdm_trainer_position), {0}, 0, 0},
};

#define EACH_SUBJECT(subject) \
    const struct subject *subject = subjects; subject < subjects + sizeof subjects / sizeof *subjects; subject++

static void make_world(void) {
    model = new_model("small_cnn", 0);
    teacher = new_model("small_cnn", 1);
    dataset = new_dataset();
    trainer = new_trainer(model, teacher);
    OK(igdm_evaluate(model, dataset, NULL, NULL, &evaluation));
    make_folder();
    strcpy(path, path_to("model.h5"));
    OK(igdm_model_save(model, path));
    OK(igdm_checkpoint_open(path, &checkpoint));
}

/* Valid contents followed by zeros, with struct_size as given. */
static char *prepare(const struct subject *subject, char bytes[ROOM], size_t struct_size) {
    uint32_t size = (uint32_t)struct_size;
    context = subject->name;
    memset(bytes, 0, ROOM);
    if (subject->fill != NULL) subject->fill(bytes);
    memcpy(bytes, &size, sizeof size);
    return bytes;
}

static void wrong_sizes_are_refused(void) {
    _Alignas(8) char bytes[ROOM];
    make_world();
    for (EACH_SUBJECT(subject)) {
        const size_t wrong[] = {0, 1, 4, 8, subject->size - 8, subject->size - 1, UINT32_MAX, UINT32_MAX / 2};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            FAILS(subject->call(prepare(subject, bytes, wrong[i])), IGDM_ERROR_INVALID_ARGUMENT, "struct_size");
            FAILS(subject->call(prepare(subject, bytes, wrong[i])), IGDM_ERROR_INVALID_ARGUMENT, subject->argument);
        }
    }
}

/* A newer host's struct is longer: accepted as long as it asks for nothing that this library does not know. */
static void newer_hosts_are_served(void) {
    _Alignas(8) char bytes[ROOM];
    make_world();
    for (EACH_SUBJECT(subject)) {
        size_t larger = subject->size + 24;
        OK(subject->call(prepare(subject, bytes, larger)));
        if (subject->fill != NULL) {
            prepare(subject, bytes, larger)[larger - 1] = 1;
            FAILS(subject->call(bytes), IGDM_ERROR_INVALID_ARGUMENT, "struct_size");
        } else {
            uint32_t size;
            memcpy(&size, bytes, sizeof size);
            CHECK(size == larger); /* the host's own */
            for (size_t i = larger; i < ROOM; i++) CHECK(bytes[i] == 0);
        }
    }
}

static void reserved_fields_are_zero(void) {
    _Alignas(8) char bytes[ROOM];
    const int64_t one = 1;
    make_world();
    for (EACH_SUBJECT(subject)) {
        for (size_t i = 0; subject->reserved[i] != 0; i++) {
            memcpy(prepare(subject, bytes, subject->size) + subject->reserved[i], &one, sizeof(int32_t));
            FAILS(subject->call(bytes), IGDM_ERROR_INVALID_ARGUMENT, "reserved");
        }
        for (size_t i = 0; i < subject->reserved_count; i++) {
            memcpy(prepare(subject, bytes, subject->size) + subject->reserved_offset + i * sizeof one, &one,
                   sizeof one);
            FAILS(subject->call(bytes), IGDM_ERROR_INVALID_ARGUMENT, "reserved");
        }
    }
}

/* A struct that is exactly as long as it says lies at the very end of a page: nothing beyond it is touched. */
static void nothing_beyond_the_size_is_touched(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    make_world();
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
    for (EACH_SUBJECT(subject)) {
        _Alignas(8) char bytes[ROOM];
        char *last = pages + page - subject->size;
        memcpy(last, prepare(subject, bytes, subject->size), subject->size);
        OK(subject->call(last));
    }
}

static void defaults_are_complete(void) {
    igdm_model_options shape;
    igdm_load_options loading;
    igdm_attack_options attacking;
    igdm_attack_report report;
    igdm_evaluate_options evaluating;
    igdm_attack_tuning tuning;
    igdm_host_model host;
    igdm_autoattack_options ensemble;
    igdm_trainer_options training;
    igdm_trainer_details details;
    igdm_batch batch;
    memset(&loading, 0x5a, sizeof loading);
    memset(&tuning, 0x5a, sizeof tuning), memset(&host, 0x5a, sizeof host), memset(&ensemble, 0x5a, sizeof ensemble);
    OK(igdm_attack_tuning_init(&tuning));
    OK(igdm_host_model_init(&host));
    OK(igdm_autoattack_options_init(&ensemble));
    memset(&details, 0x5a, sizeof details);
    memset(&shape, 0x5a, sizeof shape), memset(&attacking, 0x5a, sizeof attacking);
    memset(&report, 0x5a, sizeof report), memset(&evaluating, 0x5a, sizeof evaluating), memset(&training, 0x5a, sizeof training),
        memset(&batch, 0x5a, sizeof batch);
    OK(igdm_model_options_init(&shape));
    OK(igdm_load_options_init(&loading));
    OK(igdm_attack_options_init(&attacking));
    OK(igdm_attack_report_init(&report));
    OK(igdm_evaluate_options_init(&evaluating));
    OK(igdm_trainer_options_init(&training));
    OK(igdm_trainer_details_init(&details));
    OK(igdm_batch_init(&batch));

    CHECK(shape.struct_size == sizeof shape && shape.classes == 10 && shape.channels == 3 && shape.height == 32);
    CHECK(shape.width == 32 && shape.base_width == 0 && shape.seed == 0 && shape.mean == NULL && shape.std == NULL);
    CHECK(shape.normalisation_count == 0 && shape.reserved0 == 0 && shape.shortcut_input == NULL && shape.final_bn == 0);

    CHECK(loading.struct_size == sizeof loading && loading.reserved0 == 0 && loading.allow_not_finite == 0);
    CHECK(loading.verify == 0 && loading.tolerance == 0);

    CHECK(attacking.struct_size == sizeof attacking && attacking.random_start == 1 && attacking.early_stop == 0);
    CHECK(!strcmp(attacking.attack, "pgd") && !strcmp(attacking.norm, "linf") && !strcmp(attacking.loss, "ce"));
    CHECK(attacking.epsilon == 8.0 / 255 && attacking.step == 0 && attacking.steps == 0 && attacking.restarts == 1);
    CHECK(attacking.kappa == 50 && attacking.seed == 0 && attacking.first_index == 0
          && attacking.target_logits == NULL && attacking.indices == NULL);
    CHECK(attacking.progress == NULL && attacking.user == NULL && attacking.cancel == NULL);

    CHECK(attacking.targets == 0 && attacking.eot == 0 && attacking.tuning == NULL);

    CHECK(tuning.struct_size == sizeof tuning && tuning.reference_quirks == 0 && tuning.rho == 0.75);
    CHECK(tuning.fab_alpha == 0.1 && tuning.fab_eta == 1.05 && tuning.fab_beta == 0.9 && tuning.square_share == 0.8);
    CHECK(host.struct_size == sizeof host && host.has_gradient == 1 && host.classes == 10 && host.channels == 3);
    CHECK(host.height == 32 && host.width == 32 && host.evaluate == NULL && host.user == NULL);
    CHECK(ensemble.struct_size == sizeof ensemble && !strcmp(ensemble.version, "standard") && !*ensemble.attacks);
    CHECK(!strcmp(ensemble.norm, "linf") && ensemble.epsilon == 8.0 / 255 && ensemble.restarts == 1);
    CHECK(ensemble.targets == 0 && ensemble.eot == 0 && ensemble.count == 0 && ensemble.batch_size == 128);
    CHECK(ensemble.seed == 0 && ensemble.state == NULL && ensemble.state_seconds == 60);
    CHECK(ensemble.progress == NULL && ensemble.user == NULL && ensemble.cancel == NULL);

    CHECK(report.struct_size == sizeof report && report.success == NULL && report.first_success == NULL);
    CHECK(report.linf == NULL && report.l2 == NULL && report.l1 == NULL && report.forwards == NULL);
    CHECK(report.backwards == NULL && report.successes == 0 && report.total_forwards == 0);
    CHECK(report.total_backwards == 0 && report.seconds == 0);

    CHECK(evaluating.struct_size == sizeof evaluating && !strcmp(evaluating.attacks, "fgsm,pgd-20,cw"));
    CHECK(!strcmp(evaluating.norm, "linf") && evaluating.epsilon == 8.0 / 255 && evaluating.step == 0);
    CHECK(evaluating.restarts == 1 && evaluating.count == 0 && evaluating.batch_size == 128 && evaluating.seed == 0);
    CHECK(evaluating.progress == NULL && evaluating.user == NULL && evaluating.cancel == NULL);
    CHECK(!strcmp(evaluating.loss, "ce") && evaluating.kappa == 50 && evaluating.targets == 0 && evaluating.random_start == 1);
    CHECK(evaluating.target == NULL && evaluating.target_labels == NULL && evaluating.target_count == 0);

    CHECK(training.struct_size == sizeof training && !strcmp(training.method, "ard") && training.igdm == 0);
    CHECK(!strcmp(training.mirror, "paper") && !strcmp(training.igdm_distance, "kl")
          && !strcmp(training.inner, "method"));
    CHECK(training.temperature == 1 && training.adversarial_weight == 1 && training.epsilon == 8.0 / 255);
    CHECK(training.step == 0 && training.steps == 10 && training.learning_rate == 0.1 && training.momentum == 0.9);
    CHECK(training.weight_decay == 5e-4 && training.nesterov == 0 && training.flip == 1 && training.crop_padding == 4);
    CHECK(!strcmp(training.schedule, "multistep") && training.milestones == NULL && training.milestone_count == 0);
    CHECK(training.decay == 0.1 && training.warmup == 0.3 && training.epochs == 200 && training.batch_size == 128);
    CHECK(training.steps_per_epoch == 0 && training.seed == 0 && training.validation_count == 0);
    CHECK(training.validation_steps == 10);
    CHECK(training.mirror_statistics == 1 && training.details == NULL);

    CHECK(details.struct_size == sizeof details && details.clean_teacher == NULL && details.distillation_weight == 0.5);
    CHECK(details.trades_beta == 6 && details.introspection_start == 60 && details.introspection_power == 0.1);
    CHECK(details.balance_rate == 0.025 && !strcmp(details.igdm_term, "igdm") && !strcmp(details.igdm_ramp, "linear"));
    CHECK(!strcmp(details.optimiser, "sgd") && details.beta2 == 0.999 && details.adam_epsilon == 1e-8);
    CHECK(details.gradient_clip == 0 && details.warmup_epochs == 0 && details.awp == 0 && details.awp_start == 1);
    CHECK(!strcmp(details.average, "none") && details.ema_decay == 0.999 && details.swa_start == 0);
    CHECK(details.cutout == 0 && details.cutmix == 0 && details.consistency_weight == 1);
    CHECK(details.entropy_scale == 5 && details.entropy_order == 1 && details.clean_weight == 0);
    CHECK(details.generated == NULL && details.generated_ratio == 0);
    CHECK(!strcmp(details.augment, "none") && details.crop_shift == 0 && details.erasing == 0);
    CHECK(details.erasing_area == 0.33);

    CHECK(batch.struct_size == sizeof batch && batch.images == NULL && batch.labels == NULL && batch.count == 0);
    CHECK(batch.adversarial == NULL && batch.update == 1);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(wrong_sizes_are_refused), TEST(newer_hosts_are_served), TEST(reserved_fields_are_zero),
        TEST(nothing_beyond_the_size_is_touched), TEST(defaults_are_complete),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
