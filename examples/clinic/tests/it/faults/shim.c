/* Faults on demand, preloaded into a server: it stands before the C library's calls that write, sync and tell the time.
 *
 * What is wrong at the moment stands in the file that FAULTS names, one line:
 *
 *     FAULT PART     the fault, for files whose path holds PART
 *     clock SECONDS  the wall clock is wrong by so much; the monotonic one is not
 *
 * The file is read at each call, and whoever changes it renames a new one over it. No file, or an empty one, is no fault.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

struct fault {
    char kind[32];
    char part[96];
};

static int current(struct fault *fault) {
    const char *path = getenv("FAULTS");
    char line[160];
    if (!path) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, line, sizeof line - 1);
    syscall(SYS_close, fd);
    if (got <= 0) return 0;
    line[got] = 0;
    return sscanf(line, "%31s %95s", fault->kind, fault->part) == 2;
}

/* The fault that this file has, or an empty text. */
static struct fault of(int fd) {
    struct fault fault = {{0}, {0}};
    char link[64], path[4096];
    if (!current(&fault)) {
        fault.kind[0] = 0;
        return fault;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    path[got > 0 ? got : 0] = 0;
    if (!strstr(path, fault.part)) fault.kind[0] = 0;
    return fault;
}

static int is(const struct fault *fault, const char *kind) { return strcmp(fault->kind, kind) == 0; }

/* How much of a write is let through; -1 with errno set if none. */
static ssize_t allowed(int fd, size_t count) {
    static atomic_uint calls;
    struct fault fault = of(fd);
    int saved = errno;
    if (is(&fault, "write-eio")) {
        errno = EIO;
        return -1;
    }
    /* Half of it now; the next call, which brings the rest, finds no room. */
    if (is(&fault, "torn")) {
        if (atomic_fetch_add(&calls, 1) % 2) {
            errno = ENOSPC;
            return -1;
        }
        count = count > 1 ? count / 2 : count;
    }
    if (is(&fault, "short")) count = count > 1 ? count / 2 : count;
    errno = saved;
    return (ssize_t)count;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t some = allowed(fd, count);
    return some < 0 ? -1 : NEXT(write)(fd, bytes, (size_t)some);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    ssize_t some = allowed(fd, count);
    return some < 0 ? -1 : NEXT(pwrite)(fd, bytes, (size_t)some, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t some = allowed(fd, count);
    return some < 0 ? -1 : NEXT(pwrite64)(fd, bytes, (size_t)some, at);
}

static int may_sync(int fd) {
    struct fault fault = of(fd);
    if (!is(&fault, "sync-eio")) return 1;
    errno = EIO;
    return 0;
}

int fsync(int fd) { return may_sync(fd) ? NEXT(fsync)(fd) : -1; }

int fdatasync(int fd) { return may_sync(fd) ? NEXT(fdatasync)(fd) : -1; }

int clock_gettime(clockid_t clock, struct timespec *time) {
    struct fault fault;
    int result = NEXT(clock_gettime)(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && current(&fault) && is(&fault, "clock")) time->tv_sec += atol(fault.part);
    return result;
}
