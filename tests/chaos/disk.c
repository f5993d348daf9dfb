/* A disk that is slow or fails, for whoever preloads this: steps on files below CHAOS_DISK.
 *
 * Of the steps of a process, CHAOS_DISK_FAILS fail with EIO, after CHAOS_DISK_GOOD that do not. Each takes CHAOS_DISK_US
 * microseconds more, and a write then takes half of its bytes only, as the system may at any time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long steps;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int there(const char *path) {
    const char *root = getenv("CHAOS_DISK");
    return root && !strncmp(path, root, strlen(root));
}

static int open_there(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return there(path);
}

static int fails(void) {
    long step = atomic_fetch_add(&steps, 1) - number("CHAOS_DISK_GOOD");
    usleep(number("CHAOS_DISK_US"));
    if (step < 0 || step >= number("CHAOS_DISK_FAILS")) return 0;
    errno = EIO;
    return 1;
}

static size_t part(size_t bytes) { return bytes > 1 && number("CHAOS_DISK_US") ? bytes / 2 : bytes; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define STEP(result, name, here, types, ...) \
    result name types { return here && fails() ? -1 : REAL(name)(__VA_ARGS__); }

STEP(ssize_t, write, open_there(file), (int file, const void *from, size_t bytes), file, from, open_there(file) ? part(bytes) : bytes)
STEP(ssize_t, pwrite, open_there(file), (int file, const void *from, size_t bytes, off_t at), file, from, bytes, at)
STEP(ssize_t, pwrite64, open_there(file), (int file, const void *from, size_t bytes, off64_t at), file, from, bytes, at)
STEP(ssize_t, writev, open_there(file), (int file, const struct iovec *parts, int count), file, parts, count)
STEP(int, fsync, open_there(file), (int file), file)
STEP(int, fdatasync, open_there(file), (int file), file)
STEP(int, rename, there(to), (const char *from, const char *to), from, to)
STEP(int, unlink, there(path), (const char *path), path)
