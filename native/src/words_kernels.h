/* words_kernels.h - the kernels of words.h, for one instruction set. Its file includes this after it has defined, or not,
 *
 *     WORDS_TURN_BYTES   name of void (const uint8_t *from, int64_t stride, uint8_t *to, int64_t to_stride) that
 *                        transposes 16 x 16 bytes
 *     WORDS_TURN_WORDS   the same for 4 x 4 words of 32 bits
 *     WORDS_LANES        how many numbers of 64 bits are a vector
 *     WORDS_TABLE        name of the hub_kernels to export
 *
 * The other loops are plain C that compilers turn into vectors.
 */
#include "hub_native.h"
#include "words.h"

#include <string.h>

#if defined(__GNUC__)
#define WORDS_INLINE static inline __attribute__((always_inline))
#else
#define WORDS_INLINE static __forceinline
#endif

enum {
    CODES = 256, /* of a row at a time, where rows are words of several; whole words for any width */
    LINE = 64    /* bytes that are read or written together, where rows are far apart */
};

WORDS_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

WORDS_INLINE int64_t bytes_of(int64_t codes, int bits) { return (codes * bits + 7) / 8; }

/* Eight codes of `bits` < 8 as one number, and as eight bytes: halves go apart, then halves of these, then of those. */
WORDS_INLINE uint64_t apart(uint64_t t, int b) {
    const uint64_t four = (1ull << 4 * b) - 1, two = ((1ull << 2 * b) - 1) * 0x100000001ull;
    const uint64_t one = ((1ull << b) - 1) * 0x1000100010001ull;
    t = (t & four) | (t & four << 4 * b) << (32 - 4 * b);
    t = (t & two) | (t & two << 2 * b) << (16 - 2 * b);
    return (t & one) | (t & one << b) << (8 - b);
}

#define WORDS_TOGETHER(name, type)                                                                                        \
    WORDS_INLINE type name(type t, int b) {                                                                               \
        const uint64_t four = (1ull << 4 * b) - 1, two = ((1ull << 2 * b) - 1) * 0x100000001ull;                          \
        const uint64_t one = ((1ull << b) - 1) * 0x1000100010001ull;                                                      \
        t = (t & one) | (t >> (8 - b) & one << b);                                                                        \
        t = (t & two) | (t >> (16 - 2 * b) & two << 2 * b);                                                               \
        return (t & four) | (t >> (32 - 4 * b) & four << 4 * b);                                                          \
    }

WORDS_TOGETHER(together, uint64_t)
#ifdef WORDS_LANES
/* Compilers make vectors of bytes that lie together, as apart()'s do, but not of these, which lie over each other. */
typedef uint64_t words_lanes __attribute__((vector_size(8 * WORDS_LANES)));
WORDS_TOGETHER(together_lanes, words_lanes)
#endif

WORDS_INLINE void unpack_eights(const uint8_t *from, int b, uint8_t *codes, int64_t count) {
    const int64_t size = bytes_of(count, b);
    int64_t done = 0, at = 0;
    for (; at + 7 * b + 8 <= size && done + 64 <= count; at += 8 * b, done += 64) {
        uint64_t t[8]; /* vectors are made of eight numbers, and of the bytes around them only one by one */
        for (int i = 0; i < 8; i++) {
            memcpy(t + i, from + at + i * b, 8);
        }
        for (int i = 0; i < 8; i++) {
            t[i] = apart(t[i], b);
        }
        memcpy(codes + done, t, 64);
    }
    for (; at + 8 <= size && done + 8 <= count; at += b, done += 8) {
        uint64_t t;
        memcpy(&t, from + at, 8);
        t = apart(t, b);
        memcpy(codes + done, &t, 8);
    }
    for (; done < count; at += b, done += 8) {
        uint64_t t = 0;
        memcpy(&t, from + at, (size_t)least(b, size - at));
        t = apart(t, b);
        memcpy(codes + done, &t, (size_t)least(8, count - done));
    }
}

