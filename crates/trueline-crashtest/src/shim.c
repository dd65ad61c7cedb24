// What a disk would still hold after a power cut, kept while a process runs: a library for LD_PRELOAD that follows
// fsync and fdatasync of everything below one folder. What is made of it after the cut stands in `disk.rs`.
//
// A write is durable once an fsync of its file has returned; a name is durable once an fsync of its folder has returned.
// Nothing else is: not a name because its file was fsynced, not a folder because something below it was, no order between
// writes. So writes need no interception at all; at each fsync the state is read from the file system itself:
//
//   fsync(file)    the file's bytes are copied to  <shadow>/f/<id>   (changed pages alone are written)
//   fsync(folder)  its names are written to        <shadow>/d/<id>   as lines "<f|d> <id> <name>"
//
// An id is an extended attribute of the inode, so it stays with a file through renames and is never given twice, as an
// inode number would be. Renames, links and removals are seen whichever way they were made, raw system calls included.
// The copy is made after the real fsync and before the caller goes on: an answer that was sent while the fsync was still
// under way is caught. A kill in the middle of a copy leaves a mixture of old and new pages, which is what a cut in the
// middle of an fsync may leave.
//
// A folder can be named whose fsyncs, and those of everything below it, are carried out and not believed: what a program
// would lose there that forgot them. That is for the control of the test.
//
// What makes things durable in other ways (O_SYNC, msync, sync, syncfs, sync_file_range, a raw fsync system call) is not
// seen. Whoever relied on that would be told of a loss that a real disk would not have: the error is to that side.

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ATTRIBUTE "user.trueline.crashtest"
#define ID 16
#define PAGE 4096
#define CHUNK (64 * PAGE)
#define STRIPES 64

static int (*next_fsync)(int);
static int (*next_fdatasync)(int);
static const char *root;
static const char *shadow;
// Fsyncs below this folder keep nothing.
static const char *disbelieved;
// Two fsyncs of one file or folder take turns, so that the later state is kept last.
static pthread_mutex_t stripes[STRIPES];

static void die(const char *what) {
    dprintf(STDERR_FILENO, "crashtest shim: %s: %s\n", what, strerror(errno));
    abort();
}

static void path_of(char *out, const char *format, const char *a, const char *b) {
    if (snprintf(out, PATH_MAX, format, a, b) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        die("path");
    }
}

__attribute__((constructor)) static void begin(void) {
    next_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    next_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    for (int i = 0; i < STRIPES; i++) pthread_mutex_init(&stripes[i], NULL);
    root = getenv("CRASHTEST_ROOT");
    shadow = getenv("CRASHTEST_SHADOW");
    disbelieved = getenv("CRASHTEST_DISBELIEVED");
    if (!root || !shadow) {
        root = NULL;
        return;
    }
    char mark[PATH_MAX];
    path_of(mark, "%s/%s", shadow, "loaded");
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die("mark");
    close(fd);
}

// The id of what is at `path`, given to it now if it has none. 0 when nothing is there any more.
static int id_at(const char *path, char id[ID + 1]) {
    for (;;) {
        ssize_t n = getxattr(path, ATTRIBUTE, id, ID);
        if (n == ID) {
            id[ID] = 0;
            return 1;
        }
        if (errno == ENOENT) return 0;
        if (errno != ENODATA) die("read the id");
        unsigned char random[ID / 2];
        if (getrandom(random, sizeof random, 0) != sizeof random) die("getrandom");
        for (size_t i = 0; i < sizeof random; i++) sprintf(id + 2 * i, "%02x", random[i]);
        if (setxattr(path, ATTRIBUTE, id, ID, XATTR_CREATE) == 0) return 1;
        if (errno == ENOENT) return 0;
        if (errno != EEXIST) die("give an id");
    }
}

static void write_all(int fd, const char *bytes, size_t n, off_t at) {
    while (n > 0) {
        ssize_t done = pwrite(fd, bytes, n, at);
        if (done < 0) die("write to the shadow");
        bytes += done, at += done, n -= (size_t)done;
    }
}

