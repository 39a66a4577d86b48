/*
 * Parameters in arrays of any layout and where they lie; metadata, golden blocks, and what a file says of its model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"
#include <pthread.h>

enum { MOST = 4096 };

static const float untouched = -12345.0f;

/* A convolution's weights. */
struct subject {
    const char *name;
    int64_t shape[4], dimensions;
    size_t count;
    float values[MOST];
};

static struct subject first_of(igdm_model *model, int64_t dimensions) {
    struct subject subject;
    for (size_t i = 0;; i++) {
        OK(igdm_model_parameter_info(model, i, &subject.name, subject.shape, &subject.dimensions, NULL));
        if (subject.dimensions == dimensions) break;
    }
    subject.count = 1;
    for (int64_t k = 0; k < dimensions; k++) subject.count *= (size_t)subject.shape[k];
    REQUIRE(subject.count <= MOST);
    OK(igdm_model_get_parameter(model, subject.name, subject.values, subject.count));
    return subject;
}

/* Where element number `index` of the packed order lies. */
static size_t place_of(const struct subject *subject, size_t index, const int64_t *strides) {
    size_t place = 0;
    for (int64_t k = subject->dimensions - 1; k >= 0; k--) {
        place += index % (size_t)subject->shape[k] * (size_t)strides[k];
        index /= (size_t)subject->shape[k];
    }
    return place;
}

static void check_layout(igdm_model *model, const struct subject *subject, const int64_t *strides, size_t capacity) {
    static float array[2 * MOST], back[MOST];
    size_t others = 0;
    REQUIRE(capacity <= 2 * MOST);
    for (size_t i = 0; i < 2 * MOST; i++) array[i] = untouched;
    OK(igdm_model_get_parameter_strided(model, subject->name, array, capacity, strides, subject->dimensions));
    for (size_t i = 0; i < subject->count; i++)
        CHECK(array[place_of(subject, i, strides)] == subject->values[i]);
    for (size_t i = 0; i < 2 * MOST; i++) others += array[i] == untouched;
    CHECK(others == 2 * MOST - subject->count);

    for (size_t i = 0; i < subject->count; i++) array[place_of(subject, i, strides)] += 1;
    OK(igdm_model_set_parameter_strided(model, subject->name, array, capacity, strides, subject->dimensions));
    OK(igdm_model_get_parameter(model, subject->name, back, subject->count));
    for (size_t i = 0; i < subject->count; i++) CHECK(back[i] == subject->values[i] + 1);
    OK(igdm_model_set_parameter(model, subject->name, subject->values, subject->count));
}

static void every_layout_goes_out_and_in(void) {
    igdm_model *model = new_model("resnet8", 0);
    struct subject w = first_of(model, 4), matrix = first_of(model, 2), vector = first_of(model, 1);
    const int64_t o = w.shape[0], i = w.shape[1], h = w.shape[2], width = w.shape[3];
    const int64_t rows = i * h * width, row_major[4] = {rows, h * width, width, 1};
    const int64_t column_major[4] = {1, o, o * i, o * i * h}, channels_last[4] = {rows, 1, width * i, i};
    const int64_t gaps[4] = {rows + 7, h * width, width, 1}, keras[4] = {1, o, width * i * o, i * o};
    const int64_t turned[2] = {1, matrix.shape[0]}, sparse[2] = {2 * matrix.shape[1] + 1, 2}, every_third[1] = {3};
    check_layout(model, &w, row_major, w.count);
    check_layout(model, &w, column_major, w.count);
    check_layout(model, &w, channels_last, w.count);
    check_layout(model, &w, keras, w.count);
    check_layout(model, &w, gaps, w.count + (size_t)(o - 1) * 7);
    check_layout(model, &matrix, turned, matrix.count);
    check_layout(model, &matrix, sparse, (size_t)((matrix.shape[0] - 1) * sparse[0] + (matrix.shape[1] - 1) * 2 + 1));
    check_layout(model, &vector, every_third, 3 * vector.count - 2);
}

/* One input channel: the stride of that dimension does not matter. */
static void strides_of_single_elements_do_not_matter(void) {
    igdm_model *model = new_model("small_cnn", 0);
    struct subject w = first_of(model, 4);
    REQUIRE(w.shape[1] == 1);
    const int64_t values[] = {0, -1, INT64_MIN, INT64_MAX, 1};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        const int64_t strides[4] = {9, values[k], 3, 1};
        static float array[MOST];
        OK(igdm_model_get_parameter_strided(model, w.name, array, w.count, strides, 4));
        CHECK(memcmp(array, w.values, w.count * sizeof(float)) == 0);
    }
}