WORDS_INLINE void pack_eights(const uint8_t *codes, int b, uint8_t *to, int64_t count) {
    const int64_t size = bytes_of(count, b);
    int64_t done = 0, at = 0;
#ifdef WORDS_LANES
    const int many = 8 * WORDS_LANES;
    for (; at + (WORDS_LANES - 1) * b + 8 <= size && done + many <= count; at += WORDS_LANES * b, done += many) {
        words_lanes v;
        uint64_t t[WORDS_LANES];
        memcpy(&v, codes + done, sizeof v);
        v = together_lanes(v, b);
        memcpy(t, &v, sizeof v);
        for (int i = 0; i < WORDS_LANES; i++) { /* as below */
            memcpy(to + at + i * b, t + i, 8);
        }
    }
#endif
    for (; at + 8 <= size && done + 8 <= count; at += b, done += 8) {
        uint64_t t; /* 8 bytes are written, of which the next ones overwrite 8 - b */
        memcpy(&t, codes + done, 8);
        t = together(t, b);
        memcpy(to + at, &t, 8);
    }
    for (; done < count; at += b, done += 8) {
        uint64_t t = 0;
        memcpy(&t, codes + done, (size_t)least(8, count - done));
        t = together(t, b);
        memcpy(to + at, &t, (size_t)least(b, size - at));
    }
}

static void unpack_fours(const uint8_t *restrict from, uint8_t *restrict codes, int64_t count) {
    for (int64_t i = 0; i < count / 2; i++) {
        const uint16_t t = (uint16_t)((from[i] | from[i] << 4) & 0x0f0f);
        memcpy(codes + 2 * i, &t, 2);
    }
    if (count % 2) {
        codes[count - 1] = from[count / 2] & 15;
    }
}

static void pack_fours(const uint8_t *restrict codes, uint8_t *restrict to, int64_t count) {
    for (int64_t i = 0; i < count / 2; i++) {
        uint16_t t;
        memcpy(&t, codes + 2 * i, 2);
        to[i] = (uint8_t)((t & 15) | (t >> 4 & 0xf0));
    }
    if (count % 2) {
        to[count / 2] = codes[count - 1] & 15;
    }
}

static void unpack_twos(const uint8_t *restrict from, uint8_t *restrict codes, int64_t count) {
    for (int64_t i = 0; i < count / 4; i++) {
        uint32_t t = from[i];
        t = (t | t << 12) & 0x000f000fu;
        t = (t | t << 6) & 0x03030303u;
        memcpy(codes + 4 * i, &t, 4);
    }
    for (int64_t i = count / 4 * 4; i < count; i++) {
        codes[i] = from[i / 4] >> i % 4 * 2 & 3;
    }
}

static void pack_twos(const uint8_t *restrict codes, uint8_t *restrict to, int64_t count) {
    for (int64_t i = 0; i < count / 4; i++) {
        uint32_t t;
        memcpy(&t, codes + 4 * i, 4);
        t &= 0x03030303u;
        t |= t >> 6;
        to[i] = (uint8_t)((t & 15) | (t >> 12 & 0xf0));
    }
    if (count % 4) {
        pack_eights(codes + count / 4 * 4, 2, to + count / 4, count % 4);
    }
}

/* Byte i of eight lies 8 i bits up and is wanted 56 + i bits up: one of the factor's bits moves it by 56 - 7 i, and no two
 * of all the products are in the same place. */
