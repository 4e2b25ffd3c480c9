/* A preloaded library under the broker that remembers what a power cut could take back.
 *
 * A process that is killed leaves its writes in the page cache, where the next one finds them, synced or not. This library
 * writes down how to undo each change that was not synced yet; who kills the process then undoes them (`undo.rs`
 * of the kill test), so that the next one finds what a power cut could have left. Nothing is read differently, and
 * nothing else of the process changes.
 *
 * UNSYNCED_DATA  the folder that is watched, without a slash at the end
 * UNSYNCED_UNDO  the folder, on the same file system, for what is needed to undo:
 *   INODE.undo   a file's writes since its last sync, each as a `struct change` and the bytes that were there
 *   names.undo   lines about names since the folder's last sync: `made NAME`, `moved FROM TO`, `parked NUMBER NAME`
 *   parked-N     a file that was removed, or replaced by a rename
 *   failing      while this file is there, every sync of what is watched fails (EIO) and makes nothing durable
 *
 * It knows the calls that the broker's disk makes (runtime/src/seams/folder_disk.rs): open, pwrite, fdatasync, fsync,
 * rename, unlink. Any other that could change a watched file ends the process, so that none slips past.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define SYNC_US 2000

struct change {
    uint64_t offset;  /* where the write began */
    uint64_t written; /* how many bytes it had */
    uint64_t kept;    /* how many of those were there before; they follow */
    uint64_t length;  /* of the file before */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *data, *undo;
static char failing[4096]; /* UNSYNCED_UNDO/failing */
static int names = -1; /* names.undo */
static unsigned parked;
/* For each descriptor of a watched file that of its undo file, one more; -1 for a watched folder. */
static int watched[DESCRIPTORS];

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_close)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

static void give_up(const char *what) {
    dprintf(2, "unsynced: %s: %s\n", what, strerror(errno));
    abort();
}

static void must(int holds, const char *what) {
    if (!holds) give_up(what);
}

__attribute__((constructor)) static void begin(void) {
    char path[4096];
    real_open = dlsym(RTLD_NEXT, "open64");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    data = getenv("UNSYNCED_DATA");
    undo = getenv("UNSYNCED_UNDO");
    must(data && undo, "UNSYNCED_DATA and UNSYNCED_UNDO");
    snprintf(path, sizeof path, "%s/names.undo", undo);
    names = real_open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    must(names >= 0, "names.undo");
    snprintf(failing, sizeof failing, "%s/failing", undo);
}

/* The name of a path within the watched folder; null for any other path. */
static const char *name_of(const char *path) {
    size_t length = strlen(data);
    if (strncmp(path, data, length) != 0 || path[length] != '/') return NULL;
    return strcmp(path + length + 1, "lock") == 0 ? NULL : path + length + 1;
}

static void append(int file, const void *bytes, size_t length) {
    must(write(file, bytes, length) == (ssize_t)length, "writing to an undo file");
}

static void say(const char *form, ...) {
    char line[1024];
    va_list parts;
    va_start(parts, form);
    int length = vsnprintf(line, sizeof line, form, parts);
    va_end(parts);
    must(length > 0 && (size_t)length < sizeof line, "a line too long");
    append(names, line, (size_t)length);
}

/* Keeps a file that is about to lose its name. */
static void park(const char *path, const char *name) {
    char place[4096];
    snprintf(place, sizeof place, "%s/parked-%d-%u", undo, getpid(), ++parked);
    must(link(path, place) == 0, "parking a file");
    say("parked %d-%u %s\n", getpid(), parked, name);
}

static int watch(int file, const char *path, int flags) {
    if (file < 0 || file >= DESCRIPTORS) return file;
    struct stat facts;
    if (strcmp(path, data) == 0) {
        watched[file] = -1;
    } else if (name_of(path) && (flags & O_ACCMODE) != O_RDONLY) {
        char place[4096];
        must(fstat(file, &facts) == 0, "fstat");
        must(!(flags & O_TRUNC) && !(flags & O_APPEND), "O_TRUNC and O_APPEND are not known");
        snprintf(place, sizeof place, "%s/%llu.undo", undo, (unsigned long long)facts.st_ino);
        int log = real_open(place, O_RDWR | O_CREAT | O_APPEND, 0600);
        must(log >= 0, "an undo file");
        watched[file] = log + 1;
    }
    return file;
}

