/*
 * OpenBLAS as a Swift module. Its own functions are declared here as well, because a `cblas.h` of another BLAS that comes
 * first on the include path has the matrix products but not these.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <cblas.h>

void openblas_set_num_threads(int num_threads);
int openblas_get_num_threads(void);
char *openblas_get_config(void);
char *openblas_get_corename(void);
