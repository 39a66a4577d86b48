/*
 * igdm — adversarially robust distillation with Indirect Gradient Matching, in one embeddable library
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * igdm turns a large adversarially robust image classifier (the teacher) into a small robust one (the student). Its
 * heart is IGDM (Lee, Cho, Kim: "Indirect Gradient Matching for Adversarial Robust Distillation", ICLR 2025,
 * arXiv 2312.03286): the student's input gradient is matched to the teacher's by matching f(x+d) - f(x-d).
 *
 * This header is the contract and the manual. It reads from the simple to the advanced:
 *   1. Library        version, build, errors, threads, logging
 *   2. Models         create (by name or from a layer graph), load, save, exact arithmetic, predict, gradients, weights by name
 *   3. Datasets       arrays, IDX, CIFAR and HDF5 files
 *   4. Attacks        FGSM, PGD, C&W-inf, Auto-PGD, FAB, Square, DeepFool, DDN, FMN, C&W-L2, SPSA, HopSkipJump, corruptions; on the library's models and on those of the host
 *   5. Evaluation     a table of accuracies under a list of attacks, gradient agreement with a teacher, AutoAttack
 *   6. Distillation   PGD-AT, TRADES, ARD, IAD, AKD, RSLAD, AdaAD, AdaIAD, MTARD, DGAD, SAAD, each with and without IGDM
 *
 * The whole job, errors unchecked (examples/c/distill.c checks them):
 *
 *     igdm_model *teacher, *student;  igdm_dataset *train, *test;  igdm_trainer *trainer;
 *     igdm_model_load("teacher.h5", &teacher);
 *     igdm_model_options shape;  igdm_model_options_init(&shape);
 *     shape.classes = 10; shape.channels = 1; shape.height = shape.width = 28; shape.base_width = 8;
 *     igdm_model_create("resnet8", &shape, &student);
 *     igdm_dataset_open_idx("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", 10, &train);
 *     igdm_trainer_options options;  igdm_trainer_options_init(&options);
 *     options.method = "ard"; options.igdm = 3.0; options.mirror = "clip"; options.mirror_statistics = 0;
 *     options.epsilon = 0.1; options.epochs = 5;
 *     igdm_trainer_create(student, teacher, &options, &trainer);
 *     igdm_trainer_fit(trainer, train, NULL, NULL, NULL);
 *     igdm_model_save(student, "student.h5");
 *
 * Conventions, valid everywhere unless a function says otherwise
 *   Images      float, NCHW, contiguous, each value in [0,1]. Normalisation (mean, std) lives inside the model, so
 *               epsilon and step sizes are always in units of the [0,1] pixel scale.
 *   Labels      int64_t, in 0 .. classes-1.
 *   Logits      float, (count, classes), contiguous; never probabilities.
 *   Status      every function that can fail returns int32_t: IGDM_OK (0) or a negative IGDM_ERROR_*. After an error
 *               igdm_last_error() names the argument, the value got and the value wanted. On failure outputs are
 *               untouched and nothing needs cleaning up (exceptions are stated: training that stops keeps the batches
 *               it finished). Each function lists its own errors. Beside those every function that takes a pointer,
 *               handle or struct returns INVALID_ARGUMENT for one that is NULL (where that is not allowed), misaligned,
 *               released or of a wrong size, and for a path that is not UTF-8; and OUT_OF_MEMORY where memory is short.
 *   Handles     igdm_model, igdm_checkpoint, igdm_dataset, igdm_trainer and igdm_evaluation are made by the library and released with
 *               the function of their type. Releasing NULL does nothing. A handle keeps alive what it depends on, so
 *               handles may be released in any order. A released or foreign pointer is refused, not followed.
 *   Memory      array arguments are borrowed for the duration of the call only; results are written to memory of the
 *               caller. Strings returned are owned by the library (each function says until when). Nothing that the
 *               library returns is to be passed to free().
 *   Options     every options struct starts with struct_size and has an _init function that fills in all defaults;
 *               always call it. It writes the whole struct as the library knows it, so that these structs keep their
 *               size within a soname: new options take reserved fields, which are to be left zero. Structs that the
 *               library fills in (info, report) may grow at the end; the host's struct_size says how much it takes.
 *   Threads     every function may be called from any thread. Calls on different handles run side by side; calls on
 *               one handle wait for each other (a fit holds its trainer and student until it returns). Files are HDF5
 *               through the system's library: a host that uses the same libhdf5 itself must not do so during
 *               igdm_model_load, _load_with_options, _load_weights, _load_mapped, _save, igdm_checkpoint_open,
 *               igdm_trainer_save, _resume, igdm_dataset_open_hdf5 and _stream_hdf5, and any call that takes a streamed
 *               dataset or releases it, unless that build is thread-safe.
 *               After fork() the child goes on with its copies, provided no other thread was inside a call.
 *               The library computes on its own pool of threads (igdm_set_threads), which sleep when idle; igdm_trainer_fit has
 *               one more, which ends with the call.
 *   Determinism the same library build, CPU path, exact setting (igdm_model_set_exact), inputs and seed give the same bits,
 *               for any number of threads, and a sample's prediction or attack does not depend on the other samples of
 *               its batch.
 *   Callbacks   are called on the thread that made the call which takes them. From inside a callback everything may be
 *               called on any handle except igdm_trainer_step, _fit, _average and _resume on the trainer that is calling
 *               (IGDM_ERROR_BUSY). A handle that another thread's call holds is
 *               waited for. Where two threads' callbacks each use what the other's call holds (or more threads in a
 *               circle), the last of these calls, whose waiting would never end, returns IGDM_ERROR_BUSY instead:
 *               it can be made again when the callback has returned. A non-zero return value cancels.
 *   Guest       the library never prints, exits, installs signal handlers, or changes locale or floating-point modes.
 */
#ifndef IGDM_H
#define IGDM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define IGDM_API __attribute__((visibility("default")))
#else
#define IGDM_API
#endif

/* ------------------------------------------------------------------------------------------------------------------
 * 1. Library
 * --------------------------------------------------------------------------------------------------------------- */

#define IGDM_VERSION_MAJOR 0
#define IGDM_VERSION_MINOR 1
#define IGDM_VERSION_PATCH 0
#define IGDM_VERSION_NUMBER (IGDM_VERSION_MAJOR * 10000 + IGDM_VERSION_MINOR * 100 + IGDM_VERSION_PATCH)

/* Status codes. New ones are only ever added. igdm_status_name() gives their names at run time. */
#define IGDM_OK 0
#define IGDM_ERROR_INVALID_ARGUMENT (-1) /* an argument is NULL, misaligned, out of range, or not a known name */
#define IGDM_ERROR_SHAPE (-2)            /* two things do not fit: model and images, teacher and student, weights and layer */
#define IGDM_ERROR_NOT_FOUND (-3)        /* a file, dataset or parameter of that name does not exist */
#define IGDM_ERROR_IO (-4)               /* the operating system refused: permission, full disk, ... */
#define IGDM_ERROR_FORMAT (-5)           /* a file exists but is not what it should be: truncated, foreign, wrong type */
#define IGDM_ERROR_CANCELLED (-6)        /* a callback or the cancel flag asked to stop; finished work is kept */
#define IGDM_ERROR_BUSY (-7)             /* called from inside a callback where that is not possible: see Callbacks above */
#define IGDM_ERROR_OUT_OF_MEMORY (-8)    /* the memory asked for is not to be had */
#define IGDM_ERROR_NOT_FINITE (-9)       /* a NaN or an infinity in inputs, weights or loss */
#define IGDM_ERROR_INTERNAL (-10)        /* a bug in the library; please report it with the message */
#define IGDM_ERROR_MISMATCH (-11)        /* a model does not compute what its golden block says */

/* The version of the library that is running; compare with IGDM_VERSION_NUMBER, the header compiled against. */
IGDM_API int32_t igdm_version_number(void);

/* "0.1.0". Static. */
IGDM_API const char *igdm_version_string(void);

/* One line "key=value; key=value": version, swift, openblas, hdf5, cpu (path in use: avx512, avx2 or baseline; the
 * environment variable IGDM_CPU forces one that the processor has; other values are ignored), threads. Valid until the next call of this function on this thread. */
IGDM_API const char *igdm_build_info(void);

/* The message of the last failed call on this thread; "" before the first. Valid until the next failing call on this
 * thread. Successful calls do not clear it. */
IGDM_API const char *igdm_last_error(void);

/* "IGDM_ERROR_SHAPE" for -2, and so on; "unknown" for a number that is no status. Static. */
IGDM_API const char *igdm_status_name(int32_t status);

/* How many threads compute, the calling one included: 1 .. 256. The default is the number of processors that the
 * process may use. Results do not depend on it. Errors: INVALID_ARGUMENT; BUSY from inside a callback. */
IGDM_API int32_t igdm_set_threads(int64_t threads);

/* The number of threads in use. */
IGDM_API int64_t igdm_get_threads(void);

/* Log levels. */
#define IGDM_LOG_INFO 1
#define IGDM_LOG_WARNING 2

/* Receives the library's messages (for example: "6.2 % of the mirrored pixels x-d lie outside [0,1]"). */
typedef void (*igdm_log_callback)(int32_t level, const char *message, void *user);

/* Sets the one log callback of the process; NULL (the initial state) silences the library. The message is valid during
 * the call only. Called on the thread whose call caused the message. */
IGDM_API int32_t igdm_set_log_callback(igdm_log_callback callback, void *user);

/* Names that the library knows, as one static comma-separated string each. Patterns have their numbers as capitals:
 * "wrn_D_K" stands for wrn_16_2, wrn_28_10, ... */
IGDM_API const char *igdm_architectures(void); /* "resnet8,resnet14,...": see igdm_model_create */
IGDM_API const char *igdm_attacks(void);       /* "fgsm,pgd,cw,apgd-ce,apgd-dlr,apgd-t,fab,fab-t,square,autoattack,deepfool,ddn,
                                                  fmn,spsa,noise-gaussian,noise-uniform,hopskipjump,bim,mi-fgsm,r-fgsm,
                                                  tpgd,cw-l2,gaussian_noise,..." */
IGDM_API const char *igdm_methods(void);       /* "pgd-at,ard,rslad,adaad,trades,iad,akd,adaiad,mtard,dgad,saad" */

/* ------------------------------------------------------------------------------------------------------------------
 * 2. Models
 * --------------------------------------------------------------------------------------------------------------- */

/* A classifier: architecture, options, weights. */
typedef struct igdm_model igdm_model;

