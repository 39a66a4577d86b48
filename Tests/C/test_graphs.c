/*
 * Layer graphs and weight maps from C: there and back again, in checkpoints, and texts and files that are not what they
 * should be. Whatever comes, the process lives and outputs stay as they were.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"

static const char small[] =
    "{\"format\": \"igdm-graph\", \"version\": 1, \"input\": [1, 8, 8], \"layers\": ["
    "{\"name\": \"c\", \"type\": \"conv\", \"inputs\": [\"input\"], \"channels\": 4, \"kernel\": 3, \"stride\": 2},"
    "{\"name\": \"n\", \"type\": \"batch_norm\", \"inputs\": [\"c\"]},"
    "{\"name\": \"a\", \"type\": \"relu\", \"inputs\": [\"n\"]},"
    "{\"name\": \"p\", \"type\": \"global_average_pool\", \"inputs\": [\"a\"]},"
    "{\"name\": \"fc\", \"type\": \"linear\", \"inputs\": [\"p\"], \"outputs\": 3}], \"output\": \"fc\"}";

static igdm_model *from_graph(const char *json, uint64_t seed) {
    igdm_model_options options;
    igdm_model *model = NULL;
    OK(igdm_model_options_init(&options));
    options.seed = seed;
    OK(igdm_model_create_from_graph(json, &options, &model));
    return model;
}

static const char *graph_of(igdm_model *model) {
    const char *json = NULL;
    OK(igdm_model_get_graph(model, &json));
    return json;
}

static void graphs_come_back(void) {
    char architectures[1024], *rest = architectures;
    snprintf(architectures, sizeof architectures, "%s,wrn_10_2", igdm_architectures());
    for (char *name = strtok_r(rest, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        igdm_model_info info = {.struct_size = sizeof info};
        igdm_model *model, *other;
        if (strstr(name, "_D_K") != NULL) continue; /* a pattern */
        context = name;
        igdm_model_options options = model_options();
        options.base_width = strstr(name, "wrn_") ? 0 : 4;
        options.height = options.width = 32;
        options.seed = 7;
        OK(igdm_model_create(name, &options, &model));
        other = from_graph(graph_of(model), 7);
        OK(igdm_model_get_info(other, &info));
        CHECK(strcmp(info.architecture, "graph") == 0 && info.base_width == 0 && info.classes == CLASSES);
        CHECK(strcmp(graph_of(model), graph_of(other)) == 0);
        float pixels[32 * 32], logits[2][CLASSES];
        for (size_t i = 0; i < 32 * 32; i++) pixels[i] = (float)(i % 97) / 97;
        OK(igdm_model_predict(model, pixels, 1, logits[0]));
        OK(igdm_model_predict(other, pixels, 1, logits[1]));
        CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
        igdm_model_release(model), igdm_model_release(other);
    }
}