static size_t read_chunk(int fd, char *into, off_t at) {
    size_t have = 0;
    while (have < CHUNK) {
        ssize_t n = pread(fd, into + have, CHUNK - have, at + (off_t)have);
        if (n < 0) die("read a chunk");
        if (n == 0) break;
        have += (size_t)n;
    }
    return have;
}

// Makes `to` the same as `from`; writes only the pages that differ.
static void copy_changes(int from, int to) {
    char *now = malloc(2 * CHUNK);
    if (!now) die("memory");
    char *before = now + CHUNK;
    off_t at = 0;
    for (;;) {
        size_t n = read_chunk(from, now, at);
        size_t had = read_chunk(to, before, at);
        for (size_t page = 0; page < n; page += PAGE) {
            size_t length = n - page < PAGE ? n - page : PAGE;
            if (page + length > had || memcmp(now + page, before + page, length) != 0)
                write_all(to, now + page, length, at + (off_t)page);
        }
        at += (off_t)n;
        if (n < CHUNK) break;
    }
    if (ftruncate(to, at) != 0) die("truncate in the shadow");
    free(now);
}

static void keep_file(int fd, const char *link, mode_t mode, const char *id) {
    // Closing another descriptor of a file drops all POSIX locks that the process holds on it, and SQLite's are such.
    // So the caller's own is read from; one that only writes has to be opened again, but then nobody locks through it.
    int write_only = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    int from = write_only ? open(link, O_RDONLY | O_CLOEXEC) : fd;
    if (from < 0) die("open for reading");
    char path[PATH_MAX];
    path_of(path, "%s/f/%s", shadow, id);
    int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0) die("open in the shadow");
    copy_changes(from, to);
    if (fchmod(to, mode & 0777) != 0) die("mode in the shadow");
    close(to);
    if (write_only) close(from);
}

static char kind_of(const struct dirent *entry, const char *path) {
    if (entry->d_type == DT_REG) return 'f';
    if (entry->d_type == DT_DIR) return 'd';
    struct stat stat;
    if (lstat(path, &stat) != 0) return 0;
    if (S_ISREG(stat.st_mode)) return 'f';
    if (S_ISDIR(stat.st_mode)) return 'd';
    errno = ENOTSUP;
    die("neither file nor folder");
    return 0;
}

static void keep_folder(const char *link, const char *id) {
    char path[PATH_MAX], beside[PATH_MAX], child[PATH_MAX], child_id[ID + 1];
    path_of(path, "%s/d/%s", shadow, id);
    path_of(beside, "%s/new-%s", shadow, id);
    DIR *folder = opendir(link);
    FILE *out = fopen(beside, "we");
    if (!folder || !out) die("open a folder");
    struct dirent *entry;
    while ((entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        path_of(child, "%s/%s", link, entry->d_name);
        char kind = kind_of(entry, child);
        if (kind && id_at(child, child_id)) fprintf(out, "%c %s %s\n", kind, child_id, entry->d_name);
    }
    closedir(folder);
    if (fclose(out) != 0 || rename(beside, path) != 0) die("write names to the shadow");
}

static int is_below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void keep(int fd) {
    if (!root) return;
    int error = errno;
    char number[32], link[PATH_MAX], path[PATH_MAX], id[ID + 1];
    snprintf(number, sizeof number, "%d", fd);
    path_of(link, "%s/%s", "/proc/self/fd", number);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) die("readlink");
    path[n] = 0;
    int counts = is_below(path, root) && !(disbelieved && is_below(path, disbelieved));
    struct stat stat;
    if (counts && fstat(fd, &stat) == 0 && id_at(link, id)) {
        pthread_mutex_t *turn = &stripes[strtoull(id, NULL, 16) % STRIPES];
        pthread_mutex_lock(turn);
        if (S_ISREG(stat.st_mode)) keep_file(fd, link, stat.st_mode, id);
        if (S_ISDIR(stat.st_mode)) keep_folder(link, id);
        pthread_mutex_unlock(turn);
    }
    errno = error;
}

int fsync(int fd) {
    int done = next_fsync(fd);
    if (done == 0) keep(fd);
    return done;
}

int fdatasync(int fd) {
    int done = next_fdatasync(fd);
    if (done == 0) keep(fd);
    return done;
}
