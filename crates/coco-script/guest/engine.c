// QuickJS-NG as one translation unit.
//
// On WASI, QuickJS turns its own limit of the stack off, since it does not know where the stack ends there. Here it is
// known, and the limit is what makes deep recursion an exception that names itself. So the system's headers, which
// insist on WASI, come first, and then QuickJS is told that it is on the other WebAssembly system it knows: one thread,
// no atomics, and a stack that it may measure.

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// WASI's floating point environment has one rounding mode and does not name the others.
#include <fenv.h>
#ifndef FE_DOWNWARD
#define FE_DOWNWARD 0
#endif
#ifndef FE_UPWARD
#define FE_UPWARD 0
#endif

#undef __wasi__
#define EMSCRIPTEN 1

#include "quickjs.c"

#include "texts.c"