static void checkpoints_carry_the_graph(void) {
    igdm_model *model = from_graph(small, 3), *loaded, *copy;
    make_folder();
    OK(igdm_model_save(model, path_to("g.h5")));
    OK(igdm_model_load(path_to("g.h5"), &loaded));
    OK(igdm_model_copy(loaded, &copy));
    CHECK(same_predictions(model, loaded) && same_predictions(model, copy));
    CHECK(strcmp(graph_of(model), graph_of(copy)) == 0);
    /* A model of an architecture is written as before graphs were known. */
    igdm_model *plain = new_model("small_cnn", 0);
    OK(igdm_model_save(plain, path_to("p.h5")));
    hid_t file = H5Fopen(path_to("p.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t version = H5Aopen(file, "format_version", H5P_DEFAULT);
    int64_t number = 0;
    CHECK(H5Aread(version, H5T_NATIVE_INT64, &number) >= 0 && number == 1);
    CHECK(H5Lexists(file, "graph", H5P_DEFAULT) == 0);
    H5Aclose(version), H5Fclose(file);
}

static void options_say_the_same_or_nothing(void) {
    igdm_model *model = NULL;
    igdm_model_options options = model_options();
    float mean = 0.5f, std = 0.25f, other_mean, other_std;
    FAILS(igdm_model_create_from_graph(small, &options, &model), IGDM_ERROR_INVALID_ARGUMENT, "options.base_width");
    options.base_width = 0;
    OK(igdm_model_create_from_graph(small, &options, &model));
    options.classes = 4;
    FAILS(igdm_model_create_from_graph(small, &options, &model), IGDM_ERROR_INVALID_ARGUMENT, "options.classes: got 4, want 3");
    options.classes = 10, options.mean = &mean, options.std = &std, options.normalisation_count = 1;
    OK(igdm_model_create_from_graph(small, &options, &model));
    OK(igdm_model_get_normalisation(model, &other_mean, &other_std));
    CHECK(mean == other_mean && std == other_std);
    FAILS(igdm_model_create_from_graph(graph_of(model), &options, &model), IGDM_ERROR_INVALID_ARGUMENT, "mean: got 1");
    OK(igdm_model_create_from_graph(graph_of(model), NULL, &model));
}

/* (a part of `small`, what stands there instead, what the message says); Tests/NetworksTests has many more. */
static const char *const mistakes[][3] = {
    {"\"version\": 1", "\"version\": 99", "json: version: got 99"},
    {"\"stride\": 2", "\"stride\": 0", "json: layer \"c\": stride: got 0, want an integer, 1 ... 1024"},
    {"\"stride\": 2", "\"stride\": \"2\"", "json: layer \"c\": stride: got \"2\""},
    {"\"stride\": 2", "\"stride\": 99999999999999999999", "json: got no JSON at line 1"},
    {"\"stride\": 2", "\"stride\": 1e999", "json: got no JSON"},
    {"\"stride\": 2", "\"stride\": 2, \"stride\": 2", "duplicate"},
    {"\"stride\": 2", "\"strides\": 2", "unknown key \"strides\""},
    {"[\"a\"]", "[\"fc\"]", "layer \"p\": inputs[0]: got \"fc\""},
    {"\"relu\"", "\"re\\u0000lu\"", "json: got no JSON"},
    {"\"relu\"", "\"re\xff\"", "json: got bytes that are no UTF-8"},
    {"\"name\": \"a\"", "\"name\": \"../x\"", "name: got \"../x\""},
    {"\"kernel\": 3", "\"kernel\": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", "deep in each other"},
    {"\"output\": \"fc\"", "\"output\": \"n\"", "json: output: got \"n\""},
};

static void mistakes_are_named(void) {
    char text[2048];
    void *const untouched = (void *)text;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        igdm_model *model = untouched;
        const char *place = strstr(small, mistakes[i][0]);
        context = mistakes[i][1];
        REQUIRE(place != NULL);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - small), small, mistakes[i][1], place + strlen(mistakes[i][0]));
        FAILS(igdm_model_create_from_graph(text, NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, mistakes[i][2]);
        CHECK(model == untouched);
    }
}

