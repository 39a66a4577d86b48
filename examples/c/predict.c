/*
 * Loads a model and classifies the first images of a data set.
 *
 *     cc predict.c -o predict $(pkg-config --cflags --libs igdm)
 *     ./predict student.h5 t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <igdm.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int32_t status) {
    if (status == IGDM_OK) return;
    fprintf(stderr, "%s: %s\n", igdm_status_name(status), igdm_last_error());
    exit(1);
}

int main(int argc, char **argv) {
    enum { SHOWN = 10 };
    igdm_model *model;
    igdm_dataset *data;
    igdm_model_info info = {.struct_size = sizeof info};
    int64_t labels[SHOWN];

    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL IMAGES LABELS\n", argv[0]);
        return 2;
    }
    check(igdm_model_load(argv[1], &model));
    check(igdm_model_get_info(model, &info));
    check(igdm_dataset_open_idx(argv[2], argv[3], info.classes, &data));

    float *images = malloc(sizeof(float) * SHOWN * (size_t)(info.channels * info.height * info.width));
    float *logits = malloc(sizeof(float) * SHOWN * (size_t)info.classes);
    if (images == NULL || logits == NULL) return 1;
    check(igdm_dataset_read(data, 0, SHOWN, images, labels));
    check(igdm_model_predict(model, images, SHOWN, logits));
    for (int i = 0; i < SHOWN; i++) {
        const float *row = logits + i * info.classes;
        int best = 0;
        for (int c = 1; c < info.classes; c++) best = row[c] > row[best] ? c : best;
        printf("image %d: class %d, label %d\n", i, best, (int)labels[i]);
    }

    free(images);
    free(logits);
    igdm_dataset_release(data);
    igdm_model_release(model);
    return 0;
}
