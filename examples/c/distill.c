/*
 * The whole job in C: load a robust teacher, train a small student with ARD + IGDM, measure its robustness, save it.
 *
 *     cc distill.c -o distill $(pkg-config --cflags --libs igdm)
 *     ./distill teacher.h5 train-images train-labels test-images test-labels student.h5 [--quick]
 *
 * The images are IDX files (MNIST, Fashion-MNIST), plain or .gz. Training takes the first 15000 and some minutes; --quick
 * takes a few hundred for one epoch, to see that everything works. Ctrl-C stops the training; what has been learned until
 * then is evaluated and saved.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <igdm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

/* Every call returns a status; the message says which argument was wrong and what was wanted. */
static void check(int32_t status) {
    if (status == IGDM_OK) return;
    fprintf(stderr, "%s: %s\n", igdm_status_name(status), igdm_last_error());
    exit(1);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void print_bar(double part) {
    const int width = 30;
    fputs("\r[", stderr);
    for (int i = 0; i < width; i++) fputc(i < part * width ? '#' : '.', stderr);
    fputc(']', stderr);
}

/* One line that moves while an epoch goes on, and stays when it is done. Non-zero stops the training. */
static int32_t on_training(const igdm_fit_event *event, void *user) {
    (void)user;
    if (event->kind == IGDM_EVENT_STEP) {
        print_bar((double)event->batch / (double)event->batches);
        fprintf(stderr, " epoch %d/%d  loss %.4f  %4.0f images/s  %3.0f s left ", (int)event->epoch, (int)event->epochs,
                event->loss, event->images_per_second, event->eta_seconds);
    } else if (event->kind == IGDM_EVENT_EPOCH) {
        fprintf(stderr, "\repoch %d/%d  loss %.4f (IGDM %.4f)  validation: clean %.2f %%, robust %.2f %%%20s\n",
                (int)event->epoch, (int)event->epochs, event->loss, event->igdm_loss, 100 * event->validation_clean,
                100 * event->validation_robust, "");
    }
    return interrupted;
}

static int32_t on_evaluation(const igdm_progress *progress, void *user) {
    (void)user;
    print_bar((double)progress->done / (double)progress->total);
    fprintf(stderr, " %-8s", progress->stage);
    return 0;
}

static void print_table(igdm_evaluation *evaluation) {
    double cosine, distance;
    size_t rows;
    check(igdm_evaluation_row_count(evaluation, &rows));
    for (size_t i = 0; i < rows; i++) {
        igdm_evaluation_row row = {.struct_size = sizeof row};
        check(igdm_evaluation_get_row(evaluation, i, &row));
        printf("%-8s %6.2f %%  (%d of %d)\n", row.name, 100 * row.accuracy, (int)row.correct, (int)row.count);
    }
    check(igdm_evaluation_get_gradient_agreement(evaluation, &cosine, &distance));
    printf("gradients and the teacher's: cosine %.3f, distance %.4f\n", cosine, distance);
}

int main(int argc, char **argv) {
    igdm_model *teacher, *student;
    igdm_dataset *train, *part, *test;
    igdm_trainer *trainer;
    igdm_evaluation *evaluation;
    igdm_model_info info = {.struct_size = sizeof info};
    igdm_dataset_info data_info = {.struct_size = sizeof data_info};
    int quick = argc == 8 && strcmp(argv[7], "--quick") == 0;

    if (argc != 7 && !quick) {
        fprintf(stderr, "usage: %s TEACHER TRAIN_IMAGES TRAIN_LABELS TEST_IMAGES TEST_LABELS STUDENT [--quick]\n",
                argv[0]);
        return 2;
    }
    check(igdm_model_load(argv[1], &teacher));
    check(igdm_model_get_info(teacher, &info));
    check(igdm_dataset_open_idx(argv[2], argv[3], info.classes, &train));
    check(igdm_dataset_open_idx(argv[4], argv[5], info.classes, &test));
    check(igdm_dataset_get_info(train, &data_info));
    check(igdm_dataset_subset(train, 0, (size_t)smaller(data_info.count, quick ? 384 : 15000), &part));

    /* A student with the teacher's input and classes, and a fraction of its size. */
    igdm_model_options shape;
    check(igdm_model_options_init(&shape));
    shape.classes = info.classes;
    shape.channels = info.channels;
    shape.height = info.height;
    shape.width = info.width;
    shape.base_width = quick ? 4 : 8;
    check(igdm_model_create("resnet8", &shape, &student));

    /* These data lie at the border of [0,1]: the mirrored image x-d must be clipped. */
    igdm_trainer_options options;
    check(igdm_trainer_options_init(&options));
    options.method = "ard";
    options.igdm = 3;
    options.mirror = "clip";
    options.mirror_statistics = 0;
    options.epsilon = 0.1;
    options.step = 0.025;
    options.steps = quick ? 2 : 7;
    options.epochs = quick ? 1 : 5;
    options.batch_size = quick ? 32 : 128;
    options.schedule = "onecycle";
    options.crop_padding = 2;
    options.validation_count = quick ? 50 : 500;
    check(igdm_trainer_create(student, teacher, &options, &trainer));

    signal(SIGINT, on_interrupt);
    int32_t status = igdm_trainer_fit(trainer, part, test, on_training, NULL);
    if (status == IGDM_ERROR_CANCELLED) {
        fprintf(stderr, "\nstopped\n");
    } else {
        check(status);
    }

    igdm_evaluate_options measure;
    check(igdm_evaluate_options_init(&measure));
    measure.attacks = quick ? "fgsm,pgd-5" : "fgsm,pgd-20,cw";
    measure.epsilon = 0.1;
    check(igdm_dataset_get_info(test, &data_info));
    measure.count = smaller(data_info.count, quick ? 100 : 1000);
    measure.progress = on_evaluation;
    check(igdm_evaluate(student, test, teacher, &measure, &evaluation));
    fputs("\r", stderr);
    print_table(evaluation);
    check(igdm_model_save(student, argv[6]));
    printf("saved %s\n", argv[6]);

    /* In any order: each handle keeps alive what it needs. */
    igdm_model_release(teacher);
    igdm_model_release(student);
    igdm_dataset_release(train);
    igdm_dataset_release(part);
    igdm_dataset_release(test);
    igdm_trainer_release(trainer);
    igdm_evaluation_release(evaluation);
    return 0;
}