typedef struct igdm_model_options {
    uint32_t struct_size;       /* set by igdm_model_options_init */
    uint32_t reserved0;
    int64_t classes;            /* number of logits, >= 2. Default 10 */
    int64_t channels;           /* input channels, >= 1. Default 3 */
    int64_t height;             /* input height in pixels. Default 32 */
    int64_t width;              /* input width in pixels. Default 32 */
    int64_t base_width;         /* channels of the first stage; 0 (default) = the architecture's own: 16 for resnet8/14/20,
                                   64 for the larger residual networks, 32 for small_cnn and mobilenet_v2 (its stem; all
                                   else in proportion, rounded up). wrn_D_K and dm_wrn_D_K have it in the name: leave 0 */
    uint64_t seed;              /* of the random initial weights. Default 0 */
    const float *mean;          /* per-channel mean subtracted from the input, -1e6 ... 1e6, or NULL (default) for none */
    const float *std;           /* per-channel divisor, 1e-6 ... 1e6, or NULL (default) for none. Both or neither */
    size_t normalisation_count; /* length of mean and of std; must equal channels where they are given. Default 0 */
    const char *shortcut_input; /* preact_resnet18: what the convolutions on its shortcuts see, "activated" (as NULL, the
                                   default) or "raw". Weights do not tell: ask where they come from. */
    int64_t final_bn;           /* preact_resnet18: 1 = BatchNorm and ReLU after the last block (the weights have bn.weight).
                                   Default 0. */
    int64_t reserved[2];
} igdm_model_options;

/* Fills in the defaults. Errors: INVALID_ARGUMENT (NULL). */
IGDM_API int32_t igdm_model_options_init(igdm_model_options *options);

/* A new model with random weights (convolutions and linear layers as PyTorch's defaults: uniform Kaiming; BatchNorm 1
 * and 0).
 *   architecture  weights have the names of the field's PyTorch definitions, in brackets where they are of a certain one
 *                 resnet8, resnet14, resnet20            He et al. 2016, section 4.2
 *                 resnet18, resnet34, resnet50           the CIFAR form: 3x3 stem, no max pooling
 *                 imagenet_resnet18, _34, _50            7x7 stem of stride 2, max pooling [torchvision]
 *                 preact_resnet18                        He et al. 2016b, pre-activation; options shortcut_input, final_bn
 *                 wrn_D_K                                D = 6n+4; Zagoruyko and Komodakis 2016 [TRADES]
 *                 dm_wrn_D_K, dm_preact_resnet18         Gowal et al. 2020: SiLU, TensorFlow's padding [DeepMind]. Their
 *                                                        files hold no mean and std: give them
 *                 mobilenet_v2                           Sandler et al. 2018, the CIFAR form with ReLU, not ReLU6
 *                 small_cnn                              four 3x3 convolutions
 *                 Each takes any number of classes and channels and any image size that it does not shrink to nothing.
 *   options       NULL = defaults
 *   model         receives the handle
 * Errors: INVALID_ARGUMENT (unknown name: the message lists the known ones; an option out of range), SHAPE (the image is too
 * small or too large for the architecture), OUT_OF_MEMORY. */
IGDM_API int32_t igdm_model_create(const char *architecture, const igdm_model_options *options, igdm_model **model);

/* A new model with random weights from a layer graph: any convolutional network, without Swift (docs/graph-format.md).
 *   json     the graph, UTF-8, at most 4 MiB
 *   options  NULL = defaults. The seed counts, and mean and std where the graph has none; the sizes are the graph's, so each
 *            is to have its default or to say the same; shortcut_input and final_bn are to have their defaults
 *   model    receives the handle; its info has the architecture "graph" and base_width 0
 * Errors: INVALID_ARGUMENT (the graph: the message names the layer and the key, what was there and what is wanted; an
 * option), OUT_OF_MEMORY. */
IGDM_API int32_t igdm_model_create_from_graph(const char *json, const igdm_model_options *options, igdm_model **model);

/* The layer graph of any model, built-in architectures included: igdm_model_create_from_graph makes of it a model with the
 * same parameter names which, with the same weights, computes the same bits.
 *   json  receives a string owned by the model, valid until its release */
IGDM_API int32_t igdm_model_get_graph(igdm_model *model, const char **json);

/* Loads a checkpoint (docs/checkpoint-format.md): architecture, options, normalisation and weights.
 * Errors: NOT_FOUND, IO, FORMAT (not HDF5, truncated, no igdm checkpoint, a dataset missing, unexpected, misshapen or of
 * the wrong type: the message names it), NOT_FINITE (NaN or infinity in the weights). */
IGDM_API int32_t igdm_model_load(const char *path, igdm_model **model);

typedef struct igdm_load_options {
    uint32_t struct_size;       /* set by igdm_load_options_init */
    uint32_t reserved0;
    int32_t allow_not_finite;   /* 1: NaN and infinity in the weights are no error, for looking at a training that diverged;
                                   computing with such a model gives NOT_FINITE, and so does saving it, unless
                                   igdm_model_set_allow_not_finite. Default 0 */
    int32_t verify;             /* 1: igdm_model_verify is part of loading, and there has to be a golden block. Default 0 */
    double tolerance;           /* of verify; 0 (default) = 1e-4 */
    int64_t reserved[4];
} igdm_load_options;

/* Fills in the defaults. Errors: INVALID_ARGUMENT (NULL). */
IGDM_API int32_t igdm_load_options_init(igdm_load_options *options);

/* igdm_model_load with options; NULL = defaults. Errors: as igdm_model_load and, with verify, as igdm_model_verify. */
IGDM_API int32_t igdm_model_load_with_options(const char *path, const igdm_load_options *options, igdm_model **model);

/* Replaces the weights of an existing model by those of an HDF5 file that has them under "weights/<name>" with the names
 * of igdm_model_parameter_name; for files written by h5py and the like, which need no igdm attributes.
 * Errors: as igdm_model_load. The model is unchanged on failure. */
IGDM_API int32_t igdm_model_load_weights(igdm_model *model, const char *path);

/* Replaces the weights of an existing model by those of an HDF5 file of any origin (Keras, MATLAB, Julia, ...).
 *   map  JSON, UTF-8, at most 4 MiB: where the file has each parameter, and how its axes are to be turned
 *        (docs/weight-map.md): {"conv1.weight": {"path": "layers/conv/kernel", "transpose": [3, 2, 0, 1]}, ...}
 * Errors: INVALID_ARGUMENT (the map: no JSON, a parameter that is missing or unknown), NOT_FOUND (the file, or a dataset in
 * it), IO, FORMAT (a dataset misshapen or of the wrong type: the message names it and what was wanted), NOT_FINITE. The
 * model is unchanged on failure. */
IGDM_API int32_t igdm_model_load_mapped(igdm_model *model, const char *path, const char *map);

/* Writes a checkpoint: to a temporary file beside `path`, flushed, then renamed, so that `path` holds either the old or
 * the new file, whole. Errors: IO (the message carries the operating system's reason), NOT_FINITE (training has driven a
 * weight to infinity: readers would refuse the file). */
IGDM_API int32_t igdm_model_save(igdm_model *model, const char *path);

/* An independent copy: same architecture, options, weights, metadata, golden block and settings. */
IGDM_API int32_t igdm_model_copy(igdm_model *model, igdm_model **copy);

typedef struct igdm_model_info {
    uint32_t struct_size;       /* set to sizeof(igdm_model_info) before the call */
    uint32_t reserved0;
    int64_t classes;
    int64_t channels;
    int64_t height;
    int64_t width;
    int64_t base_width;         /* the one in use; 0 only for a model from a graph */
    int64_t parameter_count;    /* trainable numbers (running statistics not counted) */
    int64_t multiply_adds;      /* of one forward pass of one sample, convolutions and linear layers */
    const char *architecture;   /* owned by the model, valid until its release */
    int64_t has_normalisation;  /* 1 if mean and std are set */
    const char *shortcut_input; /* the one in use, static; NULL where the architecture has no such option. */
    int64_t final_bn;           /* as in igdm_model_options. */
    int64_t reserved[2];
} igdm_model_info;

/* Describes the model. */
IGDM_API int32_t igdm_model_get_info(igdm_model *model, igdm_model_info *info);

/* Copies mean and std, each `channels` floats; 0 and 1 where the model has no normalisation. Either may be NULL. */
IGDM_API int32_t igdm_model_get_normalisation(igdm_model *model, float *mean, float *std);

/* How 3x3 convolutions are computed, in every call that computes with this model: predictions, gradients, attacks,
 * evaluations, training.
 *   exact  0 (initially): by Winograd's algorithm F(4x4,3x3) on the CPU paths avx2 and avx512, where it saves a fifth of the
 *          multiplications or more (whole tiles save three quarters, with stride 2 44 %). 1: by plain sums of products, as on the path baseline, where the setting changes
 *          nothing
 * Both round in single precision; the algorithm's rounding errors are a few times larger and still those of single
 * precision (docs/numerics.md has them kernel by kernel). Networks made of such convolutions take two to four times as
 * long with 1; MobileNetV2, whose 3x3 convolutions are depthwise, does not change.
 * The setting belongs to the handle: copies inherit it, also the copy of its teacher that a trainer makes; checkpoints do
 * not hold it. It may be changed at any time. A trainer follows its student's: the next batch is computed the new way.
 * Errors: INVALID_ARGUMENT (neither 0 nor 1). */
IGDM_API int32_t igdm_model_set_exact(igdm_model *model, int32_t exact);

/* Writes 1 where the model is exact, else 0. */
IGDM_API int32_t igdm_model_get_exact(igdm_model *model, int32_t *exact);

/* Whether weights may be NaN or infinite where they are given to this model and where it is saved: for a training that
 * diverged, which somebody wants to look at or to convert.
 *   allow  0 (initially): igdm_model_set_parameter, igdm_model_load_weights, igdm_model_load_mapped and igdm_model_save give
 *          NOT_FINITE. 1: they take such weights as they are (of float64, what float32 does not reach is an infinity). A
 *          file saved so loads with allow_not_finite only. Computing gives NOT_FINITE as ever
 * Copies inherit the setting; checkpoints do not hold it. Errors: INVALID_ARGUMENT (neither 0 nor 1). */
IGDM_API int32_t igdm_model_set_allow_not_finite(igdm_model *model, int32_t allow);

/* Writes 1 where the model takes weights that are not finite, else 0. */
IGDM_API int32_t igdm_model_get_allow_not_finite(igdm_model *model, int32_t *allow);

/* Logits in inference mode (running statistics).
 *   images  (count, channels, height, width) in [0,1]
 *   logits  (count, classes), written
 * Errors: INVALID_ARGUMENT (a value outside [0,1]), NOT_FINITE (NaN or infinity in images, or in the logits because the
 * weights are extreme: the message names the sample). */
IGDM_API int32_t igdm_model_predict(igdm_model *model, const float *images, size_t count, float *logits);

/* Vector-Jacobian product in inference mode: gradient = d(sum(cotangent * logits)) / d(images).
 *   cotangent  (count, classes)
 *   logits     (count, classes), written; may be NULL
 *   gradient   (count, channels, height, width), written
 * Errors: as igdm_model_predict; NOT_FINITE for NaN or infinity in cotangent and gradient too. */