static void wrong_layouts_are_refused(void) {
    igdm_model *model = new_model("resnet8", 0);
    struct subject w = first_of(model, 2);
    static float array[MOST];
    const int64_t rows = w.shape[0], columns = w.shape[1];
    const struct { int64_t strides[2]; size_t count; int32_t status; const char *text;
    } wrong[] = {
        {{columns, 1}, w.count - 1, IGDM_ERROR_SHAPE, "count"},
        {{columns, 1}, 0, IGDM_ERROR_SHAPE, "count"},
        {{columns, 1}, SIZE_MAX, IGDM_ERROR_INVALID_ARGUMENT, "count"},
        {{columns, 1}, (size_t)1 << 62, IGDM_ERROR_INVALID_ARGUMENT, "count"},
        {{columns + 1, 1}, w.count, IGDM_ERROR_SHAPE, "count"},
        {{0, 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[0]"},
        {{columns, 0}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[1]"},
        {{columns, -1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[1]"},
        {{-columns, 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[0]"},
        {{columns - 1, 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[0]"},
        {{1, rows - 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[1]"},
        {{1, 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "one place"},
        {{INT64_MAX, 1}, MOST, IGDM_ERROR_SHAPE, "count"},
        {{INT64_MAX / 2, 1}, MOST, IGDM_ERROR_SHAPE, "count"},
        {{(int64_t)1 << 62, (int64_t)1 << 61}, MOST, IGDM_ERROR_SHAPE, "count"},
        {{1, INT64_MAX - 1}, MOST, IGDM_ERROR_SHAPE, "count"},
        {{INT64_MIN, 1}, MOST, IGDM_ERROR_INVALID_ARGUMENT, "strides[0]"},
    };
    for (size_t k = 0; k < MOST; k++) array[k] = untouched;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        FAILS(igdm_model_get_parameter_strided(model, w.name, array, wrong[k].count, wrong[k].strides, 2),
              wrong[k].status, wrong[k].text);
        FAILS(igdm_model_set_parameter_strided(model, w.name, array, wrong[k].count, wrong[k].strides, 2),
              wrong[k].status, wrong[k].text);
    }
    const int64_t good[4] = {columns, 1, 1, 1}, bad_dimensions[] = {0, 1, 3, 4, -1, INT64_MAX, INT64_MIN};
    for (size_t k = 0; k < sizeof bad_dimensions / sizeof *bad_dimensions; k++)
        FAILS(igdm_model_get_parameter_strided(model, w.name, array, MOST, good, bad_dimensions[k]), IGDM_ERROR_SHAPE,
              "dimensions");
    FAILS(igdm_model_get_parameter_strided(model, "no", array, MOST, good, 2), IGDM_ERROR_NOT_FOUND, "no");
    for (size_t k = 0; k < MOST; k++) CHECK(array[k] == untouched);
    array[columns] = 0.0f / 0.0f;
    FAILS(igdm_model_set_parameter_strided(model, w.name, array, MOST, good, 2), IGDM_ERROR_NOT_FINITE, "values");
    array[columns] = 1;
    FAILS(igdm_model_set_parameter_strided(model, "bn1.running_var", array, MOST, (const int64_t[]){1}, 1),
          IGDM_ERROR_INVALID_ARGUMENT, "variance");
    OK(igdm_model_get_parameter(model, w.name, array, w.count));
    CHECK(memcmp(array, w.values, w.count * sizeof(float)) == 0);
}

static void parameters_are_seen_where_they_lie(void) {
    igdm_model *model = new_model("small_cnn", 0), *copy = NULL;
    struct subject w = first_of(model, 4);
    const float *data, *again;
    OK(igdm_model_parameter_data(model, w.name, &data));
    CHECK(memcmp(data, w.values, w.count * sizeof(float)) == 0);
    OK(igdm_model_copy(model, &copy));
    const float old = w.values[0];
    w.values[0] = 0.5f;
    OK(igdm_model_set_parameter(model, w.name, w.values, w.count));
    CHECK(data[0] == 0.5f);
    OK(igdm_model_parameter_data(copy, w.name, &again));
    CHECK(again != data && again[0] == old);
    FAILS(igdm_model_parameter_data(model, "no", &data), IGDM_ERROR_NOT_FOUND, "no");
}

static void *ask_for_another(void *model) {
    const char *value = NULL;
    OK(igdm_model_get_metadata(model, "b", &value));
    CHECK(strcmp(value, "of b") == 0);
    return NULL;
}

static void metadata_texts_live_until_the_next_call(void) {
    igdm_model *model = new_model("small_cnn", 0);
    const char *a, *key, *value;
    size_t count;
    pthread_t thread;
    OK(igdm_model_set_metadata(model, "b", "of b"));
    OK(igdm_model_set_metadata(model, "a", "of a"));
    OK(igdm_model_get_metadata(model, "a", &a));
    REQUIRE(pthread_create(&thread, NULL, ask_for_another, model) == 0 && pthread_join(thread, NULL) == 0);
    OK(igdm_model_set_metadata(model, "a", NULL)); /* the text that was handed out is the thread's own */
    OK(igdm_model_metadata_entry(model, 0, &key, &value));
    igdm_model_release(model);
    CHECK(strcmp(a, "of a") == 0 && strcmp(key, "b") == 0 && strcmp(value, "of b") == 0);

    model = new_model("small_cnn", 0);
    OK(igdm_model_metadata_count(model, &count));
    CHECK(count == 0);
    FAILS(igdm_model_metadata_entry(model, 0, &key, &value), IGDM_ERROR_INVALID_ARGUMENT, "index");
    FAILS(igdm_model_metadata_entry(model, SIZE_MAX, &key, &value), IGDM_ERROR_INVALID_ARGUMENT, "index");
    FAILS(igdm_model_get_metadata(model, "a", &value), IGDM_ERROR_NOT_FOUND, "\"a\"");
    FAILS(igdm_model_set_metadata(model, "\xff", "x"), IGDM_ERROR_INVALID_ARGUMENT, "key");
    FAILS(igdm_model_set_metadata(model, "x", "\xff"), IGDM_ERROR_INVALID_ARGUMENT, "value");
    FAILS(igdm_model_set_metadata(model, "", "x"), IGDM_ERROR_INVALID_ARGUMENT, "key");
}

static void golden_blocks(void) {
    igdm_model *model = new_model("small_cnn", 0), *loaded = NULL;
    igdm_load_options options;
    float logits[COUNT * CLASSES], inputs[COUNT * PIXELS], back[COUNT * CLASSES];
    double difference = -1;
    size_t sample = 99, count;
    const char *source;
    make_folder();
    predict(model, logits);
    FAILS(igdm_model_verify(model, 0, &difference, &sample), IGDM_ERROR_NOT_FOUND, "golden block");
    OK(igdm_model_golden_info(model, &count, &source));
    CHECK(count == 0 && strcmp(source, "") == 0 && difference == -1 && sample == 99);

    logits[5 * CLASSES + 1] += 1;
    OK(igdm_model_set_golden(model, images, COUNT, logits, "elsewhere"));
    FAILS(igdm_model_verify(model, 0, &difference, &sample), IGDM_ERROR_MISMATCH, "sample 5, class 1");
    CHECK(difference > 1e-4 && sample == 5); /* told in spite of the error */
    OK(igdm_model_verify(model, difference * 1.01, NULL, NULL));
    FAILS(igdm_model_verify(model, -1, NULL, NULL), IGDM_ERROR_INVALID_ARGUMENT, "tolerance");
    FAILS(igdm_model_get_golden(model, inputs, back, COUNT - 1), IGDM_ERROR_SHAPE, "count");
    OK(igdm_model_get_golden(model, inputs, back, COUNT));
    CHECK(memcmp(inputs, images, sizeof inputs) == 0 && memcmp(back, logits, sizeof back) == 0);

    OK(igdm_model_save(model, path_to("model.h5")));
    OK(igdm_load_options_init(&options));
    options.verify = 1;
    FAILS(igdm_model_load_with_options(path_to("model.h5"), &options, &loaded), IGDM_ERROR_MISMATCH, "sample 5");
    CHECK(loaded == NULL);
    options.tolerance = difference * 1.01;
    OK(igdm_model_load_with_options(path_to("model.h5"), &options, &loaded));
    OK(igdm_model_golden_info(loaded, &count, &source));
    CHECK(count == COUNT && strcmp(source, "elsewhere") == 0);
    const int32_t wrong[] = {-1, 2, INT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        OK(igdm_load_options_init(&options));
        options.verify = wrong[i];
        FAILS(igdm_model_load_with_options(path_to("model.h5"), &options, &loaded), IGDM_ERROR_INVALID_ARGUMENT,
              "options.verify");
        options.verify = 0, options.allow_not_finite = wrong[i];
        FAILS(igdm_model_load_with_options(path_to("model.h5"), &options, &loaded), IGDM_ERROR_INVALID_ARGUMENT,
              "options.allow_not_finite");
    }
    OK(igdm_load_options_init(&options));
    options.tolerance = -1;
    FAILS(igdm_model_load_with_options(path_to("model.h5"), &options, &loaded), IGDM_ERROR_INVALID_ARGUMENT,
          "options.tolerance");

    const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 62};
    for (size_t i = 0; i < 3; i++)
        FAILS(igdm_model_set_golden(model, images, huge[i], NULL, NULL), IGDM_ERROR_INVALID_ARGUMENT, "count");
    OK(igdm_model_golden_info(model, &count, NULL));
    CHECK(count == COUNT);
    OK(igdm_model_set_golden(model, NULL, 0, NULL, NULL));
    FAILS(igdm_model_get_golden(model, inputs, back, COUNT), IGDM_ERROR_NOT_FOUND, "golden block");
}

static void a_file_says_what_its_model_says(void) {
    igdm_model_options options = model_options();
    const float mean[1] = {0.25f}, std[1] = {0.5f};
    float found[2];
    options.mean = mean, options.std = std, options.normalisation_count = 1;
    igdm_model *model = NULL;
    igdm_checkpoint *checkpoint = NULL;
    igdm_model_info info = {.struct_size = sizeof info};
    igdm_checkpoint_info file = {.struct_size = sizeof file};
    const char *name, *same, *key, *value, *graph[2];
    int64_t shape[2][4], dimensions[2];
    int32_t trainable[2];
    make_folder();
    make_images();
    OK(igdm_model_create("resnet14", &options, &model));
    OK(igdm_model_set_metadata(model, "source", "a test"));
    OK(igdm_model_set_golden(model, images, 2, NULL, "itself"));
    OK(igdm_model_save(model, path_to("model.h5")));
    OK(igdm_checkpoint_open(path_to("model.h5"), &checkpoint));
    REQUIRE(unlink(path_to("model.h5")) == 0); /* the handle does not need it any more */
    OK(igdm_model_get_info(model, &info));
    OK(igdm_checkpoint_get_info(checkpoint, &file));
    CHECK(file.format_version == 1 && file.file_bytes > 4 * file.parameter_count);
    CHECK(strcmp(file.architecture, "resnet14") == 0 && file.classes == CLASSES && file.channels == 1);
    CHECK(file.height == SIDE && file.width == SIDE && file.base_width == 4 && file.has_normalisation == 1);
    CHECK(file.parameter_count == info.parameter_count && file.multiply_adds == info.multiply_adds);
    CHECK(file.metadata_count == 1 && file.golden_count == 2 && strcmp(file.golden_source, "itself") == 0);
    OK(igdm_checkpoint_get_normalisation(checkpoint, &found[0], &found[1]));
    CHECK(found[0] == 0.25f && found[1] == 0.5f);
    OK(igdm_checkpoint_metadata_entry(checkpoint, 0, &key, &value));
    CHECK(strcmp(key, "source") == 0 && strcmp(value, "a test") == 0);
    FAILS(igdm_checkpoint_metadata_entry(checkpoint, 1, &key, &value), IGDM_ERROR_INVALID_ARGUMENT, "index");
    OK(igdm_model_get_graph(model, &graph[0]));
    OK(igdm_checkpoint_get_graph(checkpoint, &graph[1]));
    CHECK(strcmp(graph[0], graph[1]) == 0);
    OK(igdm_checkpoint_get_graph(checkpoint, &same));
    CHECK(same == graph[1]);
    for (size_t i = 0; i < (size_t)file.array_count; i++) {
        OK(igdm_model_parameter_info(model, i, &name, shape[0], &dimensions[0], &trainable[0]));
        OK(igdm_checkpoint_parameter_info(checkpoint, i, &same, shape[1], &dimensions[1], &trainable[1]));
        CHECK(strcmp(name, same) == 0 && dimensions[0] == dimensions[1] && trainable[0] == trainable[1]);
        CHECK(memcmp(shape[0], shape[1], (size_t)dimensions[0] * sizeof(int64_t)) == 0);
    }
    size_t count;
    OK(igdm_model_parameter_count(model, &count));
    CHECK(count == (size_t)file.array_count);
    FAILS(igdm_checkpoint_parameter_info(checkpoint, count, &name, NULL, NULL, NULL), IGDM_ERROR_INVALID_ARGUMENT,
          "index");
    FAILS(igdm_checkpoint_open(path_to("nothing.h5"), &checkpoint), IGDM_ERROR_NOT_FOUND, "nothing.h5");
    igdm_checkpoint_release(checkpoint);
    FAILS(igdm_checkpoint_get_info(checkpoint, &file), IGDM_ERROR_INVALID_ARGUMENT, "released");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(every_layout_goes_out_and_in), TEST(strides_of_single_elements_do_not_matter),
        TEST(wrong_layouts_are_refused), TEST(parameters_are_seen_where_they_lie),
        TEST(metadata_texts_live_until_the_next_call), TEST(golden_blocks), TEST(a_file_says_what_its_model_says),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
