/*
 * A small test harness. Each test runs in a process of its own (the program starts itself again with the test's name),
 * so that a crash or a hang is one failed test and nothing carries over from one test to the next.
 *
 *     static void addition(void) { CHECK(1 + 1 == 2); }
 *     int main(int argc, char **argv) {
 *         static const struct test tests[] = {TEST(addition)};
 *         return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
 *     }
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef HARNESS_H
#define HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <igdm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIME_LIMIT 300 /* seconds a test may take before it counts as hanging */

struct test {
    const char *name;
    void (*run)(void);
};

#define TEST(name) {#name, name}

static int failed_checks; /* of the test that is running; tests with threads check after joining them */
static const char *context = ""; /* which turn of a loop a check is in, for its message */

/* Goes on after a failure, so that one run shows all of them. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) fail_check(__FILE__, __LINE__, "%s", #condition);                                            \
    } while (0)

/* Ends the test where going on makes no sense. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fail_check(__FILE__, __LINE__, "%s", #condition);                                                          \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A call that must succeed. */
#define OK(call) REQUIRE(succeeded(__FILE__, __LINE__, #call, call))

/* A call that must fail with this status and a message that contains `text`. */
#define FAILS(call, status, text) check_failure(__FILE__, __LINE__, #call, call, status, text)

#define fail_check(file, line, ...)                                                                                    \
    do {                                                                                                               \
        failed_checks++;                                                                                               \
        printf("%s:%d: %s%s", file, line, context, *context ? ": " : "");                                              \
        printf(__VA_ARGS__);                                                                                           \
        printf("\n");                                                                                                  \
        fflush(stdout);                                                                                                \
    } while (0)

static inline int succeeded(const char *file, int line, const char *call, int32_t status) {
    if (status != IGDM_OK) fail_check(file, line, "%s: %s: %s", call, igdm_status_name(status), igdm_last_error());
    return status == IGDM_OK;
}

static inline void check_failure(const char *file, int line, const char *call, int32_t status, int32_t expected,
                                 const char *text) {
    if (status != expected) {
        fail_check(file, line, "%s: got %s (%s), want %s", call, igdm_status_name(status), igdm_last_error(),
                   igdm_status_name(expected));
    } else if (strstr(igdm_last_error(), text) == NULL) {
        fail_check(file, line, "%s: the message \"%s\" does not contain \"%s\"", call, igdm_last_error(), text);
    }
}

/* Runs one test in a new process; returns whether it passed. */
static inline int run_in_process(const char *program, const struct test *test) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", program, test->name, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 0;
    if (WIFSIGNALED(status))
        printf("%s: killed by signal %d (%s)\n", test->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Without arguments runs all tests; with a name, that test in this process. */
static inline int run_tests(int argc, char **argv, const struct test *tests, size_t count) {
    size_t passed = 0;
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) == 0) {
            alarm(TIME_LIMIT);
            tests[i].run();
            return failed_checks != 0;
        }
    }
    if (argc > 1) {
        fprintf(stderr, "no test is called %s\n", argv[1]);
        return 2;
    }
    for (size_t i = 0; i < count; i++) {
        fflush(stdout);
        if (run_in_process(argv[0], &tests[i])) {
            passed++;
        } else {
            printf("FAILED %s\n", tests[i].name);
        }
    }
    printf("%zu passed, %zu failed\n", passed, count - passed);
    return passed != count;
}

#endif
