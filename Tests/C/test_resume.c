/*
 * Checkpoints of a training from C: saved at every event of a fit, from inside the callback; each takes a new trainer to the
 * same end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"

enum { MOST_EVENTS = 64 };

static igdm_model *teacher;
static igdm_dataset *data;

struct keeper {
    igdm_trainer *trainer;
    int events;
    int save; /* whether to write a checkpoint at each event */
    double robust[2];
};

static const char *numbered(int event) {
    char name[32];
    snprintf(name, sizeof name, "%d.h5", event);
    return path_to(name);
}

static int32_t keep(const igdm_fit_event *event, void *user) {
    struct keeper *keeper = user;
    igdm_trainer_position position = {.struct_size = sizeof position};
    if (keeper->save) OK(igdm_trainer_save(keeper->trainer, numbered(keeper->events)));
    FAILS(igdm_trainer_resume(keeper->trainer, numbered(0)), IGDM_ERROR_BUSY, "training already");
    OK(igdm_trainer_get_position(keeper->trainer, &position));
    CHECK(position.steps == position.epochs * 2 + position.batches && position.steps_per_epoch == 2);
    CHECK(position.epochs_reported == event->epoch - (event->kind == IGDM_EVENT_EPOCH ? 0 : 1));
    if (event->kind == IGDM_EVENT_EPOCH) {
        keeper->robust[event->epoch - 1] = event->validation_robust;
        CHECK(event->gradient_cosine != 0 && event->gradient_distance > 0);
    } else {
        CHECK(event->gradient_cosine == 0 && event->gradient_distance == -1);
    }
    keeper->events++;
    return 0;
}

static igdm_trainer *momentum_trainer(igdm_model *student) {
    igdm_trainer_options options = trainer_options();
    igdm_trainer_details details;
    igdm_trainer *trainer = NULL;
    OK(igdm_trainer_details_init(&details));
    details.average = "ema", details.ema_decay = 0.5;
    options.details = &details;
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    return trainer;
}

static void make_world(void) {
    make_folder();
    teacher = new_model("small_cnn", 1);
    data = new_dataset();
}

static void a_training_goes_on_from_every_event(void) {
    igdm_model *whole = new_model("small_cnn", 0), *average = NULL, *other_average = NULL;
    struct keeper keeper = {.save = 1};
    make_world();
    keeper.trainer = momentum_trainer(whole);
    OK(igdm_trainer_fit(keeper.trainer, data, data, keep, &keeper));
    OK(igdm_trainer_average(keeper.trainer, NULL, &average));
    CHECK(keeper.events > 6 && keeper.events < MOST_EVENTS);
    for (int event = 0; event < keeper.events; event++) {
        igdm_model *student = new_model("small_cnn", 5), *loaded = NULL;
        struct keeper second = {.robust = {-1, -1}};
        igdm_trainer_position position = {.struct_size = sizeof position};
        second.trainer = momentum_trainer(student);
        OK(igdm_trainer_resume(second.trainer, numbered(event)));
        OK(igdm_model_load(numbered(event), &loaded));
        CHECK(same_predictions(student, loaded));
        OK(igdm_trainer_fit(second.trainer, data, data, keep, &second));
        CHECK(same_predictions(student, whole));
        CHECK(second.robust[1] == keeper.robust[1] || event == keeper.events - 1);
        OK(igdm_trainer_average(second.trainer, NULL, &other_average));
        CHECK(same_predictions(average, other_average));
        OK(igdm_trainer_get_position(second.trainer, &position));
        CHECK(position.epochs == 2 && position.batches == 0 && position.steps == 4);
        igdm_trainer_release(second.trainer), igdm_model_release(student), igdm_model_release(loaded);
        igdm_model_release(other_average);
    }
}

/* Batches of the host: the position says which is the next. */
static void steps_go_on(void) {
    igdm_model *whole = new_model("small_cnn", 0), *student = new_model("small_cnn", 3);
    igdm_trainer_position position = {.struct_size = sizeof position};
    make_world();
    igdm_trainer *first = momentum_trainer(whole), *second = momentum_trainer(student);
    igdm_batch batch = first_batch();
    for (int i = 0; i < 3; i++) OK(igdm_trainer_step(first, &batch, NULL));
    OK(igdm_trainer_save(first, path_to("training.h5")));
    OK(igdm_trainer_resume(second, path_to("training.h5")));
    OK(igdm_trainer_get_position(second, &position));
    CHECK(position.epochs == 1 && position.batches == 1 && position.steps == 3);
    OK(igdm_trainer_step(first, &batch, NULL));
    OK(igdm_trainer_step(second, &batch, NULL));
    CHECK(same_predictions(whole, student));
}

static void what_does_not_belong_is_refused(void) {
    igdm_model *student = new_model("small_cnn", 0), *before = new_model("small_cnn", 0);
    make_world();
    igdm_trainer *trainer = momentum_trainer(student), *other = new_trainer(new_model("small_cnn", 3), teacher);
    OK(igdm_trainer_save(other, path_to("other.h5")));
    FAILS(igdm_trainer_resume(trainer, path_to("other.h5")), IGDM_ERROR_INVALID_ARGUMENT,
          "average: the file has none, this training ema");
    FAILS(igdm_trainer_resume(trainer, path_to("none.h5")), IGDM_ERROR_NOT_FOUND, "none.h5");
    FAILS(igdm_trainer_resume(trainer, folder), IGDM_ERROR_IO, folder);
    OK(igdm_model_save(student, path_to("model.h5")));
    FAILS(igdm_trainer_resume(trainer, path_to("model.h5")), IGDM_ERROR_FORMAT, "no checkpoint of a training");
    write_file(path_to("text.h5"), "text", 4);
    FAILS(igdm_trainer_resume(trainer, path_to("text.h5")), IGDM_ERROR_FORMAT, "no HDF5 file");
    FAILS(igdm_trainer_save(trainer, path_to("no/such/folder.h5")), IGDM_ERROR_IO, "no/such");
    CHECK(same_predictions(student, before));
    OK(igdm_trainer_fit(trainer, data, NULL, NULL, NULL));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_training_goes_on_from_every_event),
        TEST(steps_go_on),
        TEST(what_does_not_belong_is_refused),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
