#define _DEFAULT_SOURCE  // MAP_ANONYMOUS
#include "mapping.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

// More than the files of any model. An entry without an end is free.
enum { SLOTS = 1024 };
static struct {
    atomic_uintptr_t begin, end;
    atomic_int lost;
} slots[SLOTS];
static struct sigaction before;
static uintptr_t page_size;

// Zeros from the page that could not be read to the mapping's end: what lies behind it is gone as well.
static int patch(uintptr_t at) {
    for (int i = 0; i < SLOTS; i++) {
        const uintptr_t begin = atomic_load(&slots[i].begin), end = atomic_load(&slots[i].end);
        if (at < begin || at >= end) continue;
        const uintptr_t page = at & ~(page_size - 1);
        atomic_store(&slots[i].lost, 1);
        return mmap((void *)page, end - page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
    }
    return 0;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    const int error = errno;
    if (info->si_code == BUS_ADRERR && patch((uintptr_t)info->si_addr)) {
        errno = error;
        return;
    }
    // Not one of ours: what would have happened without this handler.
    if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    } else {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = error;
}

static int install(void) {
    static int done;
    if (done) return 0;
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &before)) return errno;
    done = 1;
    return 0;
}

int mapping_open(int fd, size_t size, hub_mapping *out) {
    const int error = install();
    if (error) return error;
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return errno;
    *out = (hub_mapping){data, size, -1};
    for (int i = 0; i < SLOTS; i++) {
        if (atomic_load(&slots[i].end)) continue;
        atomic_store(&slots[i].lost, 0);
        atomic_store(&slots[i].begin, (uintptr_t)data);
        atomic_store(&slots[i].end, (uintptr_t)data + size);
        out->slot = i;
        break;
    }
    return 0;
}

int mapping_lost(const hub_mapping *mapping) {
    return mapping->slot >= 0 && atomic_load(&slots[mapping->slot].lost);
}

void mapping_close(hub_mapping *mapping) {
    if (!mapping->data) return;
    if (mapping->slot >= 0) atomic_store(&slots[mapping->slot].end, 0);
    munmap(mapping->data, mapping->size);
    mapping->data = NULL;
}
