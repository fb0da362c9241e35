/* words.h - codes of a few bits in and out of the words that files keep them in. The scheme of bytes in memory is
 * little-endian. Codes are bytes, one each; what is packed is taken modulo 2^bits.
 *
 * All of these are permutations of bits: every instruction set gives the same bytes. Nothing need be aligned. Strides
 * are in bytes, from row to row; codes without a stride are contiguous.
 */
#ifndef HUB_WORDS_H
#define HUB_WORDS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hub_words {
    /* (rows, cols) codes of 1 to 8 bits from a dense stream of bits per row, ceil(cols * bits / 8) bytes of it. */
    void (*unpack_rows)(const uint8_t *from, int64_t stride, int bits, uint8_t *codes, int64_t rows, int64_t cols);
    /* The way back; each row of `to` is `size` bytes, those that no code reaches become 0. */
    void (*pack_rows)(const uint8_t *codes, int64_t stride, int bits, int64_t rows, int64_t cols, uint8_t *to,
                      int64_t to_stride, int64_t size);
    /* As above where the words of 32 bits of a row stand below each other: (ceil(cols * bits / 32), rows) words. */
    void (*unpack_columns)(const uint8_t *from, int64_t stride, int bits, uint8_t *codes, int64_t rows, int64_t cols);
    void (*pack_columns)(const uint8_t *codes, int64_t stride, int bits, int64_t rows, int64_t cols, uint8_t *to,
                         int64_t to_stride);
    /* (rows, cols) codes of 4 bits from (cols, rows / 8) words; nibble i of a word is row order[i] of its eight. */
    void (*unpack_nibbles)(const uint8_t *from, int64_t stride, const uint8_t *order, uint8_t *codes, int64_t rows,
                           int64_t cols);
    void (*pack_nibbles)(const uint8_t *codes, int64_t stride, const uint8_t *order, int64_t rows, int64_t cols,
                         uint8_t *to, int64_t to_stride);
    /* (n, 2 * half) codes from n times `half` bytes: code j in the low nibble of byte j, code j + half in its high one. */
    void (*unpack_halves)(const uint8_t *from, int64_t stride, int64_t half, uint8_t *codes, int64_t n);
    void (*pack_halves)(const uint8_t *codes, int64_t half, int64_t n, uint8_t *to, int64_t to_stride);
    /* out = code + move, a move per group of `width` columns, (cols / width rounded up,) per row; false where one lies
     * outside of low..high, and then `out` is of no use. Codes and results are i8 where the flags say so, else u8. */
    bool (*move)(const uint8_t *codes, bool from_signed, const int16_t *moves, int64_t width, int64_t cols, int low,
                 int high, uint8_t *out);
} hub_words;

#endif