/* Every prefix, every byte changed in several ways: a graph or an error, never a crash. */
static void damaged_texts_are_survived(void) {
    char text[sizeof small];
    for (size_t length = 0; length + 1 < sizeof small; length++) {
        igdm_model *model = NULL;
        memcpy(text, small, length);
        text[length] = 0;
        FAILS(igdm_model_create_from_graph(text, NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, "json");
    }
    static const char replacements[] = {'"', '{', '}', '[', ']', ',', ':', '0', '9', '-', '.', 'e', '\\', ' ', 'x', 1, (char)0xC3};
    for (size_t i = 0; i + 1 < sizeof small; i++) {
        for (size_t k = 0; k < sizeof replacements; k++) {
            igdm_model *model = NULL;
            memcpy(text, small, sizeof small);
            text[i] = replacements[k];
            int32_t status = igdm_model_create_from_graph(text, NULL, &model);
            CHECK(status == IGDM_OK || status == IGDM_ERROR_INVALID_ARGUMENT);
            CHECK((status == IGDM_OK) == (model != NULL));
            igdm_model_release(model);
        }
    }
}

static void huge_texts_are_refused(void) {
    size_t length = 64 << 20;
    char *text = malloc(length + 1);
    igdm_model *model = NULL;
    REQUIRE(text != NULL);
    const char fills[] = {'[', ' ', '1', '{', '"'};
    for (size_t i = 0; i < sizeof fills; i++) {
        memset(text, fills[i], length);
        text[length] = 0;
        FAILS(igdm_model_create_from_graph(text, NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, "json: got more than 4194304 bytes");
        text[4 << 20] = 0;
        FAILS(igdm_model_create_from_graph(text, NULL, &model), IGDM_ERROR_INVALID_ARGUMENT, "json");
    }
    free(text);
}

/* Writes another text into the dataset "graph" of a checkpoint. */
static void change_graph(const char *path, const char *text, hid_t type) {
    hsize_t length = strlen(text);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    REQUIRE(file >= 0 && H5Ldelete(file, "graph", H5P_DEFAULT) >= 0);
    if (*text) write_hdf5_array(file, "graph", type, 1, &length, text);
    H5Fclose(file);
}

static void damaged_graphs_in_files_are_named(void) {
    static const struct { const char *text, *message;
    } cases[] = {
        {"", "graph: is missing, want a dataset"},
        {"{}", "graph: format: is missing"},
        {"[", "graph: got no JSON"},
        {"\xff", "graph: got bytes that are no UTF-8"},
        {"{\"format\": \"igdm-graph\", \"version\": 2}", "graph: version: got 2"},
    };
    igdm_model *model = from_graph(small, 0), *loaded = NULL;
    make_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OK(igdm_model_save(model, path_to("g.h5")));
        change_graph(path_to("g.h5"), cases[i].text, H5T_NATIVE_UINT8);
        FAILS(igdm_model_load(path_to("g.h5"), &loaded), IGDM_ERROR_FORMAT, cases[i].message);
    }
    OK(igdm_model_save(model, path_to("g.h5")));
    change_graph(path_to("g.h5"), small, H5T_NATIVE_INT8);
    FAILS(igdm_model_load(path_to("g.h5"), &loaded), IGDM_ERROR_FORMAT, "of type int8, want uint8");
    /* Another graph than the attributes say. */
    igdm_model *other = new_model("small_cnn", 0);
    char *text = strdup(graph_of(other));
    char *classes = strstr(text, "\"outputs\": 3");
    REQUIRE(classes != NULL);
    classes[11] = '4';
    OK(igdm_model_save(model, path_to("g.h5")));
    change_graph(path_to("g.h5"), text, H5T_NATIVE_UINT8);
    FAILS(igdm_model_load(path_to("g.h5"), &loaded), IGDM_ERROR_FORMAT, "not those of the attributes");
    /* A graph of 4 GB of weights in a file of some kilobytes. */
    static const char large[] =
        "{\"format\": \"igdm-graph\", \"version\": 1, \"input\": [1, 8, 8], \"layers\": ["
        "{\"name\": \"c\", \"type\": \"conv\", \"inputs\": [\"input\"], \"channels\": 32768, \"kernel\": 1},"
        "{\"name\": \"d\", \"type\": \"conv\", \"inputs\": [\"c\"], \"channels\": 32768, \"kernel\": 1},"
        "{\"name\": \"p\", \"type\": \"global_average_pool\", \"inputs\": [\"d\"]},"
        "{\"name\": \"fc\", \"type\": \"linear\", \"inputs\": [\"p\"], \"outputs\": 3}], \"output\": \"fc\"}";
    OK(igdm_model_save(model, path_to("g.h5")));
    change_graph(path_to("g.h5"), large, H5T_NATIVE_UINT8);
    CHECK(igdm_model_load(path_to("g.h5"), &loaded) != IGDM_OK);
    free(text);
}

/* ------------------------------------------------------------------------------------------------------ weight maps */

static const char map_text[] =
    "{\"c.weight\": {\"path\": \"/layers/c/kernel\", \"transpose\": [3, 2, 0, 1]}, \"n.weight\": \"layers/n/gamma\","
    " \"n.bias\": \"layers/n/beta\", \"n.running_mean\": \"layers/n/mean\", \"n.running_var\": \"layers/n/var\","
    " \"fc.weight\": {\"path\": \"layers/fc/kernel\", \"transpose\": [1, 0]}, \"fc.bias\": \"layers/fc/bias\"}";

/* A file as Keras would have it (HWIO, double precision here), with numbers that say where they are. */
static void write_foreign(const char *path) {
    double kernel[3][3][1][4], gamma[4] = {1, 2, 3, 4}, dense[4][3], bias[1][3] = {{5, 6, 7}};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const char *const groups[] = {"layers", "layers/c", "layers/n", "layers/fc"};
    for (size_t i = 0; i < 4; i++) H5Gclose(H5Gcreate2(file, groups[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    for (int h = 0; h < 3; h++)
        for (int w = 0; w < 3; w++)
            for (int o = 0; o < 4; o++) kernel[h][w][0][o] = o + 0.1 * h + 0.01 * w;
    for (int i = 0; i < 4; i++)
        for (int o = 0; o < 3; o++) dense[i][o] = o + 0.1 * i;
    write_hdf5_array(file, "layers/c/kernel", H5T_NATIVE_DOUBLE, 4, (hsize_t[]){3, 3, 1, 4}, kernel);
    const char *const vectors[] = {"layers/n/gamma", "layers/n/beta", "layers/n/mean", "layers/n/var"};
    for (size_t i = 0; i < 4; i++) write_hdf5_array(file, vectors[i], H5T_NATIVE_DOUBLE, 1, (hsize_t[]){4}, gamma);
    write_hdf5_array(file, "layers/fc/kernel", H5T_NATIVE_DOUBLE, 2, (hsize_t[]){4, 3}, dense);
    write_hdf5_array(file, "layers/fc/bias", H5T_NATIVE_DOUBLE, 2, (hsize_t[]){1, 3}, bias);
    /* What a map must not lead to. */
    int whole[4] = {0};
    double nothing[4] = {1, 0, 1, 0};
    nothing[1] = 1e300;
    write_hdf5_array(file, "integers", H5T_NATIVE_INT, 1, (hsize_t[]){4}, whole);
    write_hdf5_array(file, "beyond", H5T_NATIVE_DOUBLE, 1, (hsize_t[]){4}, nothing);
    nothing[1] = -1;
    write_hdf5_array(file, "negative", H5T_NATIVE_DOUBLE, 1, (hsize_t[]){4}, nothing);
    H5Lcreate_external("../../etc/passwd", "/x", file, "external", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/layers/n/gamma", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "layers", file, "layers/round", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
}

static void maps_turn_axes(void) {
    igdm_model *model = from_graph(small, 0);
    float kernel[4][1][3][3], dense[3][4], bias[3];
    make_folder();
    write_foreign(path_to("k.h5"));
    OK(igdm_model_load_mapped(model, path_to("k.h5"), map_text));
    OK(igdm_model_get_parameter(model, "c.weight", &kernel[0][0][0][0], 36));
    OK(igdm_model_get_parameter(model, "fc.weight", &dense[0][0], 12));
    OK(igdm_model_get_parameter(model, "fc.bias", bias, 3));
    for (int o = 0; o < 4; o++)
        for (int h = 0; h < 3; h++)
            for (int w = 0; w < 3; w++) CHECK(kernel[o][0][h][w] == (float)(o + 0.1 * h + 0.01 * w));
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 4; i++) CHECK(dense[o][i] == (float)(o + 0.1 * i));
    CHECK(bias[0] == 5 && bias[2] == 7);
}

static void wrong_maps_are_named(void) {
    static const struct { const char *old, *new; int32_t status; const char *message;
    } cases[] = {
        {"\"n.bias\": \"layers/n/beta\",", "", IGDM_ERROR_INVALID_ARGUMENT, "map: got 1 missing: \"n.bias\""},
        {"\"n.bias\"", "\"n.bais\"", IGDM_ERROR_INVALID_ARGUMENT, "1 missing: \"n.bias\"; 1 unexpected: \"n.bais\""},
        {"\"layers/n/beta\"", "3", IGDM_ERROR_INVALID_ARGUMENT, "map: \"n.bias\": got 3"},
        {"\"layers/n/beta\"", "{}", IGDM_ERROR_INVALID_ARGUMENT, "map: \"n.bias\": path: is missing"},
        {"\"layers/n/beta\"", "\"\"", IGDM_ERROR_INVALID_ARGUMENT, "\"n.bias\": dataset name: got \"\""},
        {"[1, 0]", "[1, 1]", IGDM_ERROR_INVALID_ARGUMENT, "map: \"fc.weight\": transpose: got [1, 1]"},
        {"[1, 0]", "[1, 0, 2]", IGDM_ERROR_FORMAT, "\"fc.weight\" from dataset \"layers/fc/kernel\": got shape (4, 3), want 3 axes"},
        {"[1, 0]", "[0, 1]", IGDM_ERROR_FORMAT, "got shape (4, 3), transposed (4, 3), want (3, 4)"},
        {"[1, 0]", "[-1, 0]", IGDM_ERROR_INVALID_ARGUMENT, "transpose: got -1"},
        {"\"transpose\": [1, 0]", "\"axes\": [1, 0]", IGDM_ERROR_INVALID_ARGUMENT, "unknown key \"axes\", want path, transpose"},
        {"layers/n/beta", "layers/n/beeta", IGDM_ERROR_NOT_FOUND, "\"n.bias\": "},
        {"layers/n/beta", "layers/n", IGDM_ERROR_FORMAT, "got a group, want a dataset"},
        {"layers/n/beta", "external", IGDM_ERROR_FORMAT, "got an external link"},
        {"layers/n/beta", "soft", IGDM_ERROR_FORMAT, "got a soft link"},
        {"layers/n/beta", "../../layers/n/beta", IGDM_ERROR_NOT_FOUND, "n.bias"},
        {"layers/n/beta", "integers", IGDM_ERROR_FORMAT, "\"n.bias\" from dataset \"integers\": got int32, want float32"},
        {"layers/n/beta", "beyond", IGDM_ERROR_NOT_FINITE, "\"n.bias\": got inf at element 1"},
        {"layers/n/var", "negative", IGDM_ERROR_FORMAT, "\"n.running_var\": got a variance of -1"},
        {"layers/n/beta", "layers/round/round/round/n/beta", IGDM_OK, ""},
    };
    igdm_model *model = from_graph(small, 0), *before;
    char text[2048];
    make_folder();
    write_foreign(path_to("k.h5"));
    OK(igdm_model_copy(model, &before));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *place = strstr(map_text, cases[i].old);
        context = cases[i].message;
        REQUIRE(place != NULL);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - map_text), map_text, cases[i].new, place + strlen(cases[i].old));
        if (cases[i].status == IGDM_OK) {
            OK(igdm_model_load_mapped(model, path_to("k.h5"), text));
            continue;
        }
        FAILS(igdm_model_load_mapped(model, path_to("k.h5"), text), cases[i].status, cases[i].message);
        CHECK(same_predictions(model, before));
    }
    /* A group that contains itself, a hundred thousand times. */
    size_t turns = 100000;
    char *deep = malloc(turns * 6 + 4096);
    const char *place = strstr(map_text, "layers/n/beta");
    REQUIRE(deep != NULL && place != NULL);
    char *end = deep + sprintf(deep, "%.*slayers", (int)(place - map_text), map_text);
    for (size_t i = 0; i < turns; i++) end += sprintf(end, "/round");
    sprintf(end, "/n/beta%s", place + strlen("layers/n/beta"));
    FAILS(igdm_model_load_mapped(model, path_to("k.h5"), deep), IGDM_ERROR_INVALID_ARGUMENT, "64 deep");
    free(deep);
    FAILS(igdm_model_load_mapped(model, path_to("none.h5"), map_text), IGDM_ERROR_NOT_FOUND, "none.h5");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(graphs_come_back),
        TEST(checkpoints_carry_the_graph),
        TEST(options_say_the_same_or_nothing),
        TEST(mistakes_are_named),
        TEST(damaged_texts_are_survived),
        TEST(huge_texts_are_refused),
        TEST(damaged_graphs_in_files_are_named),
        TEST(maps_turn_axes),
        TEST(wrong_maps_are_named),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
