// A file mapped for reading that outlives its being cut short: what is not there any more reads as zeros, and the
// mapping says so, where the system would kill the process (SIGBUS). The technique is that of systemd's sigbus.c.
#ifndef HUB_MAPPING_H
#define HUB_MAPPING_H

#include <stddef.h>

typedef struct {
    void *data;
    size_t size;
    int slot;  // in the table that the signal's handler looks into; -1: there was no room, nothing guards it
} hub_mapping;

// Maps all `size` bytes of an open file. 0, or an error number. Calls must not overlap (the interpreter lock is held).
int mapping_open(int fd, size_t size, hub_mapping *out);
// Whether a part could not be read, and reads as zeros since.
int mapping_lost(const hub_mapping *mapping);
void mapping_close(hub_mapping *mapping);

#endif