static int opened(const char *path, int flags, mode_t mode) {
    /* Other libraries may open files before this one has begun. */
    if (!real_open) real_open = dlsym(RTLD_NEXT, "open64");
    if (names < 0) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    const char *name = name_of(path);
    int is_new = name && (flags & O_CREAT) && access(path, F_OK) != 0;
    if (is_new) say("made %s\n", name);
    int file = watch(real_open(path, flags, mode), path, flags);
    pthread_mutex_unlock(&lock);
    return file;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int close(int file) {
    if (file >= 0 && file < DESCRIPTORS && watched[file]) {
        pthread_mutex_lock(&lock);
        if (watched[file] > 0) real_close(watched[file] - 1);
        watched[file] = 0;
        pthread_mutex_unlock(&lock);
    }
    if (!real_close) real_close = dlsym(RTLD_NEXT, "close");
    return real_close(file);
}

static int is_watched(int file) {
    return file >= 0 && file < DESCRIPTORS && watched[file] > 0;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    if (!is_watched(file)) return real_pwrite(file, bytes, length, offset);
    pthread_mutex_lock(&lock);
    struct stat facts;
    must(fstat(file, &facts) == 0, "fstat");
    uint64_t there = (uint64_t)facts.st_size;
    uint64_t kept = (uint64_t)offset >= there ? 0 : there - (uint64_t)offset;
    if (kept > length) kept = length;
    struct change change = {(uint64_t)offset, length, kept, there};
    char *record = malloc(sizeof change + kept);
    must(record != NULL, "memory");
    memcpy(record, &change, sizeof change);
    must(pread(file, record + sizeof change, kept, offset) == (ssize_t)kept, "reading what is there");
    append(watched[file] - 1, record, sizeof change + kept);
    free(record);
    ssize_t written = real_pwrite(file, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}

/* What was changed before the call stays changed; a disk takes its time for that, in which a kill may come. Nothing is
 * really synced: a kill leaves the page cache. */
static int synced(int file) {
    if (file < 0 || file >= DESCRIPTORS || !watched[file]) return 0;
    if (access(failing, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int log = watched[file] > 0 ? watched[file] - 1 : names;
    pthread_mutex_lock(&lock);
    off_t before = lseek(log, 0, SEEK_END);
    pthread_mutex_unlock(&lock);
    usleep(SYNC_US);
    pthread_mutex_lock(&lock);
    off_t end = lseek(log, 0, SEEK_END);
    must(before >= 0 && end >= before, "the length of an undo file");
    size_t later = (size_t)(end - before);
    char *rest = malloc(later + 1);
    must(rest && pread(log, rest, later, before) == (ssize_t)later, "reading an undo file");
    must(ftruncate(log, 0) == 0, "emptying an undo file");
    if (later > 0) append(log, rest, later);
    free(rest);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fdatasync(int file) { return synced(file); }

int fsync(int file) { return synced(file); }

int rename(const char *from, const char *to) {
    const char *old = name_of(from), *new = name_of(to);
    if (!old || !new) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    if (access(to, F_OK) == 0) park(to, new);
    say("moved %s %s\n", old, new);
    int outcome = real_rename(from, to);
    pthread_mutex_unlock(&lock);
    return outcome;
}

int unlink(const char *path) {
    const char *name = name_of(path);
    if (!name) return real_unlink(path);
    pthread_mutex_lock(&lock);
    if (access(path, F_OK) == 0) park(path, name);
    int outcome = real_unlink(path);
    pthread_mutex_unlock(&lock);
    return outcome;
}

static void refuse(int file, const char *call) {
    if (is_watched(file)) {
        errno = ENOSYS;
        give_up(call);
    }
}

#define REFUSED(type, call, parameters, arguments)             \
    type call parameters {                                     \
        static type(*real) parameters;                         \
        refuse(file, #call);                                   \
        if (!real) real = dlsym(RTLD_NEXT, #call);             \
        return real arguments;                                 \
    }

REFUSED(ssize_t, write, (int file, const void *bytes, size_t length), (file, bytes, length))
REFUSED(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
REFUSED(ssize_t, pwritev64, (int file, const struct iovec *parts, int count, off64_t offset),
        (file, parts, count, offset))
REFUSED(int, ftruncate64, (int file, off64_t length), (file, length))
REFUSED(int, fallocate64, (int file, int mode, off64_t offset, off64_t length),
        (file, mode, offset, length))
