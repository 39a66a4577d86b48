/*
 * The cost of one call through the C interface: igdm_model_predict for one image on a model that computes next to nothing.
 *
 *     ./calls THREADS    prints a JSON list of seconds per call, each the mean of CALLS calls
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <igdm.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CALLS = 2000, REPEATS = 21, SIDE = 4 };

static void check(int32_t status) {
    if (status == IGDM_OK) return;
    fprintf(stderr, "%s: %s\n", igdm_status_name(status), igdm_last_error());
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int main(int argc, char **argv) {
    igdm_model *model;
    igdm_model_options shape;
    float image[SIDE * SIDE] = {0}, logits[2];

    if (argc != 2) return fprintf(stderr, "usage: %s THREADS\n", argv[0]), 2;
    check(igdm_set_threads(atoi(argv[1])));
    check(igdm_model_options_init(&shape));
    shape.classes = 2, shape.channels = 1, shape.height = shape.width = SIDE, shape.base_width = 1;
    check(igdm_model_create("small_cnn", &shape, &model));
    for (int i = 0; i < CALLS; i++) check(igdm_model_predict(model, image, 1, logits));
    printf("[");
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double began = now();
        for (int i = 0; i < CALLS; i++) check(igdm_model_predict(model, image, 1, logits));
        printf("%s%.4g", repeat ? ", " : "", (now() - began) / CALLS);
    }
    printf("]\n");
    igdm_model_release(model);
    return 0;
}