IGDM_API int32_t igdm_model_input_gradient(igdm_model *model, const float *images, const float *cotangent, size_t count,
                                           float *logits, float *gradient);

/* Parameters and buffers (weights, biases, running_mean, running_var) in a fixed order, under the names that the field's
 * PyTorch definitions use ("layer1.0.conv1.weight"). */

/* How many there are. */
IGDM_API int32_t igdm_model_parameter_count(igdm_model *model, size_t *count);

/* Name and shape of parameter `index`.
 *   name        receives a string owned by the model, valid until its release
 *   shape       receives up to 4 dimensions (convolutions OIHW, linear (out, in)); room for 4
 *   dimensions  receives how many of them are used
 *   trainable   receives 1 for weights and biases, 0 for running statistics
 * Any of the four may be NULL. Errors: INVALID_ARGUMENT (index not below the count). */
IGDM_API int32_t igdm_model_parameter_info(igdm_model *model, size_t index, const char **name, int64_t *shape,
                                           int64_t *dimensions, int32_t *trainable);

/* Copies a parameter out; `count` is the capacity of `values` in floats and must equal the parameter's size.
 * Errors: NOT_FOUND (no such name), SHAPE (count). */
IGDM_API int32_t igdm_model_get_parameter(igdm_model *model, const char *name, float *values, size_t count);

/* Copies a parameter in. Errors: NOT_FOUND, SHAPE, NOT_FINITE; INVALID_ARGUMENT (a negative running variance). */
IGDM_API int32_t igdm_model_set_parameter(igdm_model *model, const char *name, const float *values, size_t count);

/* Copies a parameter out to an array of any layout: the element with the indices (i, j, k, l) goes to
 * values[i*strides[0] + j*strides[1] + k*strides[2] + l*strides[3]], one stride for each dimension of the parameter; the
 * array's other elements stay as they are. A host with column-major arrays (Julia, MATLAB, Fortran) so has W(i,j,k,l) with
 * the strides 1, O, O*I, O*I*H for a shape O, I, H, W; one with channels last has H*W*I, 1, W*I, I.
 *   count       floats that `values` has room for
 *   strides     in floats, positive, such that no two elements share a place; those of dimensions of length 1 do not matter
 *   dimensions  how many strides: those of igdm_model_parameter_info
 * Errors: NOT_FOUND (no such name), SHAPE (dimensions; an element would lie beyond count), INVALID_ARGUMENT (a stride). */
IGDM_API int32_t igdm_model_get_parameter_strided(igdm_model *model, const char *name, float *values, size_t count,
                                                  const int64_t *strides, int64_t dimensions);

/* Copies a parameter in from an array of any layout, as igdm_model_get_parameter_strided copies it out.
 * Errors: those too; NOT_FINITE; INVALID_ARGUMENT (a negative running variance). */
IGDM_API int32_t igdm_model_set_parameter_strided(igdm_model *model, const char *name, const float *values, size_t count,
                                                  const int64_t *strides, int64_t dimensions);

/* Where a parameter lies, contiguous, last dimension fastest; to be read without copying, never written. Valid until the
 * model's release: training and setting change the values in place, so reading while another thread does that gives a
 * mixture. Errors: NOT_FOUND. */
IGDM_API int32_t igdm_model_parameter_data(igdm_model *model, const char *name, const float **values);

/* Metadata: free texts under keys, for people and programs that ask where a model comes from. No computation uses them;
 * save, load and copy keep them. Keys with a meaning of their own:
 *   source         what the weights were made from: an id ("Wang2023Better_WRN-28-10"), a file name, an address
 *   source_sha256  SHA-256 of that file, 64 hexadecimal digits
 *   dataset        what the model was trained on: "cifar10", "cifar100", ...
 * Texts that these functions return are valid until the next call of the same function on the same thread. */

/* Sets the text of a key.
 *   key    UTF-8, 1 ... 255 bytes, without / and control characters; at most 1000 of them
 *   value  UTF-8, at most 60000 bytes; NULL removes the key
 * Errors: INVALID_ARGUMENT (what goes beyond that). */
IGDM_API int32_t igdm_model_set_metadata(igdm_model *model, const char *key, const char *value);

/* The text of a key. Errors: NOT_FOUND (no such key). */
IGDM_API int32_t igdm_model_get_metadata(igdm_model *model, const char *key, const char **value);

/* How many keys there are. */
IGDM_API int32_t igdm_model_metadata_count(igdm_model *model, size_t *count);

/* Key and text number `index`, in the order of the keys' bytes. Either pointer may be NULL.
 * Errors: INVALID_ARGUMENT (index not below the count). */
IGDM_API int32_t igdm_model_metadata_entry(igdm_model *model, size_t index, const char **key, const char **value);

/* The golden block: images with the logits that the source of the weights (PyTorch, Keras, ...) computes for them. Who
 * converts weights sets it; who loads them verifies with it that they still mean the same. save, load and copy keep it; it
 * goes when the weights change (training, igdm_model_set_parameter, igdm_model_load_weights), for then it says nothing of
 * them any more. */

/* Sets the golden block; to be called when all weights are there.
 *   inputs  (count, channels, height, width) in [0,1], copied
 *   count   samples; 0 removes the block, and the other arguments are not looked at
 *   logits  (count, classes) that the source computes, copied; NULL: those that this model computes
 *   source  what computed them, UTF-8, at most 60000 bytes; NULL = ""
 * Errors: INVALID_ARGUMENT (a value outside [0,1]; count), NOT_FINITE (inputs or logits). */
IGDM_API int32_t igdm_model_set_golden(igdm_model *model, const float *inputs, size_t count, const float *logits,
                                       const char *source);

/* How many samples the golden block has (0: there is none) and what computed its logits (valid until the next call of this
 * function on this thread). Either pointer may be NULL. */
IGDM_API int32_t igdm_model_golden_info(igdm_model *model, size_t *count, const char **source);

/* Copies the golden block: inputs (count, channels, height, width) and logits (count, classes). Either may be NULL.
 * Errors: NOT_FOUND (there is none), SHAPE (count is not that of igdm_model_golden_info). */
IGDM_API int32_t igdm_model_get_golden(igdm_model *model, float *inputs, float *logits, size_t count);

/* Compares the model's logits with the golden block's.
 *   tolerance         largest difference allowed, relative to the largest magnitude among the block's logits (absolute
 *                     where they are all zero); 0 = 1e-4, which rounding errors in single precision stay far below
 *   worst_difference  receives the largest difference, measured so; may be NULL
 *   worst_sample      receives the sample that has it; may be NULL
 * Errors: MISMATCH (the difference is larger than the tolerance: the message names sample and class; the two outputs are
 * written all the same), NOT_FOUND (there is no golden block), NOT_FINITE (the model computes a NaN or infinity),
 * INVALID_ARGUMENT (tolerance negative or not finite). */
IGDM_API int32_t igdm_model_verify(igdm_model *model, double tolerance, double *worst_difference, size_t *worst_sample);

/* Releases the handle. */
IGDM_API void igdm_model_release(igdm_model *model);

/* What a checkpoint file says of its model, without the memory and the time for its weights. The file is closed again when
 * igdm_checkpoint_open returns. */
typedef struct igdm_checkpoint igdm_checkpoint;

typedef struct igdm_checkpoint_info {
    uint32_t struct_size;       /* set to sizeof(igdm_checkpoint_info) before the call */
    uint32_t reserved0;
    int64_t format_version;     /* of the file's layout; 2 is the newest */
    int64_t file_bytes;         /* length of the file */
    const char *architecture;   /* strings are owned by the handle, valid until its release */
    int64_t classes;
    int64_t channels;
    int64_t height;
    int64_t width;
    int64_t base_width;
    int64_t parameter_count;    /* trainable numbers (running statistics not counted) */
    int64_t multiply_adds;      /* of one forward pass of one sample, convolutions and linear layers */
    int64_t has_normalisation;  /* 1 if mean and std are set */
    int64_t array_count;        /* weights, biases and running statistics: for igdm_checkpoint_parameter_info */
    int64_t metadata_count;     /* for igdm_checkpoint_metadata_entry */
    int64_t golden_count;       /* samples of the golden block; 0: there is none */
    const char *golden_source;  /* what computed its logits; "" where that is not known */
    const char *shortcut_input; /* as in igdm_model_info */
    int64_t final_bn;
    int64_t reserved[1];
} igdm_checkpoint_info;

/* Reads the description. It is checked against the file's arrays: all weights are there with the right shapes and type; only
 * their values are not looked at.
 * Errors: NOT_FOUND, IO, FORMAT, as igdm_model_load. */
IGDM_API int32_t igdm_checkpoint_open(const char *path, igdm_checkpoint **checkpoint);

/* Describes the checkpoint. */
IGDM_API int32_t igdm_checkpoint_get_info(igdm_checkpoint *checkpoint, igdm_checkpoint_info *info);

/* As igdm_model_get_normalisation. */
IGDM_API int32_t igdm_checkpoint_get_normalisation(igdm_checkpoint *checkpoint, float *mean, float *std);

/* The layer graph of the model that igdm_model_load would make of the file, as igdm_model_get_graph gives it.
 *   json  receives a string owned by this handle, valid until its release */
IGDM_API int32_t igdm_checkpoint_get_graph(igdm_checkpoint *checkpoint, const char **json);

/* As igdm_model_parameter_info; the name is owned by this handle. */
IGDM_API int32_t igdm_checkpoint_parameter_info(igdm_checkpoint *checkpoint, size_t index, const char **name,
                                                int64_t *shape, int64_t *dimensions, int32_t *trainable);

/* As igdm_model_metadata_entry; the strings are owned by this handle, valid until its release. */
IGDM_API int32_t igdm_checkpoint_metadata_entry(igdm_checkpoint *checkpoint, size_t index, const char **key,
                                                const char **value);

/* Releases the handle. */
IGDM_API void igdm_checkpoint_release(igdm_checkpoint *checkpoint);

/* ------------------------------------------------------------------------------------------------------------------
 * 3. Datasets
 * --------------------------------------------------------------------------------------------------------------- */

/* Images with labels, in memory (8 bits a value where the source has 8 bits) or streamed from a file. */
typedef struct igdm_dataset igdm_dataset;

typedef struct igdm_dataset_info {
    uint32_t struct_size;       /* set to sizeof(igdm_dataset_info) before the call */
    uint32_t reserved0;
    int64_t count;
    int64_t classes;
    int64_t channels;
    int64_t height;
    int64_t width;
    int64_t has_soft_labels;    /* 1: see igdm_dataset_with_soft_labels; 0 */
    int64_t has_bytes;          /* 1: values are kept as bytes, which stand for byte / 255; 0: as floats */
    int64_t reserved[2];
} igdm_dataset_info;

