/* GGUF strings are u64 length + bytes, one after another: finding the n-th means walking over all before it. */
#include "hub_native.h"

static uint64_t load_u64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

void hub_walk_strings(const uint8_t *buf, int64_t size, int64_t offset, int64_t count, uint64_t limit, hub_walk *out) {
    *out = (hub_walk){.done = 0, .offset = offset, .length = 0, .too_long = false};
    /* Compare lengths with what is left, never `offset + length` with the end: a hostile length would wrap. */
    while (out->done < count && size - out->offset >= 8) {
        const uint64_t length = load_u64(buf + out->offset);
        if (length > limit) {
            out->length = length;
            out->too_long = true;
            return;
        }
        if (length > (uint64_t)(size - out->offset - 8)) {
            return;
        }
        out->offset += 8 + (int64_t)length;
        out->done++;
    }
}
