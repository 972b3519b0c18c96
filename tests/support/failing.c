/* The disk that fails: preloaded (LD_PRELOAD), it counts the calls by which a process changes one folder, and makes one of
   them fail. Every call is passed on to the C library but that one. tests/failing.py compiles and arms it.

   The calls are counted in one order, whoever makes them: Python, DuckDB, Arrow. Reading is not counted, nor is what goes
   elsewhere: the streams of the command, its sockets. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What becomes of the call that is meant. */
enum mode {
    COUNT,  /* nothing: calls are counted */
    FAIL,   /* it fails, those after it succeed: a bad block, a moment without room */
    FULL,   /* it and every later one that needs room fails */
    SHORT,  /* a write writes half, and the next one to the same file fails; what is no write fails */
    KILL,   /* the process is killed before it */
    TORN,   /* a write writes half, and the process is killed */
    AFTER   /* the process is killed after it */
};

static char folder[PATH_MAX];
static size_t folder_length;
static enum mode mode;
static long place;
static int report = -1;
static atomic_long seen;
static atomic_int fails_next = -1;
static atomic_int over;

/* Begin. path: the folder, absolute; at: the so-manyeth call, from 1; log: a file descriptor that each call is named at. */
void failing_arm(const char *path, int how, long at, int log) {
    strncpy(folder, path, sizeof folder - 1);
    folder_length = strlen(folder);
    mode = (enum mode)how;
    place = at;
    report = log;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t written(int file, const void *bytes, size_t size) { return REAL(write)(file, bytes, size); }

static void die(void) {
    for (;;) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

static int within(const char *path) {
    return folder_length && !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int file, char *found) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, found, PATH_MAX - 1);
    if (length < 0) return 0;
    found[length] = 0;
    return 1;
}

static int whole_path(int at, const char *path, char *found) {
    char base[PATH_MAX];
    if (path[0] == '/') {
        snprintf(found, PATH_MAX, "%s", path);
        return 1;
    }
    if (at == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(at, base)) return 0;
    snprintf(found, PATH_MAX, "%.*s/%s", 2000, base, path);
    return 1;
}

/* What the call is to do. */
enum fate { GO, NO, HALF, GO_AND_DIE };

/* Count a call on a path. needs: room on the disk. writes: there is half of it. */
static enum fate fate_of(const char *name, const char *path, int needs, int writes) {
    if (!within(path)) return GO;
    long number = atomic_fetch_add(&seen, 1) + 1;
    int meant = mode != COUNT && number == place;
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s %s\n", meant ? "!" : ".", name, path + folder_length);
    if (report >= 0 && length > 0) written(report, line, (size_t)length);
    if (mode == FULL && (meant || (over && needs))) {
        over = 1;
        return NO;
    }
    if (!meant) return GO;
    if (mode == FAIL || (mode == SHORT && !writes)) return NO;
    if (mode == SHORT || (mode == TORN && writes)) return HALF;
    if (mode == KILL || mode == TORN) die();
    return GO_AND_DIE;
}

static enum fate fate_at(const char *name, int at, const char *path, int needs) {
    char found[PATH_MAX];
    int error = errno;
    enum fate fate = folder_length && path && whole_path(at, path, found) ? fate_of(name, found, needs, 0) : GO;
    errno = error;
    return fate;
}

static enum fate fate_on(const char *name, int file, int needs, int writes) {
    char found[PATH_MAX];
    int error = errno;
    enum fate fate = GO;
    if (folder_length && path_of(file, found)) {
        fate = fate_of(name, found, needs, writes);
        if (fate == GO && writes && atomic_load(&fails_next) == file) {
            atomic_store(&fails_next, -1);
            fate = NO;
        }
    }
    errno = error;
    return fate;
}

static int refused(int error) {
    errno = error;
    return -1;
}

/* Do a call as its fate says. */
#define DO(type, decided, error, call)             \
    do {                                           \
        enum fate is = (decided);                  \
        if (is == NO) return (type)refused(error); \
        type result = (call);                      \
        if (is == GO_AND_DIE) die();               \
        return result;                             \
    } while (0)

/* Do a write: the whole of it, or the half. */
#define WRITE(decided, file, size, whole, half)         \
    do {                                                \
        enum fate is = (decided);                       \
        if (is == NO) return refused(ENOSPC);           \
        if (is == HALF && (size) / 2) {                 \
            ssize_t result = (half);                    \
            if (mode == TORN) die();                    \
            atomic_store(&fails_next, (file));          \
            return result;                              \
        }                                               \
        if (is == HALF && mode == TORN) die();          \
        if (is == HALF) return refused(ENOSPC);         \
        ssize_t result = (whole);                       \
        if (is == GO_AND_DIE) die();                    \
        return result;                                  \
    } while (0)