/* From arrays, which are copied.
 *   images  (count, channels, height, width) float in [0,1]
 *   labels  (count)
 * Errors: INVALID_ARGUMENT (a label out of range, a value outside [0,1], a dimension < 1), NOT_FINITE. */
IGDM_API int32_t igdm_dataset_from_floats(const float *images, const int64_t *labels, size_t count, int64_t channels,
                                          int64_t height, int64_t width, int64_t classes, igdm_dataset **dataset);

/* The same from bytes (0 .. 255, divided by 255 when read). Errors: INVALID_ARGUMENT (a label out of range, a
 * dimension < 1). */
IGDM_API int32_t igdm_dataset_from_bytes(const uint8_t *images, const int64_t *labels, size_t count, int64_t channels,
                                         int64_t height, int64_t width, int64_t classes, igdm_dataset **dataset);

/* MNIST's IDX files, plain or gzip-compressed. Errors: NOT_FOUND, IO, FORMAT, INVALID_ARGUMENT (classes or a label out of
 * range). */
IGDM_API int32_t igdm_dataset_open_idx(const char *images_path, const char *labels_path, int64_t classes,
                                       igdm_dataset **dataset);

/* A folder of CIFAR binary files.
 *   folder   cifar-10-batches-bin or cifar-100-binary, unpacked
 *   classes  10 or 100 (fine labels)
 *   split    "train" or "test"
 * Errors: NOT_FOUND, IO, FORMAT, INVALID_ARGUMENT (classes, split or a label out of range). */
IGDM_API int32_t igdm_dataset_open_cifar(const char *folder, int64_t classes, const char *split, igdm_dataset **dataset);

/* An HDF5 file with a dataset of images, (N,C,H,W), uint8 or float32 in [0,1], and one of labels, (N), any integer type.
 * Labels can also be a table (N,classes) of floating-point numbers: soft labels, see igdm_dataset_with_soft_labels.
 *   images_name, labels_name  paths inside the file; NULL = "images" and "labels"
 *   classes                   0 = largest label + 1, or as many as soft labels have
 * Errors: NOT_FOUND, IO, FORMAT, INVALID_ARGUMENT (classes, a label or a value out of range), NOT_FINITE (a value). */
IGDM_API int32_t igdm_dataset_open_hdf5(const char *path, const char *images_name, const char *labels_name,
                                        int64_t classes, igdm_dataset **dataset);

/* The same, but the images stay in the file, of which each batch reads its own: for data larger than the memory. All results are
 * the same bits as with igdm_dataset_open_hdf5. The file stays open until the dataset, its subsets, and what works with them are
 * released. Whatever reads images may then fail too, naming file and rows: FORMAT (damaged), IO (the file was written to since it
 * was opened), INVALID_ARGUMENT and NOT_FINITE (a value of float images, which are not looked at before they are read); what was
 * read until then may lie in the images of igdm_dataset_read and igdm_evaluation_get_samples already.
 * igdm_trainer_fit then leaves the student after the last batch that was whole. It reads the whole file once at its beginning,
 * for the check sum by which igdm_trainer_resume knows the data.
 * Errors: as igdm_dataset_open_hdf5; FORMAT for chunks of more than 32 MiB (each read decompresses whole chunks: best are chunks of
 * one or a few images, or none). */
IGDM_API int32_t igdm_dataset_stream_hdf5(const char *path, const char *images_name, const char *labels_name,
                                          int64_t classes, igdm_dataset **dataset);

/* `count` samples from `first` on, sharing the images of `dataset`. Errors: INVALID_ARGUMENT (outside the dataset). */
IGDM_API int32_t igdm_dataset_subset(igdm_dataset *dataset, size_t first, size_t count, igdm_dataset **subset);

/* The samples with these numbers, in this order, sharing the images of `dataset`; a number may come several times.
 *   samples  (count), each at least 0 and less than the dataset's count
 * Errors: INVALID_ARGUMENT (no number, or one outside the dataset). */
IGDM_API int32_t igdm_dataset_select(igdm_dataset *dataset, const int64_t *samples, size_t count, igdm_dataset **selection);

/* Holds out `count` samples, for a validation: of each class its part (count times the class's share of the dataset, rounded down,
 * and one more where most was cut off, until they are `count`), the last ones of it. Nothing is random. Both parts keep the order
 * of `dataset` and share its images.
 *   others, held_out  receive the handles
 * Errors: INVALID_ARGUMENT (count 0, or not less than the dataset's). */
IGDM_API int32_t igdm_dataset_hold_out(igdm_dataset *dataset, size_t count, igdm_dataset **others, igdm_dataset **held_out);

/* The dataset with soft labels in the place of its labels, sharing the images: the probabilities that a teacher, or several people,
 * give the classes. Training compares with them in the cross-entropy of outer losses: that of pgd-at, trades, akd, and of ard with
 * adversarial_weight below 1. Everything else (the other methods, the adversary of cross-entropy, accuracies, attacks,
 * evaluations) takes the most probable class, of equals the first. Subsets and selections keep them.
 *   soft_labels  (count, classes), copied; at least 0, each row of sum 1 (but for 0.01)
 * Errors: INVALID_ARGUMENT, NOT_FINITE. */
IGDM_API int32_t igdm_dataset_with_soft_labels(igdm_dataset *dataset, const float *soft_labels, igdm_dataset **labelled);

/* Describes the dataset. */
IGDM_API int32_t igdm_dataset_get_info(igdm_dataset *dataset, igdm_dataset_info *info);

/* Copies `count` samples from `first` on.
 *   images  (count, channels, height, width) float, may be NULL
 *   labels  (count), may be NULL
 * Errors: INVALID_ARGUMENT (outside the dataset). */
IGDM_API int32_t igdm_dataset_read(igdm_dataset *dataset, size_t first, size_t count, float *images, int64_t *labels);

/* Copies the probabilities of `count` samples from `first` on; of a dataset without soft labels each sample's label has all.
 *   soft_labels  (count, classes)
 * Errors: INVALID_ARGUMENT (outside the dataset). */
IGDM_API int32_t igdm_dataset_read_soft_labels(igdm_dataset *dataset, size_t first, size_t count, float *soft_labels);

/* Releases the handle. */
IGDM_API void igdm_dataset_release(igdm_dataset *dataset);

/* ------------------------------------------------------------------------------------------------------------------
 * 4. Attacks
 * --------------------------------------------------------------------------------------------------------------- */

/* How far a long call has come. `done` and `total` count samples in attacks and evaluations. */
typedef struct igdm_progress {
    uint32_t struct_size;
    uint32_t reserved0;
    const char *stage;          /* what is being done: "clean", "pgd-20", ...; valid during the call */
    int64_t done;
    int64_t total;
    double seconds;             /* since the stage began */
    double eta_seconds;         /* expected until the stage ends; -1 = cannot be told yet */
    double accuracy;            /* of all samples, the part that no attack of an igdm_autoattack has broken so far; -1 = not counted */
    int64_t reserved[2];
} igdm_progress;

/* Called on the thread of the call after each internal batch, under attacks in stages after each pass; in long batches of the other
 * attacks four times a second too. Non-zero cancels. (`cancel` of an option struct is looked at before every pass.) */
typedef int32_t (*igdm_progress_callback)(const igdm_progress *progress, void *user);

/* What the authors of the attacks that look for the nearest point, and of those without gradients, have settled. */
typedef struct igdm_search_tuning {
    uint32_t struct_size;       /* set by igdm_search_tuning_init */
    uint32_t reserved0;
    double deepfool_overshoot;  /* how far to go beyond the border, as a part of the way. Default 0.02 */
    double ddn_gamma;           /* by what part the radius of the search changes from step to step. Default 0.05 */
    double ddn_radius;          /* its first value. Default 1 */
    double fmn_step;            /* first and last step (L2 length); between them they fall as half a cosine. Default 1 */
    double fmn_last_step;       /* Default 0.01 */
    double fmn_gamma;           /* by what part the radius of the search changes, in the first and the last step. Default 0.05 */
    double fmn_last_gamma;      /* Default 0.001 */
    double spsa_delta;          /* how far from the iterate the loss is measured, in every pixel. Default 0.01 */
    double spsa_rate;           /* Adam's learning rate. Default 0.01 */
    int64_t spsa_directions;    /* random directions for a step, two queries each. Default 128 */
    int64_t jump_directions;    /* hopskipjump: directions tried in the first step; the n-th takes sqrt(n) times as many. Default 100 */
    int64_t jump_most_directions; /* and no step more than that. Default 10000 */
    double jump_gamma;          /* hopskipjump: how exactly the border is found (gamma of the paper). Default 1 */
    double cw_rate;             /* cw-l2: Adam's learning rate. Default 0.01 */
    double cw_constant;         /* the first weight c of the margin beside the squared distance. Default 0.001 */
    int64_t cw_searches;        /* how many c are tried, each for `steps` steps: tenfold until one succeeds, then halving. Default 9 */
    double cw_confidence;       /* the margin of the logits that a success must have (kappa of the paper). Default 0 */
    int64_t cw_abort_early;     /* 1 (default): a c is given up when a tenth of its steps has not lowered the objective; 0: never */
    int64_t reserved[3];
} igdm_search_tuning;

/* Fills in the defaults. */
IGDM_API int32_t igdm_search_tuning_init(igdm_search_tuning *tuning);

/* What the authors of Auto-PGD, FAB, Square and MI-FGSM have settled; to be changed for experiments only. */
typedef struct igdm_attack_tuning {
    uint32_t struct_size;       /* set by igdm_attack_tuning_init */
    int32_t reference_quirks;   /* 1: apgd-* judge their first window as the published code does, which compares the first loss
                                   with 0; 0 (default): with that of the start */
    double rho;                 /* apgd-*: the part of the steps that must raise the loss for the step size to stay. Default 0.75 */
    double fab_alpha;           /* fab*: largest weight of the original image. Default 0.1 */
    double fab_eta;             /* fab*: overshoot beyond the border. Default 1.05 */
    double fab_beta;            /* fab*: how much of the distance remains on the way back from a success. Default 0.9 */
    double square_share;        /* square: the part of the image that the first windows cover. Default 0.8 */
    const igdm_search_tuning *search; /* of the other attacks in stages, or NULL (default): see there */
    int32_t large_radii;        /* apgd-* in l1: 1: 3 and 2 times epsilon for 30 % of the steps each, from the best point of one to
                                   the next, and only then epsilon, as in AutoAttack; 0 (default) */
    int32_t reserved0;
    double momentum_decay;      /* mi-fgsm: what remains of the accumulated gradients from step to step (mu of the paper), 0 ... 10.
                                   Default 1 */
    int64_t reserved[1];
} igdm_attack_tuning;

/* Fills in the defaults. */
IGDM_API int32_t igdm_attack_tuning_init(igdm_attack_tuning *tuning);