static void pack_ones(const uint8_t *restrict codes, uint8_t *restrict to, int64_t count) {
    for (int64_t i = 0; i < count / 8; i++) {
        uint64_t t;
        memcpy(&t, codes + 8 * i, 8);
        to[i] = (uint8_t)((t & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
    }
    if (count % 8) {
        pack_eights(codes + count / 8 * 8, 1, to + count / 8, count % 8);
    }
}

static void unpack_row(const uint8_t *from, int bits, uint8_t *codes, int64_t count) {
    switch (bits) {
    case 1: unpack_eights(from, 1, codes, count); break;
    case 2: unpack_twos(from, codes, count); break;
    case 3: unpack_eights(from, 3, codes, count); break;
    case 4: unpack_fours(from, codes, count); break;
    case 5: unpack_eights(from, 5, codes, count); break;
    case 6: unpack_eights(from, 6, codes, count); break;
    case 7: unpack_eights(from, 7, codes, count); break;
    default: memcpy(codes, from, (size_t)count);
    }
}

static void pack_row(const uint8_t *codes, int bits, uint8_t *to, int64_t count) {
    switch (bits) {
    case 1: pack_ones(codes, to, count); break;
    case 2: pack_twos(codes, to, count); break;
    case 3: pack_eights(codes, 3, to, count); break;
    case 4: pack_fours(codes, to, count); break;
    case 5: pack_eights(codes, 5, to, count); break;
    case 6: pack_eights(codes, 6, to, count); break;
    case 7: pack_eights(codes, 7, to, count); break;
    default: memcpy(to, codes, (size_t)count);
    }
}

static void unpack_rows(const uint8_t *from, int64_t stride, int bits, uint8_t *codes, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++) {
        unpack_row(from + r * stride, bits, codes + r * cols, cols);
    }
}

static void pack_rows(const uint8_t *codes, int64_t stride, int bits, int64_t rows, int64_t cols, uint8_t *to,
                      int64_t to_stride, int64_t size) {
    const int64_t used = bytes_of(cols, bits);
    for (int64_t r = 0; r < rows; r++) {
        pack_row(codes + r * stride, bits, to + r * to_stride, cols);
        memset(to + r * to_stride + used, 0, (size_t)(size - used));
    }
}

/* Transposing: to[c][r] = from[r][c]. */

static void turn_bytes(const uint8_t *from, int64_t stride, int64_t rows, int64_t cols, uint8_t *to, int64_t to_stride) {
    int64_t whole_rows = 0, whole_cols = 0;
#ifdef WORDS_TURN_BYTES
    whole_rows = rows / 16 * 16;
    whole_cols = cols / 16 * 16;
    for (int64_t r = 0; r < whole_rows; r += 16) {
        for (int64_t c = 0; c < whole_cols; c += 16) {
            WORDS_TURN_BYTES(from + r * stride + c, stride, to + c * to_stride + r, to_stride);
        }
    }
#endif
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; c++) {
            to[c * to_stride + r] = from[r * stride + c];
        }
    }
}

static void turn_words(const uint8_t *from, int64_t stride, int64_t rows, int64_t cols, uint8_t *to, int64_t to_stride) {
    int64_t whole_rows = 0, whole_cols = 0;
#ifdef WORDS_TURN_WORDS
    whole_rows = rows / 4 * 4;
    whole_cols = cols / 4 * 4;
    for (int64_t r = 0; r < whole_rows; r += 4) {
        for (int64_t c = 0; c < whole_cols; c += 4) {
            WORDS_TURN_WORDS(from + r * stride + 4 * c, stride, to + c * to_stride + 4 * r, to_stride);
        }
    }
#endif
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; c++) {
            memcpy(to + c * to_stride + 4 * r, from + r * stride + 4 * c, 4);
        }
    }
}

/* 16 columns of words are a cache line. They are turned in a block that stays in the first cache. */
static void unpack_columns(const uint8_t *from, int64_t stride, int bits, uint8_t *codes, int64_t rows, int64_t cols) {
    uint8_t block[16 * CODES];
    for (int64_t c = 0; c < cols; c += CODES) {
        const int64_t count = least(CODES, cols - c), words = (count * bits + 31) / 32;
        for (int64_t r = 0; r < rows; r += 16) {
            const int64_t some = least(16, rows - r);
            turn_words(from + c / 32 * bits * stride + 4 * r, stride, words, some, block, CODES);
            for (int64_t i = 0; i < some; i++) {
                unpack_row(block + i * CODES, bits, codes + (r + i) * cols + c, count);
            }
        }
    }
}

static void pack_columns(const uint8_t *codes, int64_t stride, int bits, int64_t rows, int64_t cols, uint8_t *to,
                         int64_t to_stride) {
    uint8_t block[16 * CODES];
    for (int64_t c = 0; c < cols; c += CODES) {
        const int64_t count = least(CODES, cols - c), words = (count * bits + 31) / 32;
        const int64_t used = bytes_of(count, bits);
        for (int64_t r = 0; r < rows; r += 16) {
            const int64_t some = least(16, rows - r);
            for (int64_t i = 0; i < some; i++) {
                pack_row(codes + (r + i) * stride + c, bits, block + i * CODES, count);
                memset(block + i * CODES + used, 0, (size_t)(4 * words - used));
            }
            for (int64_t w = 0; w < words; w += 4) { /* a line of each of 4 rows at a time */
                turn_words(block + 4 * w, CODES, some, least(4, words - w),
                           to + (c / 32 * bits + w) * to_stride + 4 * r, to_stride);
            }
        }
    }
}

static void split(const uint8_t *restrict from, uint8_t *restrict low, uint8_t *restrict high, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        low[i] = from[i] & 15;
        high[i] = from[i] >> 4;
    }
}