ssize_t write(int file, const void *bytes, size_t size) {
    WRITE(fate_on("write", file, 1, 1), file, size, REAL(write)(file, bytes, size), REAL(write)(file, bytes, size / 2));
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
    WRITE(fate_on("pwrite", file, 1, 1), file, size, REAL(pwrite)(file, bytes, size, at), REAL(pwrite)(file, bytes, size / 2, at));
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    WRITE(fate_on("pwrite", file, 1, 1), file, size, REAL(pwrite64)(file, bytes, size, at), REAL(pwrite64)(file, bytes, size / 2, at));
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    WRITE(fate_on("writev", file, 1, 1), file, (size_t)count, REAL(writev)(file, parts, count), REAL(writev)(file, parts, count / 2));
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    WRITE(fate_on("pwritev", file, 1, 1), file, (size_t)count, REAL(pwritev)(file, parts, count, at), REAL(pwritev)(file, parts, count / 2, at));
}
ssize_t copy_file_range(int from, off64_t *at, int file, off64_t *to, size_t size, unsigned flags) {
    WRITE(fate_on("copy", file, 1, 1), file, size, REAL(copy_file_range)(from, at, file, to, size, flags),
          REAL(copy_file_range)(from, at, file, to, size / 2, flags));
}
ssize_t sendfile64(int file, int from, off64_t *at, size_t size) {
    WRITE(fate_on("copy", file, 1, 1), file, size, REAL(sendfile64)(file, from, at, size), REAL(sendfile64)(file, from, at, size / 2));
}

int fsync(int file) { DO(int, fate_on("fsync", file, 0, 0), EIO, REAL(fsync)(file)); }
int fdatasync(int file) { DO(int, fate_on("fsync", file, 0, 0), EIO, REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { DO(int, fate_on("truncate", file, 0, 0), EIO, REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { DO(int, fate_on("truncate", file, 0, 0), EIO, REAL(ftruncate64)(file, size)); }
int fallocate(int file, int how, off_t at, off_t size) { DO(int, fate_on("allocate", file, 1, 0), ENOSPC, REAL(fallocate)(file, how, at, size)); }
int fallocate64(int file, int how, off64_t at, off64_t size) { DO(int, fate_on("allocate", file, 1, 0), ENOSPC, REAL(fallocate64)(file, how, at, size)); }
int fchmod(int file, mode_t bits) { DO(int, fate_on("chmod", file, 0, 0), EIO, REAL(fchmod)(file, bits)); }

int chmod(const char *path, mode_t bits) { DO(int, fate_at("chmod", AT_FDCWD, path, 0), EIO, REAL(chmod)(path, bits)); }
int truncate(const char *path, off_t size) { DO(int, fate_at("truncate", AT_FDCWD, path, 0), EIO, REAL(truncate)(path, size)); }
int rename(const char *path, const char *to) { DO(int, fate_at("rename", AT_FDCWD, to, 1), ENOSPC, REAL(rename)(path, to)); }
int renameat(int at, const char *path, int other, const char *to) {
    DO(int, fate_at("rename", other, to, 1), ENOSPC, REAL(renameat)(at, path, other, to));
}
int renameat2(int at, const char *path, int other, const char *to, unsigned flags) {
    DO(int, fate_at("rename", other, to, 1), ENOSPC, REAL(renameat2)(at, path, other, to, flags));
}
int link(const char *path, const char *to) { DO(int, fate_at("link", AT_FDCWD, to, 1), ENOSPC, REAL(link)(path, to)); }
int linkat(int at, const char *path, int other, const char *to, int flags) {
    DO(int, fate_at("link", other, to, 1), ENOSPC, REAL(linkat)(at, path, other, to, flags));
}
int symlink(const char *path, const char *to) { DO(int, fate_at("link", AT_FDCWD, to, 1), ENOSPC, REAL(symlink)(path, to)); }
int unlink(const char *path) { DO(int, fate_at("unlink", AT_FDCWD, path, 0), EIO, REAL(unlink)(path)); }
int unlinkat(int at, const char *path, int flags) { DO(int, fate_at("unlink", at, path, 0), EIO, REAL(unlinkat)(at, path, flags)); }
int remove(const char *path) { DO(int, fate_at("unlink", AT_FDCWD, path, 0), EIO, REAL(remove)(path)); }
int rmdir(const char *path) { DO(int, fate_at("rmdir", AT_FDCWD, path, 0), EIO, REAL(rmdir)(path)); }
int mkdir(const char *path, mode_t bits) { DO(int, fate_at("mkdir", AT_FDCWD, path, 1), ENOSPC, REAL(mkdir)(path, bits)); }
int mkdirat(int at, const char *path, mode_t bits) { DO(int, fate_at("mkdir", at, path, 1), ENOSPC, REAL(mkdirat)(at, path, bits)); }

/* To open a file counts where it makes or empties one. */
#define OPEN(name, at, call)                                                                  \
    do {                                                                                      \
        va_list more;                                                                         \
        va_start(more, flags);                                                                \
        mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(more, int) : 0;        \
        va_end(more);                                                                         \
        DO(int, flags & (O_CREAT | O_TRUNC) ? fate_at("open", at, path, 1) : GO, ENOSPC, call); \
    } while (0)

int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD, REAL(open)(path, flags, bits)); }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD, REAL(open64)(path, flags, bits)); }
int openat(int at, const char *path, int flags, ...) { OPEN(openat, at, REAL(openat)(at, path, flags, bits)); }
int openat64(int at, const char *path, int flags, ...) { OPEN(openat64, at, REAL(openat64)(at, path, flags, bits)); }
FILE *fopen(const char *path, const char *how) {
    if (how[0] != 'r' && fate_at("fopen", AT_FDCWD, path, 1) == NO) {
        errno = ENOSPC;
        return NULL;
    }
    return REAL(fopen)(path, how);
}