typedef struct igdm_attack_options {
    uint32_t struct_size;       /* set by igdm_attack_options_init */
    int32_t random_start;       /* 1 (default): start at a random point of the ball (tpgd: at x and noise of 0.001); 0: start at x.
                                   fgsm, bim and mi-fgsm start at x always, r-fgsm at a random corner */
    const char *attack;         /* "pgd" (default); "fgsm": one step of size epsilon; "cw": PGD on the margin loss with
                                   kappa, 30 steps; "bim": PGD from x; "mi-fgsm": the same with momentum; "r-fgsm" (linf): to a
                                   random corner of the cube of size epsilon - step, then one step; "tpgd": PGD on the loss
                                   "kl". In stages, see below: "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t",
                                   "square", "autoattack", "deepfool", "ddn", "fmn", "cw-l2", "spsa", "noise-gaussian",
                                   "noise-uniform", "hopskipjump"; and corruptions */
    const char *norm;           /* "linf" (default), "l2" or "l1" (projected onto ball and box at once); fmn also "l0", the number
                                   of values changed; ddn and cw-l2 "l2" alone; deepfool and hopskipjump "linf" and "l2" */
    const char *loss;           /* "ce" (default), "margin" (max over others minus true logit, capped at kappa), "kl" (from the
                                   model's clean output, or from target_logits), "dlr" (difference of logits ratio). Of pgd,
                                   fgsm, bim, mi-fgsm and r-fgsm; the other attacks have theirs */
    double epsilon;             /* radius, >= 0. Default 8/255 */
    double step;                /* step size, 0 (default) = epsilon/4 (mi-fgsm: epsilon/steps, r-fgsm: epsilon/2); at most epsilon. 0
                                   for attacks in stages */
    int64_t steps;              /* iterations; 0 (default) = the attack's own: pgd 20, cw 30, bim, mi-fgsm and tpgd 10, square 5000 (queries), deepfool 50,
                                   hopskipjump 64, cw-l2 1000 (for each c), corruptions 5, the others in stages 100 (noise-*: draws). fgsm and
                                   r-fgsm have 1 */
    int64_t restarts;           /* independent runs, the strongest kept. Default 1; at most 65535, of apgd-t and fab-t over the number
                                   of other classes (1000 at most) */
    double kappa;               /* confidence of the margin loss. Default 50 */
    uint64_t seed;              /* of the random starts. Default 0 */
    int32_t early_stop;         /* 1: a sample rests at its first misclassified iterate; 0 (default): the last iterate counts */
    int32_t reserved0;
    int64_t first_index;        /* index of the first sample in its dataset: keys its random numbers. At most INT64_MAX - count.
                                   Default 0 */
    const float *target_logits; /* (count, classes) for the "kl" loss, or NULL (default) */
    igdm_progress_callback progress; /* or NULL (default) */
    void *user;                 /* given to progress */
    const volatile int32_t *cancel; /* a flag that any thread may set non-zero to stop, or NULL (default) */
    int64_t targets;            /* apgd-t, fab-t: how many classes to go for, those with the largest clean logits first; 0
                                   (default) = 9, or all others where they are fewer */
    int64_t eot;                /* passes over which a gradient is averaged, for models that are random (expectation over
                                   transformation, Athalye et al. 2018). 0 (default) = 1. With more, what the attacks in stages
                                   find counts only if it is misclassified once more; those that would end at their first
                                   success or look for the nearest point ask four times */
    const igdm_attack_tuning *tuning; /* or NULL (default): see there */
    const char *target;         /* the class to reach: "least-likely": that with the smallest logit of the clean image, other than the
                                   label; "random": any other than the label, each as likely; "3": that one; "labels": `labels`
                                   are the classes to reach. NULL (default): any but the label. Success is then to be classified
                                   as the target. Of fgsm, pgd, cw, bim, mi-fgsm and r-fgsm (losses ce and margin), apgd-ce, apgd-t,
                                   fab-t, square, ddn, fmn, cw-l2, spsa, noise-*, and hopskipjump, which reaches only the
                                   classes that random images are taken for */
    const int64_t *indices;     /* (count) places of the samples in their dataset, each at least 0, in the place of first_index, ...: a
                                   sample with its index has the same result in any order and beside any others. NULL (default) */
} igdm_attack_options;

/* Fills in the defaults. */
IGDM_API int32_t igdm_attack_options_init(igdm_attack_options *options);

/* Attacks `count` samples: looks for x' with ||x'-x|| <= epsilon, x' in [0,1], that the model misclassifies (Madry et al.
 * 2018; Goodfellow et al. 2015; Carlini and Wagner 2017).
 *
 * Attacks in stages, of the AutoAttack family (docs/attacks.md compares them with the published code):
 *   apgd-ce, apgd-dlr, apgd-t   Auto-PGD (Croce and Hein 2020, "Reliable evaluation ...") on the cross-entropy, the
 *                               difference of logits ratio, and that towards `targets` classes one by one
 *   fab, fab-t                  FAB (Croce and Hein 2020, "Minimally distorted ..."), untargeted and targeted
 *   square                      Square attack (Andriushchenko et al. 2020): random search, no gradients
 *   autoattack                  apgd-ce, apgd-t, fab-t, square, each on what those before it have not broken
 * Others in stages. The first four and hopskipjump look for the nearest misclassified point, and succeed where that lies in the
 * ball: with a large epsilon the report's distances are those of the nearest points found. Restarts begin at random points.
 *   deepfool                    DeepFool (Moosavi-Dezfooli et al. 2016): to the nearest border, taken for a hyperplane
 *   ddn                         DDN (Rony et al. 2019), in L2
 *   fmn                         FMN (Pintor et al. 2021)
 *   cw-l2                       C&W in L2 (Carlini and Wagner 2017): Adam over w, x' = (tanh w + 1) / 2, for several weights c
 *   hopskipjump                 HopSkipJump (Chen et al. 2020): sees only which class the model chooses
 *   spsa                        SPSA (Uesato et al. 2018): climbs the margin by differences, no gradients
 *   noise-gaussian, -uniform    random images at the distance epsilon
 *   gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog,
 *   brightness, contrast, elastic_transform, pixelate, jpeg_compression
 *                               common corruptions (Hendrycks and Dietterich 2019) with the constants of CIFAR-10-C; steps is the
 *                               severity, 1 ... 5 (default 5), and the ball has no meaning
 * They leave images that are misclassified already, and those that they cannot break, as they are; restarts and targets end
 * with the first success; first_success of a report counts the passes that the sample had made before that iterate.
 *
 * Those not in stages (fgsm, pgd, cw, bim, mi-fgsm, r-fgsm, tpgd) move every image, one that is misclassified already too, as
 * adversarial training needs it (with early_stop one rests at the first iterate that is misclassified, which can be the image).
 * With a target "misclassified already" means: taken for the target. igdm_evaluate gives all attacks only what is
 * classified correctly.
 *
 *   images       (count, channels, height, width)
 *   labels       (count)
 *   options      NULL = defaults
 *   adversarial  same shape as images, written; may be the same memory as images
 *   success      (count) uint8, 1 where the model misclassifies the result (with options.target: takes it for the target); may
 *                be NULL
 * Errors: INVALID_ARGUMENT (an option, value or label out of range), NOT_FINITE (in images, target_logits or the model's
 * output), CANCELLED. */
IGDM_API int32_t igdm_attack(igdm_model *model, const float *images, const int64_t *labels, size_t count,
                             const igdm_attack_options *options, float *adversarial, uint8_t *success);

/* What an attack did. The host sets the arrays that it wants, room for `count` values each; the call fills them in, and
 * the totals. */
typedef struct igdm_attack_report {
    uint32_t struct_size;       /* set by igdm_attack_report_init */
    uint32_t keep_partial;      /* 1: where CANCELLED, NOT_FINITE or another error ends the attack on its way, what was found so far
                                   is written, here and to the images: of a sample whose first run was under way the last iterate that
                                   was misclassified, with success 1; other samples not finished as they were, with success 0 and
                                   first_success as far as known. 0 (default): outputs stay untouched then */
    /* Of each sample; NULL (default): not wanted */
    uint8_t *success;           /* 1 where the model misclassifies the result; with a target: takes it for the target */
    int64_t *first_success;     /* how many steps the sample had taken, those of earlier restarts included, when an iterate was
                                   first misclassified: 0 = at a start; -1 = none was. The result can still be classified
                                   correctly: without early_stop the last iterate counts */
    double *linf;               /* distance of the result x' from the image x: max |x'-x| */
    double *l2;                 /* ||x'-x||_2 */
    double *l1;                 /* sum |x'-x| */
    int64_t *forwards;          /* passes of the sample through the model */
    int64_t *backwards;         /* those of them whose gradient was taken back to the image */
    /* Of the whole call; written */
    int64_t successes;          /* samples whose result is misclassified */
    int64_t total_forwards;     /* sums over the samples */
    int64_t total_backwards;
    double seconds;             /* wall time */
    uint8_t *quantised;         /* of each sample, or NULL (default): 1 where the result is a success and stays one when its values are
                                   rounded to multiples of 1/255, as in a file of bytes. Rounding may leave the ball. Costs a
                                   pass for each success, which the counts leave out */
    int64_t quantised_successes; /* written: their number; -1 without the array */
    int64_t reserved[2];
} igdm_attack_report;

/* Fills in the defaults: no arrays. */
IGDM_API int32_t igdm_attack_report_init(igdm_attack_report *report);

/* igdm_attack, to the same images, with more told about it.
 *   report  may be NULL
 * Errors: as igdm_attack. */
IGDM_API int32_t igdm_attack_with_report(igdm_model *model, const float *images, const int64_t *labels, size_t count,
                                         const igdm_attack_options *options, float *adversarial,
                                         igdm_attack_report *report);

/* A pass that the host is asked to make through its model. */
typedef struct igdm_host_pass {
    uint32_t struct_size;
    uint32_t reserved0;
    const float *images;        /* (count, channels, height, width) in [0,1] */
    size_t count;               /* >= 1 */
    const float *cotangent;     /* NULL: write logits. Else (count, classes): write the gradient of sum(cotangent * logits) by
                                   the images, which are those of the call before this one */
    float *logits;              /* (count, classes); NULL where cotangent is given */
    float *gradient;            /* like the images; NULL where cotangent is not given */
    int64_t reserved[4];
} igdm_host_pass;

/* Makes the pass. Non-zero cancels. */
typedef int32_t (*igdm_host_callback)(const igdm_host_pass *pass, void *user);

/* A classifier that the host computes: any network of any framework, an ensemble of the library's models, ... A sample's
 * logits should not depend on the others of its batch, nor on the moment. */
typedef struct igdm_host_model {
    uint32_t struct_size;       /* set by igdm_host_model_init */
    int32_t has_gradient;       /* 1 (default); 0: only attacks without gradients are possible: square,
                                   spsa, hopskipjump, noise-*, corruptions */
    int64_t classes;            /* >= 2. Default 10 */
    int64_t channels;           /* Default 3 */
    int64_t height;             /* Default 32 */
    int64_t width;              /* Default 32 */
    igdm_host_callback evaluate;
    void *user;                 /* given to evaluate */
    int64_t reserved[4];
} igdm_host_model;