static void join(const uint8_t *restrict low, const uint8_t *restrict high, uint8_t *restrict to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        to[i] = (uint8_t)((low[i] & 15) | high[i] << 4);
    }
}

/* Byte j of a row of bytes holds nibbles 2j and 2j + 1, eight to a word. */
static void unpack_nibbles(const uint8_t *from, int64_t stride, const uint8_t *order, uint8_t *codes, int64_t rows,
                           int64_t cols) {
    uint8_t block[LINE * CODES];
    for (int64_t c = 0; c < cols; c += CODES) {
        const int64_t count = least(CODES, cols - c);
        for (int64_t j = 0; j < rows / 2; j += LINE) {
            const int64_t some = least(LINE, rows / 2 - j);
            turn_bytes(from + c * stride + j, stride, count, some, block, CODES);
            for (int64_t i = 0; i < some; i++) {
                uint8_t *eight = codes + (j + i) / 4 * 8 * cols + c;
                const uint8_t *two = order + (j + i) % 4 * 2;
                split(block + i * CODES, eight + two[0] * cols, eight + two[1] * cols, count);
            }
        }
    }
}

static void pack_nibbles(const uint8_t *codes, int64_t stride, const uint8_t *order, int64_t rows, int64_t cols,
                         uint8_t *to, int64_t to_stride) {
    uint8_t block[LINE * CODES];
    for (int64_t c = 0; c < cols; c += CODES) {
        const int64_t count = least(CODES, cols - c);
        for (int64_t j = 0; j < rows / 2; j += LINE) {
            const int64_t some = least(LINE, rows / 2 - j);
            for (int64_t i = 0; i < some; i++) {
                const uint8_t *eight = codes + (j + i) / 4 * 8 * stride + c;
                const uint8_t *two = order + (j + i) % 4 * 2;
                join(eight + two[0] * stride, eight + two[1] * stride, block + i * CODES, count);
            }
            for (int64_t k = 0; k < count; k += 16) { /* a line of each of 16 rows at a time */
                turn_bytes(block + k, CODES, some, least(16, count - k), to + (c + k) * to_stride + j, to_stride);
            }
        }
    }
}

static void unpack_halves(const uint8_t *from, int64_t stride, int64_t half, uint8_t *codes, int64_t n) {
    if (half == 16) {
        for (int64_t i = 0; i < n; i++) {
            split(from + i * stride, codes + 32 * i, codes + 32 * i + 16, 16);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        split(from + i * stride, codes + 2 * half * i, codes + 2 * half * i + half, half);
    }
}

static void pack_halves(const uint8_t *codes, int64_t half, int64_t n, uint8_t *to, int64_t to_stride) {
    if (half == 16) {
        for (int64_t i = 0; i < n; i++) {
            join(codes + 32 * i, codes + 32 * i + 16, to + i * to_stride, 16);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        join(codes + 2 * half * i, codes + 2 * half * i + half, to + i * to_stride, half);
    }
}

/* Moves are within +-16384 and codes within a byte, so 16 bits hold every sum. */
WORDS_INLINE bool move_some(const uint8_t *restrict codes, bool from_signed, int move, int low, int high,
                            uint8_t *restrict out, int64_t n) {
    int16_t least_one = INT16_MAX, most = INT16_MIN;
    for (int64_t i = 0; i < n; i++) {
        const int16_t code = from_signed ? (int16_t)(int8_t)codes[i] : (int16_t)codes[i];
        const int16_t moved = (int16_t)(code + move);
        least_one = moved < least_one ? moved : least_one;
        most = moved > most ? moved : most;
        out[i] = (uint8_t)moved;
    }
    return n == 0 || (least_one >= low && most <= high);
}

static bool move_row(const uint8_t *codes, bool from_signed, const int16_t *moves, int64_t width, int64_t cols, int low,
                     int high, uint8_t *out) {
    bool inside = true;
    for (int64_t c = 0, g = 0; c < cols; c += width, g++) {
        const int64_t n = least(width, cols - c);
        inside &= from_signed ? move_some(codes + c, true, moves[g], low, high, out + c, n)
                              : move_some(codes + c, false, moves[g], low, high, out + c, n);
    }
    return inside;
}

static const hub_words words_table = {unpack_rows,    pack_rows,    unpack_columns, pack_columns, unpack_nibbles,
                                      pack_nibbles,   unpack_halves, pack_halves,   move_row};

const hub_kernels WORDS_TABLE = {.words = &words_table};
