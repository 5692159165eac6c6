// The operating system as the engine sees it: there is none.
//
// Each function here takes the place of one of the C library that would import something from the outside. What is left
// to import are the functions of `guest.c` and `texts.c`.

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

// Time stands still at the epoch. Scripts have no way to ask for it; the engine seeds a generator with it, which they
// cannot reach either.
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    now->tv_sec = 0;
    now->tv_usec = 0;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    now->tv_sec = 0;
    now->tv_nsec = 0;
    return 0;
}

time_t time(time_t *now) {
    if (now) *now = 0;
    return 0;
}

// The engine reads the offset from UTC and nothing else of this. It is zero.
struct tm *localtime_r(const time_t *restrict at, struct tm *restrict broken_down) {
    (void)at;
    memset(broken_down, 0, sizeof *broken_down);
    return broken_down;
}

_Noreturn void abort(void) { __builtin_trap(); }

_Noreturn void __assert_fail(const char *condition, const char *file, int line, const char *function) {
    (void)condition;
    (void)file;
    (void)line;
    (void)function;
    __builtin_trap();
}

// The engine's debug output goes nowhere.
int printf(const char *restrict format, ...) {
    (void)format;
    return 0;
}
int fprintf(FILE *restrict file, const char *restrict format, ...) {
    (void)file;
    (void)format;
    return 0;
}
int putchar(int c) { return c; }
int puts(const char *text) {
    (void)text;
    return 0;
}
int fputc(int c, FILE *file) {
    (void)file;
    return c;
}
int fputs(const char *restrict text, FILE *restrict file) {
    (void)text;
    (void)file;
    return 0;
}
int fflush(FILE *file) {
    (void)file;
    return 0;
}

// What `stdout` names, should anything refer to it: a file that takes all and keeps nothing.
size_t __stdio_write(FILE *file, const unsigned char *bytes, size_t length) {
    (void)file;
    (void)bytes;
    return length;
}
size_t __stdout_write(FILE *file, const unsigned char *bytes, size_t length) {
    (void)file;
    (void)bytes;
    return length;
}
off_t __stdio_seek(FILE *file, off_t offset, int whence) {
    (void)file;
    (void)offset;
    (void)whence;
    return -1;
}
int __stdio_close(FILE *file) {
    (void)file;
    return 0;
}
int __isatty(int descriptor) {
    (void)descriptor;
    return 0;
}