/* Fills in the defaults; evaluate is NULL and has to be set. */
IGDM_API int32_t igdm_host_model_init(igdm_host_model *model);

/* igdm_attack_with_report on a model of the host.
 * Errors: as there; CANCELLED also where evaluate returns non-zero; NOT_FINITE for its results, naming the sample. */
IGDM_API int32_t igdm_attack_host_model(const igdm_host_model *model, const float *images, const int64_t *labels,
                                        size_t count, const igdm_attack_options *options, float *adversarial,
                                        igdm_attack_report *report);

/* A common corruption of images, without a model: for data like CIFAR-10-C of images of one's own.
 *
 *   images     (count, channels, height, width) float32 in [0,1], of any size
 *   name       "gaussian_noise", ..., one of the fifteen of igdm_attack
 *   severity   1 ... 5
 *   seed       of the random ones
 *   indices    (count) places of the samples in their dataset, each at least 0; NULL = 0, 1, 2, ... With its seed a sample's index
 *              decides the random numbers: they are those of igdm_attack, which looks at this image, but gives it back only
 *              where the model misclassifies it
 *   corrupted  like images, written; may be the same memory, but not overlap otherwise
 *
 * Accuracy on what this writes counts every image, as RobustBench does; under igdm_evaluate an image that is misclassified
 * clean counts as misclassified under each corruption.
 * Errors: INVALID_ARGUMENT (a name, severity, index or value out of range), NOT_FINITE, OUT_OF_MEMORY. */
IGDM_API int32_t igdm_corrupt(const float *images, size_t count, int64_t channels, int64_t height, int64_t width,
                              const char *name, int64_t severity, uint64_t seed, const int64_t *indices,
                              float *corrupted);

/* ------------------------------------------------------------------------------------------------------------------
 * 5. Evaluation
 * --------------------------------------------------------------------------------------------------------------- */

/* The result of igdm_evaluate: a table with a row for clean images and one for each attack. */
typedef struct igdm_evaluation igdm_evaluation;

typedef struct igdm_evaluate_options {
    uint32_t struct_size;       /* set by igdm_evaluate_options_init */
    uint32_t keep_partial;      /* 1: where CANCELLED, NOT_FINITE or another error ends the call under an attack, `evaluation` receives
                                   a handle all the same: the rows of the attacks that were finished, and as the last that of the
                                   one under way, with what it had found (row.unfinished). An error before the row
                                   "clean" is whole leaves nothing. 0 (default): `evaluation` stays untouched then */
    const char *attacks;        /* comma-separated names of attacks, those with steps also as "pgd-K" (K steps), "square-1000",
                                   ... Default "fgsm,pgd-20,cw"; "" = clean only */
    const char *norm;           /* "linf" (default), "l2" or "l1"; one that all the attacks have */
    double epsilon;             /* Default 8/255 */
    double step;                /* 0 (default) = epsilon/4 */
    int64_t restarts;           /* Default 1 */
    int64_t count;              /* the first `count` samples; 0 (default) = all */
    int64_t batch_size;         /* Default 128; changes speed and memory only */
    uint64_t seed;              /* Default 0 */
    igdm_progress_callback progress;
    void *user;
    const volatile int32_t *cancel;
    const char *target;         /* as in igdm_attack_options, but that "labels" stands for target_labels: accuracy is then the part that
                                   is correct and not brought to its target; samples of that class are left alone.
                                   NULL (default) = not targeted */
    int64_t keep_samples;       /* 1: keep what each attack finds, for igdm_evaluation_get_samples, and evaluate it once more rounded to
                                   bytes (row.quantised). Takes the memory of the images for each attack. Default 0 */
    const igdm_evaluation *smaller; /* the result of the same call with a smaller epsilon (same model, dataset, attacks, norm,
                                   target), or NULL (default). What an attack has broken there counts as broken here, because
                                   what lies in a ball lies in a larger one, and is not attacked again; its samples are those
                                   found there. So accuracy never rises with epsilon. The handle may be released after the call */
    int64_t eot;                /* passes over which a gradient is averaged, as in igdm_attack_options. 0 (default) = 1 */
    const igdm_attack_tuning *tuning; /* for all the attacks, or NULL (default): see there */
    const char *loss;           /* as in igdm_attack_options: of pgd, fgsm, bim, mi-fgsm and r-fgsm in the list. Default "ce" */
    double kappa;               /* likewise; of cw too. Default 50 */
    int64_t targets;            /* likewise: of apgd-t and fab-t. Default 0 */
    int32_t random_start;       /* likewise. Default 1 */
    int32_t reserved0;
    const int64_t *target_labels; /* (target_count) the classes to reach, one for each sample that is evaluated, with target "labels"
                                   and only then. NULL (default) */
    int64_t target_count;       /* Default 0 */
    int64_t reserved[1];
} igdm_evaluate_options;

/* Fills in the defaults. */
IGDM_API int32_t igdm_evaluate_options_init(igdm_evaluate_options *options);

/* Measures the accuracy of `model`, clean and under each attack. Samples that are misclassified clean count as
 * misclassified under every attack.
 *   teacher     NULL, or a model with the same input shape and number of classes; then the agreement of the input gradients of the
 *               cross-entropy is measured too: GD = mean ||g_student - g_teacher||_2 and GC = mean cosine (paper, section 5)
 *   options     NULL = defaults
 *   evaluation  receives the handle; with options.keep_partial also after an error on the way: set it to NULL before the call to
 *               see whether it did
 * Errors: INVALID_ARGUMENT (unknown attack: the message lists the known ones; an option out of range), SHAPE (dataset or
 * teacher and model, target_count), NOT_FINITE (the model's output; the message names the sample), CANCELLED. */
IGDM_API int32_t igdm_evaluate(igdm_model *model, igdm_dataset *dataset, igdm_model *teacher,
                               const igdm_evaluate_options *options, igdm_evaluation **evaluation);

/* The same for a model of the host. Errors: as igdm_evaluate and igdm_attack_host_model. */
IGDM_API int32_t igdm_evaluate_host_model(const igdm_host_model *model, igdm_dataset *dataset,
                                          const igdm_evaluate_options *options, igdm_evaluation **evaluation);

typedef struct igdm_evaluation_row {
    uint32_t struct_size;       /* set to sizeof(igdm_evaluation_row) before the call */
    uint32_t reserved0;
    const char *name;           /* "clean", "fgsm", ...; owned by the evaluation */
    int64_t correct;            /* samples still classified correctly */
    int64_t count;              /* samples evaluated */
    double accuracy;            /* correct / count */
    double seconds;             /* time spent */
    int64_t quantised;          /* samples correct when what the attack found is rounded to bytes; -1 = not looked at: clean, or without
                                   keep_samples, or ended before. igdm_autoattack always looks */
    int64_t unfinished;         /* of an evaluation that an error has ended (keep_partial): samples that the attack had not finished, or
                                   in an igdm_autoattack not begun; they count as correct. Else 0 */
    int64_t reserved[2];
} igdm_evaluation_row;

/* How many rows the table has: 1 + the number of attacks, fewer where an error has ended the call (keep_partial). */
IGDM_API int32_t igdm_evaluation_row_count(igdm_evaluation *evaluation, size_t *count);

/* Row `index`; 0 is "clean". Errors: INVALID_ARGUMENT (index not below the row count). */
IGDM_API int32_t igdm_evaluation_get_row(igdm_evaluation *evaluation, size_t index, igdm_evaluation_row *row);

/* Per-sample flags of row `index`: 1 where the sample is still classified correctly. `count` must equal row.count.
 * Errors: INVALID_ARGUMENT (index), SHAPE (count). */
IGDM_API int32_t igdm_evaluation_get_correct(igdm_evaluation *evaluation, size_t index, uint8_t *correct, size_t count);

/* What the attack of row `index` of an igdm_evaluate has found.
 *   adversarial  (count, channels, height, width), written: the attack's result, or the clean image where it was misclassified
 *                already and so not attacked, or where an error came before; may be NULL
 *   count        must equal row.count
 *   report       as for igdm_attack_with_report; success is 1 where the sample counts as broken; seconds is 0
 * Errors: INVALID_ARGUMENT (index), NOT_FOUND (the row "clean"; keep_samples was 0; an igdm_autoattack), SHAPE (count). */
IGDM_API int32_t igdm_evaluation_get_samples(igdm_evaluation *evaluation, size_t index, float *adversarial, size_t count,
                                             igdm_attack_report *report);

/* Agreement with the teacher. Errors: NOT_FOUND where the evaluation had no teacher, or was ended by an error. Either pointer may be NULL. */
IGDM_API int32_t igdm_evaluation_get_gradient_agreement(igdm_evaluation *evaluation, double *cosine, double *distance);

typedef struct igdm_autoattack_options {
    uint32_t struct_size;       /* set by igdm_autoattack_options_init */
    uint32_t keep_partial;      /* 1: where CANCELLED, NOT_FINITE or another error ends the attacks, `evaluation` receives what was
                                   found so far; row.unfinished says of how many samples that row's attack was still to
                                   come. 0 (default): it receives nothing then */
    const char *version;        /* "standard" (default): apgd-ce, apgd-t, fab-t, square; in l1 apgd-ce with 5 restarts, apgd-t towards
                                   5 classes, both with large radii first. "plus": apgd-ce, apgd-dlr and fab with 5
                                   restarts, square, apgd-t, fab-t. "rand", for models that are random: apgd-ce and apgd-dlr
                                   with gradients over 20 passes, whose results are evaluated once more before they count.
                                   "custom": those of `attacks` */
    const char *attacks;        /* of custom, comma-separated: "apgd-ce,square-1000". Default "" */
    const char *norm;           /* "linf" (default), "l2" or "l1" */
    double epsilon;             /* Default 8/255 */
    int64_t restarts;           /* of the attacks of custom; 1 (default) with the others */
    int64_t targets;            /* of apgd-t and fab-t; 0 (default) = 9 (in l1 apgd-t 5), or all others where they are fewer */
    int64_t eot;                /* passes over which gradients are averaged; 0 (default) = the version's */
    int64_t count;              /* the first `count` samples; 0 (default) = all */
    int64_t batch_size;         /* Default 128; changes speed and memory only */
    uint64_t seed;              /* Default 0 */
    const char *state;          /* path of a file in which the call keeps how far it has come, or NULL (default). The same call
                                   with the same file goes on from there after a cancellation, an error or the end of the
                                   process, to the same result bit for bit. A file of another model, dataset or setting is
                                   refused; the message says what differs. (A model that answers differently each time is
                                   not told from another such.) First written before the first attack */
    double state_seconds;       /* between two writings, each of the whole file, to a new one that takes its place. Default 60 */
    igdm_progress_callback progress; /* after each pass; done counts samples that are finished */
    void *user;
    const volatile int32_t *cancel;
    const igdm_evaluation *smaller; /* the result of the same call with a smaller epsilon, or NULL (default). What is broken there counts
                                   as broken here, by the same attack and with the same image, and is not attacked again.
                                   The handle may be released after the call */
    const igdm_attack_tuning *tuning; /* of the attacks of custom, or NULL (default): see there */
    int64_t reserved[2];
} igdm_autoattack_options;

