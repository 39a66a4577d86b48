/*
 * What most tests need: a handful of tiny images, and handles made from them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef FIXTURES_H
#define FIXTURES_H

#include "harness.h"

enum { COUNT = 12, CLASSES = 3, SIDE = 8, PIXELS = SIDE * SIDE };

static float images[COUNT * PIXELS]; /* (COUNT, 1, SIDE, SIDE), in [0,1] */
static int64_t labels[COUNT];

/* Class k has a bright row k, over noise that is the same in every run. */
static inline void make_images(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < COUNT; i++) {
        labels[i] = (int64_t)(i % CLASSES);
        for (size_t p = 0; p < PIXELS; p++) {
            state = state * 1664525u + 1013904223u;
            images[i * PIXELS + p] = (float)(state >> 8) / 16777216.0f * 0.5f + (p / SIDE == i % CLASSES ? 0.5f : 0.0f);
        }
    }
}

static inline igdm_model_options model_options(void) {
    igdm_model_options options;
    OK(igdm_model_options_init(&options));
    options.classes = CLASSES;
    options.channels = 1;
    options.height = options.width = SIDE;
    options.base_width = 4;
    return options;
}

static inline igdm_model *new_model(const char *architecture, uint64_t seed) {
    igdm_model_options options = model_options();
    igdm_model *model = NULL;
    options.seed = seed;
    OK(igdm_model_create(architecture, &options, &model));
    return model;
}

static inline igdm_dataset *new_dataset(void) {
    igdm_dataset *dataset = NULL;
    make_images();
    OK(igdm_dataset_from_floats(images, labels, COUNT, 1, SIDE, SIDE, CLASSES, &dataset));
    return dataset;
}

/* Two batches an epoch, attack of two steps, IGDM on: small, and every part of a step takes part. */
static inline igdm_trainer_options trainer_options(void) {
    igdm_trainer_options options;
    OK(igdm_trainer_options_init(&options));
    options.igdm = 1;
    options.mirror = "clip";
    options.steps = 2;
    options.learning_rate = 0.01;
    options.epochs = 2;
    options.batch_size = COUNT / 2;
    options.steps_per_epoch = 2;
    options.crop_padding = 1;
    options.validation_steps = 2;
    return options;
}

static inline igdm_trainer *new_trainer(igdm_model *student, igdm_model *teacher) {
    igdm_trainer_options options = trainer_options();
    igdm_trainer *trainer = NULL;
    OK(igdm_trainer_create(student, teacher, &options, &trainer));
    return trainer;
}

static inline igdm_batch first_batch(void) {
    igdm_batch batch;
    OK(igdm_batch_init(&batch));
    make_images();
    batch.images = images;
    batch.labels = labels;
    batch.count = COUNT;
    return batch;
}

/* Logits of all images; two models with the same weights give the same bits. */
static inline void predict(igdm_model *model, float logits[COUNT * CLASSES]) {
    make_images();
    OK(igdm_model_predict(model, images, COUNT, logits));
}

static inline int same_predictions(igdm_model *a, igdm_model *b) {
    float first[COUNT * CLASSES], second[COUNT * CLASSES];
    predict(a, first);
    predict(b, second);
    return memcmp(first, second, sizeof first) == 0;
}

/* A new folder for the files of this test; removed at the end of the process by remove_folder. */
static char folder[64];

static inline void remove_folder(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) perror(folder);
}

static inline void make_folder(void) {
    strcpy(folder, "/tmp/igdm-test-XXXXXX");
    REQUIRE(mkdtemp(folder) != NULL);
    atexit(remove_folder);
}

/* folder/name; valid until the second call after this one. */
static inline const char *path_to(const char *name) {
    static char paths[2][128];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

#endif