/* Fills in the defaults. */
IGDM_API int32_t igdm_autoattack_options_init(igdm_autoattack_options *options);

/* AutoAttack (Croce and Hein 2020): the accuracy that remains under an ensemble of attacks. Each attack gets what is still
 * classified correctly; the result has the rows "clean" and, for each attack, the accuracy after it and all before it. The
 * last row is the robust accuracy.
 *   options     NULL = defaults
 *   evaluation  receives the handle; igdm_evaluation_get_report has the samples, igdm_evaluation_get_warning the doubts. With
 *               options.keep_partial also after an error on the way: set it to NULL before the call to see whether it did
 * Errors: INVALID_ARGUMENT (an option; a state file of another run), SHAPE (dataset and model), NOT_FINITE (the model's
 * output), FORMAT (a damaged state file), IO (it cannot be read or written), CANCELLED. */
IGDM_API int32_t igdm_autoattack(igdm_model *model, igdm_dataset *dataset, const igdm_autoattack_options *options,
                                 igdm_evaluation **evaluation);

/* The same for a model of the host. Errors: as igdm_autoattack and igdm_attack_host_model. */
IGDM_API int32_t igdm_autoattack_host_model(const igdm_host_model *model, igdm_dataset *dataset,
                                            const igdm_autoattack_options *options, igdm_evaluation **evaluation);

/* How many warnings an igdm_autoattack has given: gradients that are masked or zero, output that is random or looks like
 * probabilities, fewer classes than an attack is made for, ...; and an igdm_evaluate: gradients that are zero where an attack
 * begins, output that looks like probabilities, too large an epsilon, too few classes, options that no attack has a use for.
 * They go to the log callback too. */
IGDM_API int32_t igdm_evaluation_warning_count(igdm_evaluation *evaluation, size_t *count);

/* Warning `index`, owned by the evaluation. Errors: INVALID_ARGUMENT (index not below the count). */
IGDM_API int32_t igdm_evaluation_get_warning(igdm_evaluation *evaluation, size_t index, const char **warning);

/* The samples of an igdm_autoattack.
 *   adversarial  (count, channels, height, width), written: the image that an attack has found, or the clean one where it is
 *                misclassified already or no attack has succeeded; may be NULL
 *   count        must equal the count of the rows
 *   report       as for igdm_attack_with_report; seconds is 0
 * Errors: NOT_FOUND (the evaluation is one of igdm_evaluate), SHAPE (count). */
IGDM_API int32_t igdm_evaluation_get_report(igdm_evaluation *evaluation, float *adversarial, size_t count,
                                            igdm_attack_report *report);

/* Releases the handle. */
IGDM_API void igdm_evaluation_release(igdm_evaluation *evaluation);

/* ------------------------------------------------------------------------------------------------------------------
 * 6. Distillation
 * --------------------------------------------------------------------------------------------------------------- */

/* Trains one student, with or without a teacher. Holds optimiser state and position in the schedule. */
typedef struct igdm_trainer igdm_trainer;

/* What some trainings need besides igdm_trainer_options. */
typedef struct igdm_trainer_details {
    uint32_t struct_size;       /* set by igdm_trainer_details_init */
    uint32_t reserved0;
    /* Methods */
    igdm_model *clean_teacher;  /* mtard: the second teacher, the one for clean images (the robust one is the argument `teacher`). Same
                                   input shape and classes as the student; copied by igdm_trainer_create. NULL (default)
                                   for all other methods */
    double distillation_weight; /* akd: lambda, weight of the teacher's term against the labels'. Default 0.5 */
    double trades_beta;         /* trades: weight of the robust term. Default 6 */
    int64_t introspection_start; /* iad, adaiad: the first epoch, counted from 1, in which the student's own term counts. Default 60,
                                   of 200: set it for shorter trainings */
    double introspection_power; /* iad, adaiad: a_i is the teacher's probability of the label to this power. Default 0.1 */
    double balance_rate;        /* mtard: how fast the weights of the two teachers follow the losses. Default 0.025 */
    /* What igdm is the weight of, with the distance igdm_distance */
    const char *igdm_term;      /* "igdm" (default): D(T(x+d) - T(x-d), S(x+d) - S(x-d)). The terms that the paper compares it with, which
                                   need no teacher: "trades-reg": D(S(x+d), S(x)); "trades-like": D(S(x+d), S(x-d)) */
    const char *igdm_ramp;      /* "linear" (default): its weight in epoch e of E is igdm*e/E; "constant": igdm */
    /* Optimiser */
    const char *optimiser;      /* "sgd" (default); "adamw": momentum is its beta1, weight decay is decoupled */
    double beta2;               /* adamw. Default 0.999 */
    double adam_epsilon;        /* adamw, 1e-30 ... 1. Default 1e-8 */
    double gradient_clip;       /* largest L2 norm of the gradient over all parameters; 0 (default) = no clipping.
                                   igdm_trainer_get_gradient gives it before clipping */
    double warmup_epochs;       /* the learning rate rises linearly to that of the schedule in this many epochs (a fraction will do);
                                   not for "onecycle". Default 0 */
    double awp;                 /* adversarial weight perturbation: gamma, 0.005 in the paper; the gradient is that of weights moved up
                                   the loss by this part of each layer's length. A step costs the student's training passes
                                   twice. 0 (default) = off */
    int64_t awp_start;          /* the first epoch, counted from 1, with awp. Default 1 */
    const char *average;        /* of the weights, for igdm_trainer_average: "none" (default); "ema": exponential, after each step;
                                   "swa": the mean of the weights after each epoch from swa_start on */
    double ema_decay;           /* Default 0.999 */
    int64_t swa_start;          /* counted from 1; 0 (default) = the epoch after 3/4 of them */
    /* Augmentation in igdm_trainer_fit */
    int64_t cutout;             /* side in pixels of a square of zeros around a random pixel; 0 (default) = off */
    double cutmix;              /* part of the samples of which a rectangle is replaced by that of another one. Cross-entropy in a
                                   method's loss takes both labels by their parts of the area; the adversary, the training
                                   accuracy and introspection take that of the larger part. 0 (default) = off */
    /* Methods, once more */
    double consistency_weight;  /* dgad: beta, weight of the distance of S(x+d) from S(x). Default 1 */
    double entropy_scale;       /* saad: s, a sample counts s (H - min H), H the entropy of the teacher at x+d, the minimum that of the
                                   batch; so a batch of one sample teaches nothing. Default 5 */
    double entropy_order;       /* saad: gamma, the order of that entropy (Renyi's); 1 (default) = Shannon's */
    double clean_weight;        /* saad: beta, weight of the clean images of samples that count little. Default 0 */
    /* Generated images, mixed into the batches of igdm_trainer_fit */
    igdm_dataset *generated;    /* images, such as those of a diffusion model, with labels; input shape and classes of the student. The
                                   trainer keeps what the handle stands for. NULL (default) = none */
    double generated_ratio;     /* part of each batch that is drawn from them, with replacement: round(generated_ratio * count) of its
                                   samples, but never all. The others go through `train` in their order, which then takes
                                   longer than an epoch: epochs keep their length. At least 0, below 1. 0 (default) without
                                   generated images, and above 0 with them */
    /* Augmentation in igdm_trainer_fit, once more: after crop and flip, before cutout */
    const char *augment;        /* operations on the image in bytes, drawn for each anew: "none" (default); "autoaugment": the policy for
                                   CIFAR-10 (Cubuk et al. 2019); "trivialaugment": one operation of any strength (Mueller and Hutter
                                   2021); "idbh-color", "idbh-shape": those of IDBH (Li and Spratling 2023) for CIFAR-10 and SVHN */
    int64_t crop_shift;         /* CropShift of IDBH instead of crop_padding, which has to be 0 then: up to so many rows and columns in all
                                   are cut off, and the rest is put anywhere into zeros. 0 (default) = off */
    double erasing;             /* part of the samples in which a random rectangle becomes zero, after cutout. 0 (default) = off */
    double erasing_area;        /* its largest part of the area, 0.02 ... 1; the least is 0.02. Default 0.33 */
    /* Memory */
    int32_t share_teachers;     /* 1: the teachers' weights are read where they lie, which saves as much memory as they take; the host then
                                   must not change them (by setting, or as another trainer's student) before the trainer's release, but may
                                   release the models; 0 (default): they are copied */
    int32_t reserved1;
    int64_t reserved[5];
} igdm_trainer_details;

/* Fills in the defaults. */
IGDM_API int32_t igdm_trainer_details_init(igdm_trainer_details *details);

typedef struct igdm_trainer_options {
    uint32_t struct_size;       /* set by igdm_trainer_options_init */
    uint32_t reserved0;
    /* Method */
    const char *method;         /* "pgd-at", "ard" (default), "rslad", "adaad", "trades", "iad", "akd", "adaiad", "mtard", "dgad",
                                   "saad" */
    double igdm;                /* alpha of IGDM; 0 (default) = off. Its weight in epoch e of E is alpha*e/E */
    const char *mirror;         /* what x-d is: "paper" (default): as it is; "clip": clipped to [0,1], for data at the border of the
                                   box such as Fashion-MNIST */
    const char *igdm_distance;  /* "kl" (default), "l1", "l2", between the logit differences */
    const char *inner;          /* adversary: "method" (default) = the method's own; "student" = plain PGD on the student */
    double temperature;         /* tau of ARD. Default 1 */
    double adversarial_weight;  /* a of ARD and AdaAD: weight of the adversarial term against the clean one. Default 1 */
    /* Inner maximisation (L-infinity) */
    double epsilon;             /* Default 8/255 */
    double step;                /* 0 (default) = epsilon/4; at most epsilon */
    int64_t steps;              /* Default 10 */
    /* Optimiser: SGD, unless the details say otherwise */
    double learning_rate;       /* Default 0.1 */
    double momentum;            /* Default 0.9 */
    double weight_decay;        /* on every trainable parameter. Default 5e-4 */
    int32_t nesterov;           /* Default 0 */
    int32_t flip;               /* 1 (default): random horizontal flip in igdm_trainer_fit */
    int64_t crop_padding;       /* random crop from the image padded with this many zeros, in igdm_trainer_fit. Default 4; 0 = off */
    const char *schedule;       /* "multistep" (default), "cosine", "onecycle", "constant" */
    const int64_t *milestones;  /* multistep: the learning rate is multiplied by decay after each of these epochs; NULL (default) =
                                   after 1/2 and 3/4 of the epochs. Copied */
    size_t milestone_count;
    double decay;               /* Default 0.1 */
    double warmup;              /* onecycle: part of all steps in which the rate rises from 1/25 of its peak. Default 0.3 */
    int64_t epochs;             /* Default 200 */
    int64_t batch_size;         /* in igdm_trainer_fit. Default 128 */
    int64_t steps_per_epoch;    /* for hosts that call igdm_trainer_step: position in the schedule and in IGDM's ramp follow from it.
                                   0 (default); igdm_trainer_fit sets it from the dataset */
    uint64_t seed;              /* order of samples, augmentation, attack starts. Default 0 */
    /* Validation after each epoch of igdm_trainer_fit, where a validation set is given */
    int64_t validation_count;   /* the first so many samples; 0 (default) = all */
    int64_t validation_steps;   /* steps of the PGD attack (0 = clean only). Default 10 */
    /* More on IGDM */
    int64_t mirror_statistics;  /* 1 (default, the paper's code): the student's pass over x-d moves its running statistics like any
                                   other; 0: it does not. With "clip" and few epochs 0 is better by several points */
    const igdm_trainer_details *details; /* NULL (default) = their defaults. Copied */
    int64_t reserved[6];
} igdm_trainer_options;

/* Fills in the defaults: the paper's CIFAR settings. */
IGDM_API int32_t igdm_trainer_options_init(igdm_trainer_options *options);

/* A trainer for `student`, whose weights it changes in place.
 *   teacher  same input shape and classes as the student; copied (but see share_teachers), so that later changes do not reach
 *            the trainer, and free for other calls. NULL is allowed for pgd-at and trades without IGDM only (the terms that
 *            stand in for it, trades-reg and trades-like, need none). Of the two teachers of mtard the robust one, which
 *            IGDM looks at too
 *   options  NULL = defaults; copied
 * Errors: INVALID_ARGUMENT (names what is wrong; step > epsilon is refused), SHAPE (teacher or generated images and student). */
IGDM_API int32_t igdm_trainer_create(igdm_model *student, igdm_model *teacher, const igdm_trainer_options *options,
                                     igdm_trainer **trainer);

/* A batch that the host brings. */
typedef struct igdm_batch {
    uint32_t struct_size;       /* set by igdm_batch_init */
    uint32_t reserved0;
    const float *images;        /* (count, channels, height, width) in [0,1] */
    const int64_t *labels;      /* (count) */
    size_t count;               /* >= 1 */
    const float *adversarial;   /* the host's own x_adv, same shape, in [0,1]; NULL (default) = the trainer attacks */
    int32_t update;             /* 1 (default): change the weights; 0: compute loss and gradients only (running statistics stay) */
    int32_t reserved1;
    const float *soft_labels;   /* (count, classes) for the cross-entropy of outer losses, as in igdm_dataset_with_soft_labels, or NULL
                                   (default); `labels` are to be the most probable classes then, which is not checked */
    int64_t reserved[3];
} igdm_batch;

/* Fills in the defaults. */
IGDM_API int32_t igdm_batch_init(igdm_batch *batch);

/* What a training step did. Losses are means over the batch. */
typedef struct igdm_step_report {
    uint32_t struct_size;       /* set to sizeof(igdm_step_report) before the call */
    uint32_t reserved0;
    double loss;                /* base_loss + igdm_weight * igdm_loss */
    double base_loss;           /* of the method */
    double igdm_loss;           /* 0 without IGDM */
    double igdm_weight;         /* alpha * epoch / epochs; alpha where the ramp is constant */
    double learning_rate;       /* used in this step */
    double adversarial_accuracy; /* of the student in training mode on the batch's x_adv, in [0,1] */
    double mirror_outside;      /* part of the mirrored pixels x-d outside [0,1], before clipping; 0 without IGDM */
    int64_t epoch;              /* counted from 1 */
    int64_t step;               /* steps done by this trainer, this one included where it updated */
    double second_loss;         /* part of base_loss: the second term of the method's formula, with its weight (docs/methods.md); 0 where there is
                                   one only */
    int64_t reserved[3];
} igdm_step_report;

/* One step on a batch of the host: adversary, loss, gradients, update. No augmentation.
 * The student's passes run in this order, each with its own batch statistics: x+d, x (where the method has a clean term),
 * x-d (IGDM).
 *   report  may be NULL
 * Errors: INVALID_ARGUMENT (steps_per_epoch not set; labels or values out of range), NOT_FINITE (the batch, the models'
 * output, the loss or its gradient: weights unchanged), BUSY (from inside a callback of this trainer). */
IGDM_API int32_t igdm_trainer_step(igdm_trainer *trainer, const igdm_batch *batch, igdm_step_report *report);

/* Gradient of the loss of the last step for a trainable parameter of the student, by name; without weight decay.
 * Errors: NOT_FOUND (no such trainable parameter; no step yet), SHAPE (count). */
IGDM_API int32_t igdm_trainer_get_gradient(igdm_trainer *trainer, const char *name, float *values, size_t count);

/* x_adv of the last step: (batch count, channels, height, width); `count` in floats.
 * Errors: NOT_FOUND (no step yet), SHAPE (count). */
IGDM_API int32_t igdm_trainer_get_adversarial(igdm_trainer *trainer, float *images, size_t count);

/* Events of igdm_trainer_fit. */
#define IGDM_EVENT_STEP 1       /* after each batch */
#define IGDM_EVENT_EPOCH 2      /* after each epoch, with validation results */
#define IGDM_EVENT_VALIDATION 3 /* during validation: batch and batches count the samples of its current stage */
#define IGDM_EVENT_DATA 4       /* before all others, with streamed data, each of which is read whole once, for its check sum: batch and
                                   batches count samples */

typedef struct igdm_fit_event {
    uint32_t struct_size;
    int32_t kind;               /* an IGDM_EVENT_*; later versions may add kinds: ignore what is unknown */
    int64_t epoch;              /* counted from 1 */
    int64_t epochs;
    int64_t batch;              /* counted from 1, within the epoch */
    int64_t batches;
    double loss;                /* STEP: of the batch. EPOCH: mean over the epoch; so the next three */
    double base_loss;
    double igdm_loss;
    double adversarial_accuracy;
    double igdm_weight;
    double learning_rate;
    double mirror_outside;
    double validation_clean;    /* EPOCH with validation: accuracy in [0,1]; else -1 */
    double validation_robust;   /* EPOCH with validation: accuracy under PGD; else -1 */
    double images_per_second;   /* since the fit began, validation not counted */
    double seconds;             /* since the fit began */
    double eta_seconds;         /* estimated time to the end; DATA: 0 */
    double gradient_cosine;     /* EPOCH with validation and a (robust) teacher: as igdm_evaluation_get_gradient_agreement, on the */
    double gradient_distance;   /* validation samples; else 0 and -1 */
    double second_loss;         /* as in igdm_step_report; EPOCH: mean over the epoch */
    int64_t reserved[1];
} igdm_fit_event;

/* Non-zero cancels: igdm_trainer_fit returns IGDM_ERROR_CANCELLED, the student keeps what it has learned, and a further
 * igdm_trainer_fit goes on from there. */
typedef int32_t (*igdm_fit_callback)(const igdm_fit_event *event, void *user);

/* Trains from the current position to the last epoch.
 *   train       shuffled anew each epoch, augmented as the options say
 *   validation  may be NULL
 *   callback    may be NULL
 * With more than one thread (igdm_set_threads) a further one reads and augments the next batch during each step; it rests while
 * callback is called.
 * Errors: SHAPE (dataset and model), INVALID_ARGUMENT (crop_padding or crop_shift too large for the image; a dataset of another length in the
 * middle of an epoch; other datasets, details.generated among them, than before igdm_trainer_resume), NOT_FINITE (a model's output, the loss or its gradient: the student keeps the weights before that
 * step), CANCELLED, BUSY (from inside a callback of this trainer). */
IGDM_API int32_t igdm_trainer_fit(igdm_trainer *trainer, igdm_dataset *train, igdm_dataset *validation,
                                  igdm_fit_callback callback, void *user);

/* Writes a checkpoint of the student that holds the whole training beside it: averages, optimiser, position, what a method has
 * learnt from step to step, and what the training was asked to do. igdm_model_load takes it for one of the student. May be
 * called from inside the callback of igdm_trainer_fit: after each epoch, every ten minutes, ... A process may be killed at
 * any moment: the path has the old file or the new one, whole.
 * Errors: IO (the file that was there stays), NOT_FINITE (the training has diverged; likewise). */
IGDM_API int32_t igdm_trainer_save(igdm_trainer *trainer, const char *path);

/* Takes up the training that igdm_trainer_save wrote: the student's weights and all else. It then goes on to the same bits as if
 * it had never stopped, on the same CPU path (a warning is logged where that is another one). The trainer is to be a new one,
 * made with the same options, teachers and student, of which the weights do not matter; the next igdm_trainer_fit is to have
 * the same datasets, in the middle of an epoch or not.
 * Errors: NOT_FOUND, IO, FORMAT (damaged, or no checkpoint of a training), INVALID_ARGUMENT (of another training: the message
 * lists what differs), BUSY (from inside a callback of this trainer). On failure nothing has changed. */
IGDM_API int32_t igdm_trainer_resume(igdm_trainer *trainer, const char *path);

/* Where a training stands. */
typedef struct igdm_trainer_position {
    uint32_t struct_size;       /* set to sizeof(igdm_trainer_position) before the call */
    uint32_t reserved0;
    int64_t epochs;             /* finished */
    int64_t batches;            /* of the next epoch, finished */
    int64_t steps;              /* in all */
    int64_t steps_per_epoch;    /* 0 as long as it is not known */
    int64_t epochs_reported;    /* those whose IGDM_EVENT_EPOCH has come; one less than epochs before the last one's has */
    int64_t reserved[3];
} igdm_trainer_position;

/* Where the trainer stands: after igdm_trainer_resume the next batch is number `batches`, counted from 0, of epoch `epochs`. */
IGDM_API int32_t igdm_trainer_get_position(igdm_trainer *trainer, igdm_trainer_position *position);

/* A new model: the student with the average of the weights that this trainer took it through (details.average).
 *   train    running statistics are taken anew from this dataset, in its order, without augmentation, in batches of
 *            batch_size: what "swa" needs. NULL = the average of the student's running statistics
 *   average  receives the handle
 * Errors: NOT_FOUND (no average is kept; nothing has gone into it yet), SHAPE (dataset and model), BUSY (from inside a
 * callback of this trainer). */
IGDM_API int32_t igdm_trainer_average(igdm_trainer *trainer, igdm_dataset *train, igdm_model **average);

/* Releases the handle; student and teacher live on. */
IGDM_API void igdm_trainer_release(igdm_trainer *trainer);

#ifdef __cplusplus
}
#endif

#endif /* IGDM_H */
